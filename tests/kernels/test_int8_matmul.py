"""Products with int8 weights, reference and Triton, and how weights become int8."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.kernels import interpreter
from tests.kernels.conftest import KERNEL_TOLERANCE
from workbench_kernels import reference_matmul
from workbench_kernels.reference_matmul import quantize_int8
from workbench_kernels.triton_ops import int8_matmul

DTYPES = [torch.float32, torch.float16, torch.bfloat16]
SIDES = {"reference": reference_matmul.int8_matmul, "triton": int8_matmul.int8_matmul}


def off_by(operation, x: Tensor, weight: Tensor, scale: Tensor) -> float:
    with interpreter.sanitize():
        got = operation(x, weight, scale)
    expected = x.double() @ (weight.double() * scale.double().unsqueeze(1)).T
    assert got.shape == expected.shape
    assert got.dtype == x.dtype
    return ((got.double() - expected).abs().max() / expected.abs().max().clamp_min(0.1)).item()


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rows", [1, 2, 3, 4, 5, 16, 17, 33])
@pytest.mark.parametrize("sizes", [(48, 64), (70, 100), (1, 1), (33, 129)])
def test_products_are_the_definition(device, sizes, rows: int, dtype, side: str) -> None:
    weight, scale = quantize_int8(torch.randn(sizes, device=device) / sizes[1] ** 0.5)
    x = torch.randn(rows, sizes[1], device=device).to(dtype)
    assert off_by(SIDES[side], x, weight, scale) < KERNEL_TOLERANCE[dtype]


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("rows", [1, 3, 20])
def test_strided_inputs_and_leading_dimensions_are_accepted(device, rows: int, side: str) -> None:
    weight, scale = quantize_int8(torch.randn(64, 48, device=device))
    cut = torch.randn(2, rows, 96, device=device)[:, :, :48]
    assert off_by(SIDES[side], cut, weight, scale) < KERNEL_TOLERANCE[torch.float32]
    turned = torch.randn(48, rows, device=device).T.bfloat16()
    assert off_by(SIDES[side], turned, weight.T.contiguous().T, scale) < KERNEL_TOLERANCE[torch.bfloat16]


@pytest.mark.parametrize("side", SIDES)
def test_the_lowest_and_highest_values_are_exact(device, side: str) -> None:
    weight = torch.tensor([[127, -127, 1, -1] * 16] * 32, dtype=torch.int8, device=device)
    x = torch.zeros(1, 64, device=device, dtype=torch.bfloat16)
    for column, value in enumerate((127, -127, 1, -1)):
        x.zero_()[0, column] = 1
        assert SIDES[side](x, weight, torch.ones(32, device=device)).eq(value).all()


@pytest.mark.parametrize("side", SIDES)
def test_no_rows_give_nothing(device, side: str) -> None:
    weight, scale = quantize_int8(torch.randn(32, 16, device=device))
    assert SIDES[side](torch.randn(2, 0, 16, device=device), weight, scale).shape == (2, 0, 32)


@settings(max_examples=15, deadline=None)
@given(rows=st.integers(1, 40), out=st.integers(1, 80), inner=st.integers(1, 150))
def test_any_shape_agrees_with_the_definition(device, rows: int, out: int, inner: int) -> None:
    torch.manual_seed(0)
    weight, scale = quantize_int8(torch.randn(out, inner, device=device))
    assert off_by(int8_matmul.int8_matmul, torch.randn(rows, inner, device=device), weight, scale) < 5e-6


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_an_entry_is_off_by_half_a_step_at_most(dtype) -> None:
    weight = torch.randn(20, 30).mul(torch.logspace(-6, 3, 20).unsqueeze(1)).to(dtype)
    values, scale = quantize_int8(weight)
    assert values.dtype == torch.int8
    assert (values.abs().amax(1) == 127).all()
    error = (values.double() * scale.double().unsqueeze(1) - weight.double()).abs()
    assert (error <= scale.double().unsqueeze(1) * 0.5001).all()  # the scale itself is rounded to float32


def test_rows_of_zeros_and_no_columns_stay_zero() -> None:
    values, scale = quantize_int8(torch.zeros(3, 4))
    assert not values.any()
    assert scale.isfinite().all()
    assert quantize_int8(torch.zeros(3, 0))[0].shape == (3, 0)


def test_the_triton_side_refuses_gradients(device) -> None:
    weight, scale = quantize_int8(torch.randn(32, 16, device=device))
    out = int8_matmul.int8_matmul(torch.randn(1, 16, device=device, requires_grad=True), weight, scale)
    with pytest.raises((RuntimeError, NotImplementedError)):
        out.sum().backward()


def test_the_custom_op_keeps_its_promises(device) -> None:
    weight, scale = quantize_int8(torch.randn(32, 16, device=device))
    torch.library.opcheck(int8_matmul.forward_op, (torch.randn(3, 16, device=device), weight, scale))
