"""On a GPU: that the suite beside this file runs compiled there, and the operations at the sizes of training.

    python -m pytest tests/kernels -m "not aot and not mutation"

With a GPU every test of this folder runs its kernels compiled; these add what an interpreter is too slow for.
"""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import workbench_kernels
from tests.kernels import interpreter
from workbench_kernels import dispatch

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")]

TOKENS, SEQ, HEADS, HEAD_DIM, HIDDEN, INTERMEDIATE, VOCAB = 4096, 1024, 16, 64, 1024, 2816, 32000
TOLERANCE = 2e-2  # of bfloat16 after a few roundings, at sizes where thousands of products are summed


def heads(batch: int = 2, count: int = HEADS, size: int = HEAD_DIM) -> tuple[int, ...]:
    return batch, count, SEQ, size


def tables(device: torch.device) -> tuple[Tensor, Tensor]:
    angles = torch.rand(SEQ, HEAD_DIM // 2, device=device).repeat(1, 2) * 6
    return angles.cos(), angles.sin()


def labels(device: torch.device) -> tuple[Tensor]:
    return (torch.randint(0, VOCAB, (TOKENS,), device=device),)


def nothing(device: torch.device) -> tuple[Tensor, ...]:
    return ()


CASES: dict[str, tuple[Callable[..., Any], list[tuple[int, ...]], Callable[..., tuple[Tensor, ...]]]] = {
    "rms_norm": (lambda x, w: workbench_kernels.rms_norm(x, w, 1e-6), [(TOKENS, HIDDEN), (HIDDEN,)], nothing),
    "rms_norm of wide rows": (lambda x, w: workbench_kernels.rms_norm(x, w, 1e-6), [(256, 16384), (16384,)], nothing),
    "add_rms_norm": (
        lambda x, r, w: workbench_kernels.add_rms_norm(x, r, w, 1e-6),
        [(TOKENS, HIDDEN), (TOKENS, HIDDEN), (HIDDEN,)],
        nothing,
    ),
    "apply_rotary": (workbench_kernels.apply_rotary, [heads(), heads(count=4)], tables),
    "swiglu": (workbench_kernels.swiglu, [(TOKENS, INTERMEDIATE), (TOKENS, INTERMEDIATE)], nothing),
    "attention": (workbench_kernels.attention, [heads(), heads(count=4), heads(count=4)], nothing),
    "attention, heads of 128": (
        workbench_kernels.attention,
        [heads(size=128), heads(count=2, size=128), heads(count=2, size=128)],
        nothing,
    ),
    "linear_cross_entropy": (workbench_kernels.linear_cross_entropy, [(TOKENS, HIDDEN), (VOCAB, HIDDEN)], labels),
}


def test_kernels_are_compiled_here() -> None:
    assert not interpreter.interpreted()
    with dispatch.forced("auto"):
        assert dispatch.side("rms_norm", torch.empty(1, device="cuda", dtype=torch.bfloat16))


@pytest.mark.parametrize("name", CASES)
def test_at_the_sizes_of_training_output_and_gradients_are_the_references(name: str) -> None:
    operation, shapes, fixed = CASES[name]
    device = torch.device("cuda")
    inputs = [torch.randn(shape, device=device, dtype=torch.bfloat16) / max(1, shape[-1] ** 0.25) for shape in shapes]
    others = fixed(device)
    got = step("triton", operation, inputs, others)
    true = step("reference", operation, [each.double() for each in inputs], others)
    for own, expected in zip(got, true, strict=True):
        error = (own.double() - expected).abs().max() / expected.abs().max().clamp_min(0.1)
        assert error < TOLERANCE, f"{error:.2e}"


def step(side: str, operation: Callable[..., Any], inputs: list[Tensor], others: tuple[Tensor, ...]) -> list[Tensor]:
    own = [each.detach().requires_grad_() for each in inputs]
    with dispatch.forced(side):
        outputs = operation(*own, *others)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    upstream = [torch.ones_like(each) for each in outputs]
    return [*outputs, *torch.autograd.grad(outputs, own, upstream)]


def test_attention_gives_the_same_bits_every_time() -> None:
    q, k, v = (torch.randn(heads(), device="cuda", dtype=torch.bfloat16) for _ in range(3))
    first, second = (step("triton", workbench_kernels.attention, [q, k, v], ()) for _ in range(2))
    assert all(torch.equal(*pair) for pair in zip(first, second, strict=True))
