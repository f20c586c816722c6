"""Every operation against its definition, written out here in float64 and differentiated by autograd."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

# Rounding of the inputs' dtype, times the few dozen operations between them and the result.
TOLERANCE = {torch.float64: 1e-11, torch.float32: 1e-5, torch.bfloat16: 3e-2}


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture
def agrees() -> Callable[..., None]:
    """Compare an operation and its definition, outputs and gradients, relative to the largest true value."""

    def check(operation: Callable[..., Tensor], definition: Callable[..., Tensor], *inputs: Tensor) -> None:
        dtype = inputs[0].dtype
        own = [tensor.clone().requires_grad_() for tensor in inputs]
        true = [tensor.double().clone().requires_grad_() for tensor in inputs]
        results, truths = operation(*own), definition(*true)
        upstream = torch.randn_like(truths)
        pairs = [(results, truths)]
        pairs += zip(
            torch.autograd.grad(results, own, upstream.to(results.dtype)),
            torch.autograd.grad(truths, true, upstream),
            strict=True,
        )
        for got, expected in pairs:
            assert got.shape == expected.shape
            error = (got.double() - expected).abs().max() / expected.abs().max().clamp_min(0.1)
            assert error < TOLERANCE[dtype], f"{error:.2e}"

    return check
