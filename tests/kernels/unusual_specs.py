"""Calls that compile to something of their own: sizes of one, which Triton makes constants, and tensors beyond 2**31.

The interpreter cannot tell: to it a constant is a number like any other, and a number has no type that might change.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor

from tests.kernels.comparison import EPS, Case, both_passes, constant, number
from tests.kernels.static_specs import operations


def cases() -> list[Case]:
    """Each operation at sizes of one, and attention over rows too far apart for 32 bits."""
    norms, rotary = operations["rms_norm"], operations["rotary"]
    attention, grouped = operations["attention"].attention, operations["grouped_matmul"].grouped_matmul
    tables = (constant(1, 2), constant(1, 2))
    starts = torch.zeros(1, 1, dtype=torch.int64)
    return [
        *_both("rms_norm", partial(norms.rms_norm, eps=EPS), lambda: (number(1, 1), number(1))),
        *_both("add_rms_norm", partial(norms.add_rms_norm, eps=EPS), lambda: (number(1, 1), number(1, 1), number(1))),
        *_both("apply_rotary", rotary.apply_rotary, lambda: (number(1, 1, 1, 2), number(1, 1, 1, 2), *tables)),
        *_both("swiglu", operations["swiglu"].swiglu, lambda: (number(1, 1), number(1, 1))),
        *_both("attention", attention, lambda: _heads(1, 16)),
        *_both("attention", partial(attention, window=1), lambda: _heads(1, 16)),
        *_both("attention", partial(attention, document_starts=starts), lambda: _heads(1, 16)),
        *_both("attention", attention, lambda: _heads(256, 64, 2**24)),
        *_losses(),
        *_both("grouped_matmul", grouped, lambda: (number(1, 1), number(1, 1, 1), torch.ones(1, dtype=torch.int64))),
        Case("int8_matmul", "own", "forward", _int8_of_one, operations["int8_matmul"].int8_matmul, note="of one"),
    ]


def _both(name: str, operation: Callable[..., Any], make: Callable[[], tuple[Tensor, ...]]) -> list[Case]:
    return list(both_passes(name, "own", lambda batch: make(), operation, note="unusual"))


def _heads(seq: int, head_dim: int, stride: int = 0) -> tuple[Tensor, ...]:
    """q, k and v of one head; with `stride` elements from a position to the next."""
    if not stride:
        return tuple(number(1, 1, seq, head_dim) for _ in range(3))
    far = torch.empty(seq * stride, dtype=torch.bfloat16, device="cuda")
    return tuple(far.as_strided((1, 1, seq, head_dim), (seq * stride, head_dim, stride, 1)) for _ in range(3))


def _losses() -> Iterator[Case]:
    labels = torch.zeros(1, dtype=torch.int64)
    teacher = constant(1, 1, dtype=torch.bfloat16), constant(1, 1, dtype=torch.bfloat16)

    def summed(loss: Callable[..., Tensor]) -> Callable[..., Tensor]:
        return lambda *inputs: loss(*inputs).sum()

    loss = summed(operations["cross_entropy"].linear_cross_entropy)
    yield Case("linear_cross_entropy", "own", "both", lambda batch: (number(1, 1), number(1, 1), labels), loss)
    for direction in ("forward", "reverse"):
        loss = summed(partial(operations["kl"].linear_kl, direction=direction))
        yield Case("linear_kl", "own", "both", lambda batch: (number(1, 1), number(1, 1), *teacher), loss)


def _int8_of_one(batch: int) -> tuple[Tensor, ...]:
    return constant(1, 1, dtype=torch.bfloat16), number(1, 1, dtype=torch.int8), constant(1)
