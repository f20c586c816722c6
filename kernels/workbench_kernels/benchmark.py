"""The operations timed on a GPU: ours, PyTorch's, compiled PyTorch, Liger-Kernel; and what is known without one.

The roofline is the card's own: the rates of a large copy and of a large bfloat16 product, measured first.
"""

import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import resources
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

import workbench_kernels
from workbench_kernels import dispatch

BATCH, SEQ, HEADS, HEAD_DIM, HIDDEN, INTERMEDIATE, VOCAB = 8, 1024, 16, 64, 1024, 2816, 32000
_EPS = 1e-6
_TOKENS = BATCH * SEQ


@dataclass(frozen=True)
class Timing:
    """Forward and backward of one operation.

    Args:
        error: the largest deviation from float64 over the largest true value, of the outputs and gradients.
        microseconds: by contender; None where it is not installed or failed.
        bound_microseconds: what the moved bytes or the flops take at the card's measured rates.
    """

    operation: str
    error: float
    microseconds: dict[str, float | None]
    megabytes: float
    gflop: float
    bound_microseconds: float

    @property
    def percent_of_roofline(self) -> float:
        """Of ours."""
        return 100 * self.bound_microseconds / (self.microseconds["ours"] or math.inf)

    @property
    def achieved(self) -> str:
        """TFLOP/s where products bound it, else TB/s."""
        seconds = (self.microseconds["ours"] or math.inf) * 1e-6
        if self.gflop:
            return f"{self.gflop / seconds / 1e3:.0f} TFLOP/s"
        return f"{self.megabytes / seconds / 1e6:.2f} TB/s"


@dataclass(frozen=True)
class _Workload:
    name: str
    shapes: tuple[tuple[int, ...], ...]
    ours: Callable[..., Any]
    liger: Callable[..., Any] | None
    moved: float  # bytes of forward and backward
    flops: float = 0.0
    fixed: Callable[[torch.device], tuple[Tensor, ...]] = lambda device: ()


def timings(device: torch.device) -> Iterator[Timing]:
    """Time every operation on `device`, one after another."""
    bandwidth, rate = _measured_rates(device)
    for work in _workloads():
        inputs = [torch.randn(shape, device=device, dtype=torch.bfloat16).requires_grad_() for shape in work.shapes]
        fixed = work.fixed(device)
        reference = _forced(work.ours, "reference")
        compiled = torch.compile(reference)
        contenders = {"ours": _forced(work.ours, "triton"), "eager": reference, "compiled": compiled}
        if work.liger is not None and find_spec("liger_kernel"):
            contenders["liger"] = work.liger
        microseconds = {name: _time(contender, inputs, fixed) for name, contender in contenders.items()}
        yield Timing(
            work.name,
            _error(contenders["ours"], reference, inputs, fixed),
            {name: microseconds.get(name) for name in ("ours", "eager", "compiled", "liger")},
            work.moved / 1e6,
            work.flops / 1e9,
            max(work.moved / bandwidth, work.flops / rate) * 1e6,
        )


def static_table() -> list[dict[str, Any]]:
    """What ahead-of-time compilation says of the kernels; `tests/kernels/static_table.py` makes the file."""
    text = resources.files("workbench_kernels").joinpath("static_table.json").read_text(encoding="utf-8")
    rows: list[dict[str, Any]] = json.loads(text)["rows"]
    return rows


def _workloads() -> list[_Workload]:
    rows, element = _TOKENS * HIDDEN, 2
    heads = (BATCH, HEADS, SEQ, HEAD_DIM)
    gated = (_TOKENS, INTERMEDIATE)
    scores = 2 * BATCH * HEADS * SEQ * SEQ * HEAD_DIM  # flops of one causal product
    head = 2 * _TOKENS * HIDDEN * VOCAB
    return [
        _Workload(
            "rms_norm", ((_TOKENS, HIDDEN), (HIDDEN,)), partial(workbench_kernels.rms_norm, eps=_EPS),
            _liger_norm, 5 * rows * element,
        ),
        _Workload(
            "add_rms_norm", ((_TOKENS, HIDDEN), (_TOKENS, HIDDEN), (HIDDEN,)),
            partial(workbench_kernels.add_rms_norm, eps=_EPS), _liger_add_norm, 8 * rows * element,
        ),
        _Workload("apply_rotary", (heads, heads), workbench_kernels.apply_rotary, _liger_rotary,
                  8 * rows * element, fixed=_tables),
        _Workload("swiglu", (gated, gated), workbench_kernels.swiglu, _liger_swiglu,
                  8 * _TOKENS * INTERMEDIATE * element),
        _Workload("attention", (heads, heads, heads), workbench_kernels.attention, None,
                  15 * rows * element, (2 + 7) * scores / 2),
        _Workload("linear_cross_entropy", ((_TOKENS, HIDDEN), (VOCAB, HIDDEN)),
                  workbench_kernels.linear_cross_entropy, _liger_loss, 4 * _TOKENS * VOCAB * element, 3 * head,
                  fixed=_labels),
    ]  # fmt: skip


