"""Norm, rotary positions and the gated unit agree with their definitions."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import workbench_kernels

DTYPES = [torch.float64, torch.float32, torch.bfloat16]


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    return x / (x.pow(2).mean(-1, keepdim=True) + eps).sqrt() * weight


def rotate(x: Tensor, angles: Tensor) -> Tensor:
    """By complex numbers: another way than the operation's own."""
    real, imaginary = x.chunk(2, dim=-1)
    turned = torch.complex(real, imaginary) * torch.polar(torch.ones_like(angles), angles)
    return torch.cat((turned.real, turned.imag), dim=-1)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1, 1), (5, 123), (2, 3, 48), (37, 100)])
def test_rms_norm_and_its_gradients_are_the_definition(agrees: Callable, shape: tuple[int, ...], dtype) -> None:
    x, weight = torch.randn(shape).to(dtype), (1 + 0.3 * torch.randn(shape[-1])).to(dtype)
    agrees(lambda x, w: workbench_kernels.rms_norm(x, w, 1e-5), lambda x, w: rms_norm(x, w, 1e-5), x, weight)


def test_rms_norm_of_tiny_rows_is_ruled_by_eps(agrees: Callable) -> None:
    x, weight = 1e-3 * torch.randn(4, 64), torch.randn(64)
    agrees(lambda x, w: workbench_kernels.rms_norm(x, w, 1e-1), lambda x, w: rms_norm(x, w, 1e-1), x, weight)


def test_rms_norm_passes_gradcheck() -> None:
    x, weight = torch.randn(3, 7, dtype=torch.float64), torch.randn(7, dtype=torch.float64)
    inputs = (x.requires_grad_(), weight.requires_grad_())
    assert torch.autograd.gradcheck(lambda x, w: workbench_kernels.rms_norm(x, w, 1e-5), inputs)


def test_rms_norm_leaves_a_frozen_weight_without_gradient() -> None:
    x, weight = torch.randn(3, 8, requires_grad=True), torch.randn(8)
    workbench_kernels.rms_norm(x, weight, 1e-5).sum().backward()
    assert x.grad is not None
    assert weight.grad is None


def test_rms_norm_gives_what_autocast_multiplies_in() -> None:
    x, weight = torch.randn(3, 8), torch.ones(8)
    assert workbench_kernels.rms_norm(x, weight, 1e-5).dtype == torch.float32
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert workbench_kernels.rms_norm(x, weight, 1e-5).dtype == torch.bfloat16


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(2, 3, 13, 16), (1, 4, 8, 24), (2, 2, 5, 2)])
def test_rotary_turns_pairs_by_their_angles(agrees: Callable, shape: tuple[int, ...], dtype) -> None:
    seq, head_dim = shape[-2:]
    angles = 6 * torch.rand(seq, head_dim // 2, dtype=torch.float64)
    whole = torch.cat((angles, angles), dim=-1)
    wide = torch.promote_types(dtype, torch.float32)
    cos, sin = whole.cos().to(wide), whole.sin().to(wide)

    def operation(q: Tensor, k: Tensor) -> Tensor:
        return torch.cat(workbench_kernels.apply_rotary(q, k, cos, sin), dim=1)

    def definition(q: Tensor, k: Tensor) -> Tensor:
        return torch.cat((rotate(q, angles), rotate(k, angles)), dim=1)

    agrees(operation, definition, torch.randn(shape).to(dtype), torch.randn(shape).to(dtype))


@pytest.mark.parametrize("dtype", DTYPES)
def test_swiglu_is_the_definition(agrees: Callable, dtype) -> None:
    gate, up = (3 * torch.randn(5, 33)).to(dtype), torch.randn(5, 33).to(dtype)
    agrees(workbench_kernels.swiglu, lambda gate, up: gate * torch.sigmoid(gate) * up, gate, up)
