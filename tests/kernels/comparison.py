"""The operations that are compared with other libraries: their sizes, and how to run a pass of one alone."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tests.kernels.pretence import without_launches

BATCH, SEQ, HEADS, HEAD_DIM, HIDDEN, INTERMEDIATE, VOCAB = 8, 1024, 16, 64, 1024, 2816, 32000
EXPERTS, EXPERTS_A_TOKEN = 8, 2
EPS = 1e-6
FEW = (0.125, 0.25)
"""Batches that suffice to count what works token by token."""

Inputs = Callable[[float], tuple[Tensor, ...]]
Function = Callable[..., Any]


@dataclass(frozen=True)
class Case:
    """One pass of an operation of one library.

    Args:
        operation: as the libraries share it, such as `rms_norm`.
        part: `forward`, `backward`, or `both` for those that take the gradients along in the forward pass.
        counted: the batch sizes at which bytes are counted; two give the line on which the full batch lies.
        only: the kernels to look at, where a library fuses more into its operation.
        note: what is special about it.
    """

    operation: str
    peer: str
    part: str
    inputs: Inputs
    function: Function
    counted: tuple[float, ...] = (1, 2)
    only: str = ""
    note: str = ""

    @property
    def op(self) -> str:
        """Name of the row."""
        return self.operation if self.part == "both" else f"{self.operation} {self.part}"

    def run(self, batch: float = BATCH, around: AbstractContextManager[Any] | None = None) -> None:
        """Launch what this pass launches.

        Args:
            around: is entered for this pass alone, not for what it needs before.
        """
        around = around or nullcontext()
        inputs = self.inputs(batch)
        if self.part == "forward":
            with torch.no_grad(), around:
                self.function(*inputs)
            return
        for each in inputs:
            each.requires_grad_(each.dtype.is_floating_point and each.dim() != 0 and not hasattr(each, "constant"))
        if self.part == "both":
            with around:
                _differentiate(*_with_upstream(self.function(*inputs)), inputs)
            return
        with without_launches():
            outputs, upstream = _with_upstream(self.function(*inputs))
        with around:
            _differentiate(outputs, upstream, inputs)


def _with_upstream(outputs: Any) -> tuple[list[Tensor], list[Tensor]]:
    """The outputs that depend on an input, and gradients for them."""
    several = outputs if isinstance(outputs, tuple) else (outputs,)
    wanted = [each for each in several if isinstance(each, Tensor) and each.requires_grad]
    return wanted, [torch.ones_like(each) for each in wanted]


def _differentiate(outputs: list[Tensor], upstream: list[Tensor], inputs: tuple[Tensor, ...]) -> None:
    wanted = [each for each in inputs if each.requires_grad]
    torch.autograd.grad(outputs, wanted, upstream, allow_unused=True)


def both_passes(operation: str, peer: str, inputs: Inputs, function: Function, **named: Any) -> list[Case]:
    """Forward and backward of one operation."""
    return [Case(operation, peer, part, inputs, function, **named) for part in ("forward", "backward")]


def norm_passes(operation: str, peer: str, inputs: Inputs, function: Function) -> list[Case]:
    """Likewise, of a norm: its backward programs stay, and their number must be that of a full batch."""
    forward = Case(operation, peer, "forward", inputs, function, counted=FEW)
    return [forward, Case(operation, peer, "backward", inputs, function, counted=(2, 3))]


def number(*shape: int, dtype: torch.dtype = torch.bfloat16) -> Tensor:
    """Numbers on the GPU, or where it is said to be."""
    return torch.ones(shape, dtype=dtype, device="cuda")


def constant(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Likewise, for what takes no gradient."""
    tensor = number(*shape, dtype=dtype)
    tensor.constant = True  # type: ignore[attr-defined]
    return tensor


def tokens_of(batch: float) -> int:
    """Of a batch; what works token by token may be counted at a part of a sequence."""
    return int(batch * SEQ)


def norm_inputs(batch: float) -> tuple[Tensor, ...]:
    """x (tokens, hidden) and the weight."""
    return number(tokens_of(batch), HIDDEN), number(HIDDEN)


def add_norm_inputs(batch: float) -> tuple[Tensor, ...]:
    """x, the residual and the weight."""
    return number(tokens_of(batch), HIDDEN), number(tokens_of(batch), HIDDEN), number(HIDDEN)


def heads_last_inputs(batch: int) -> tuple[Tensor, ...]:
    """q, k and v as (batch, seq, heads, head_dim)."""
    return tuple(number(batch, SEQ, HEADS, HEAD_DIM) for _ in range(3))


def heads_first_inputs(batch: int) -> tuple[Tensor, ...]:
    """q, k and v as (batch, heads, seq, head_dim), laid out as projections make them."""
    return tuple(each.transpose(1, 2) for each in heads_last_inputs(batch))


def gated_inputs(batch: float) -> tuple[Tensor, ...]:
    """gate and up (tokens, intermediate)."""
    return number(tokens_of(batch), INTERMEDIATE), number(tokens_of(batch), INTERMEDIATE)


def loss_inputs(batch: float) -> tuple[Tensor, ...]:
    """hidden (tokens, hidden), the weight of the vocabulary, and labels, which are real: their values decide."""
    return number(tokens_of(batch), HIDDEN), number(VOCAB, HIDDEN), torch.zeros(tokens_of(batch), dtype=torch.int64)


def distillation_inputs(batch: float) -> tuple[Tensor, ...]:
    """hidden and weight of the student, then of the teacher."""
    teacher = constant(tokens_of(batch), HIDDEN, dtype=torch.bfloat16), constant(VOCAB, HIDDEN, dtype=torch.bfloat16)
    return number(tokens_of(batch), HIDDEN), number(VOCAB, HIDDEN), *teacher


def experts_inputs(batch: int) -> tuple[Tensor, ...]:
    """Tokens sorted by expert, (experts, out, in) matrices and the real counts of tokens."""
    tokens = batch * SEQ * EXPERTS_A_TOKEN
    counts = torch.full((EXPERTS,), tokens // EXPERTS, dtype=torch.int64)
    return number(tokens, HIDDEN), number(EXPERTS, HIDDEN, HIDDEN), counts