def _tables(device: torch.device) -> tuple[Tensor, ...]:
    angles = torch.rand(SEQ, HEAD_DIM // 2, device=device).repeat(1, 2)
    return angles.cos(), angles.sin()


def _labels(device: torch.device) -> tuple[Tensor, ...]:
    return (torch.randint(0, VOCAB, (_TOKENS,), device=device),)


def _liger_norm(x: Tensor, weight: Tensor) -> Any:
    from liger_kernel.ops.rms_norm import LigerRMSNormFunction

    return LigerRMSNormFunction.apply(x, weight, _EPS, 0.0, "llama", False)


def _liger_add_norm(x: Tensor, residual: Tensor, weight: Tensor) -> Any:
    from liger_kernel.ops.fused_add_rms_norm import LigerFusedAddRMSNormFunction

    return LigerFusedAddRMSNormFunction.apply(x, residual, weight, _EPS)


def _liger_rotary(q: Tensor, k: Tensor, cos: Tensor, sin: Tensor) -> Any:
    from liger_kernel.ops.rope import LigerRopeFunction

    # It turns its inputs where they are.
    return LigerRopeFunction.apply(q.clone(), k.clone(), cos.unsqueeze(0), sin.unsqueeze(0))


def _liger_swiglu(gate: Tensor, up: Tensor) -> Any:
    from liger_kernel.ops.swiglu import LigerSiLUMulFunction

    return LigerSiLUMulFunction.apply(gate, up)


def _liger_loss(hidden: Tensor, weight: Tensor, labels: Tensor) -> Any:
    from liger_kernel.ops.fused_linear_cross_entropy import LigerFusedLinearCrossEntropyFunction

    return LigerFusedLinearCrossEntropyFunction.apply(hidden, weight, labels)[0]


def _forced(operation: Callable[..., Any], side: str) -> Callable[..., Any]:
    def call(*inputs: Tensor) -> Any:
        with dispatch.forced(side):
            return operation(*inputs)

    return call


def _step(operation: Callable[..., Any], inputs: Sequence[Tensor], fixed: Sequence[Tensor]) -> list[Tensor]:
    """Outputs, then gradients, for an upstream gradient of ones."""
    outputs = operation(*inputs, *fixed)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    if fixed and outputs[0].dim() == 1:  # losses by token: training sums them, which is one number upstream
        outputs = (outputs[0].sum(),)
    grads = torch.autograd.grad(outputs, inputs, [torch.ones_like(each) for each in outputs])
    return [*outputs, *grads]


def _time(operation: Callable[..., Any], inputs: Sequence[Tensor], fixed: Sequence[Tensor]) -> float | None:
    from triton.testing import do_bench

    try:
        _step(operation, inputs, fixed)
    except Exception:  # noqa: BLE001  a contender that cannot run here is left out, not a reason to stop
        return None
    seconds: float = do_bench(lambda: _step(operation, inputs, fixed), return_mode="median")
    return seconds * 1e3


def _error(
    ours: Callable[..., Any], reference: Callable[..., Any], inputs: Sequence[Tensor], fixed: Sequence[Tensor]
) -> float:
    few = [each.detach()[:1].clone().requires_grad_() if each.dim() == 4 else each for each in inputs]
    wide = [each.detach().double().requires_grad_() for each in few]
    worst = 0.0
    for got, true in zip(_step(ours, few, fixed), _step(reference, wide, fixed), strict=True):
        worst = max(worst, ((got.double() - true).abs().max() / true.abs().max().clamp_min(0.1)).item())
    return worst


def _measured_rates(device: torch.device) -> tuple[float, float]:
    """Bytes a second of a copy, and flops a second of a bfloat16 product."""
    from triton.testing import do_bench

    source = torch.empty(1 << 30, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    copy = do_bench(lambda: target.copy_(source), return_mode="median")
    side = 8192
    left, right = (torch.randn(side, side, dtype=torch.bfloat16, device=device) for _ in range(2))
    product = do_bench(lambda: left @ right, return_mode="median")
    return 2 * source.numel() / (copy * 1e-3), 2 * side**3 / (product * 1e-3)
