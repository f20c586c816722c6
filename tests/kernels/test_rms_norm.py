"""RMSNorm in Triton, alone and fused with the residual addition, against its definition in float64."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import workbench_kernels
from tests.kernels import interpreter
from workbench_kernels import dispatch, launch
from workbench_kernels.triton_ops import rms_norm as kernels

pytestmark = pytest.mark.usefixtures("sanitized", "on_triton")

DTYPES = [torch.float32, torch.float16, torch.bfloat16]
SHAPES = [(8, 64), (1, 1), (70, 33), (37, 100), (2, 3, 40), (5, 200), (9, 256)]
"""Rows of one block and of several (which the interpreter's small blocks make short), off every block size; more rows
than the programs that stay take at once."""


def definition(x: Tensor, weight: Tensor, eps: float = 1e-5) -> Tensor:
    return x / (x.pow(2).mean(-1, keepdim=True) + eps).sqrt() * weight


def add_definition(x: Tensor, residual: Tensor, weight: Tensor, eps: float = 1e-5) -> tuple[Tensor, Tensor]:
    return definition(x + residual, weight, eps), x + residual


def operation(x: Tensor, weight: Tensor) -> Tensor:
    return workbench_kernels.rms_norm(x, weight, 1e-5)


def add_operation(x: Tensor, residual: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    return workbench_kernels.add_rms_norm(x, residual, weight, 1e-5)


def some_weight(size: int) -> Tensor:
    return 1 + 0.3 * torch.randn(size)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_output_and_gradients_are_the_definition(proves: Callable, device, shape: tuple[int, ...], dtype) -> None:
    x, weight = torch.randn(shape), some_weight(shape[-1])
    proves(operation, definition, x.to(device, dtype), weight.to(device, dtype))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_sum_norm_and_their_gradients_are_the_definition(proves: Callable, device, shape, dtype) -> None:
    x, residual, weight = torch.randn(shape), torch.randn(shape), some_weight(shape[-1])
    # What is normed is the sum as it is stored: of numbers that bf16 holds exactly, nothing is lost.
    x, residual = (tensor.mul(4).round().div(4) for tensor in (x, residual))
    proves(add_operation, add_definition, *(tensor.to(device, dtype) for tensor in (x, residual, weight)))


@given(rows=st.integers(1, 40), hidden=st.integers(1, 150), seed=st.integers(0, 2**20), fused=st.booleans())
@settings(max_examples=15, deadline=None)
def test_any_shape_in_any_order_of_programs_is_the_definition(
    proves: Callable, device, rows: int, hidden: int, seed: int, fused: bool
) -> None:
    torch.manual_seed(seed)
    x, residual = torch.randn(2, rows, hidden, device=device)
    weight = some_weight(hidden).to(device)
    with interpreter.sanitize(seed):
        # Rows of few numbers are ill-conditioned: their gradient is the small rest of large terms.
        tolerance = 5e-6 if hidden > 4 else 2e-4
        if fused:
            proves(add_operation, add_definition, x, residual, weight, tolerance=tolerance)
        else:
            proves(operation, definition, x, weight, tolerance=tolerance)


@pytest.mark.parametrize("hidden", [64, 200])
def test_tiny_rows_are_ruled_by_eps(proves: Callable, device, hidden: int) -> None:
    x, weight = 1e-2 * torch.randn(4, hidden, device=device), torch.randn(hidden, device=device)
    proves(lambda x, w: workbench_kernels.rms_norm(x, w, 0.1), lambda x, w: definition(x, w, 0.1), x, weight)


@pytest.mark.parametrize("hidden", [48, 144])
def test_rows_with_gaps_between_them_need_no_copy_and_change_nothing(proves: Callable, device, hidden: int) -> None:
    packed, weight = torch.randn(2, 7, 3 * hidden, device=device), some_weight(hidden).to(device)

    def middle(x: Tensor) -> Tensor:
        return x[..., hidden : 2 * hidden]

    assert kernels.as_rows(middle(packed)).data_ptr() == middle(packed).data_ptr()
    proves(lambda x, w: operation(middle(x), w), lambda x, w: definition(middle(x), w), packed, weight)
    proves(
        lambda x, w: add_operation(middle(x), x[..., :hidden], w),
        lambda x, w: add_definition(middle(x), x[..., :hidden], w),
        packed,
        weight,
    )


def test_rows_whose_elements_are_not_adjacent_are_the_definition(proves: Callable, device) -> None:
    x, weight = torch.randn(40, 9, device=device), some_weight(40).to(device)
    proves(lambda x, w: operation(x.T, w), lambda x, w: definition(x.T, w), x, weight)


@pytest.mark.parametrize("used", ["norm", "sum"])
def test_either_result_of_the_fused_operation_may_go_unused(device, used: str) -> None:
    x, residual, weight = *torch.randn(2, 5, 24, device=device), some_weight(24).to(device)
    inputs = [tensor.clone().requires_grad_() for tensor in (x, residual, weight)]
    result = add_operation(*inputs)[0 if used == "norm" else 1]
    truth = add_definition(*inputs)[0 if used == "norm" else 1]
    upstream = torch.randn_like(truth)
    got = torch.autograd.grad(result, inputs[:2], upstream)
    expected = torch.autograd.grad(truth, inputs[:2], upstream)
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)


def test_a_bfloat16_branch_is_added_to_a_float32_stream(device) -> None:
    x = torch.randn(5, 40, device=device).bfloat16().requires_grad_()
    residual, weight = torch.randn(5, 40, device=device, requires_grad=True), some_weight(40).to(device)
    normed, total = add_operation(x, residual, weight)
    assert normed.dtype == total.dtype == torch.float32
    assert torch.equal(total, x + residual)
    (normed.sum() + total.sum()).backward()
    assert x.grad.dtype == torch.bfloat16
    assert residual.grad.dtype == torch.float32
    assert torch.equal(x.grad, residual.grad.bfloat16())


@pytest.mark.parametrize("hidden", [40, 200])
def test_what_is_normed_is_the_sum_as_it_is_stored(device, hidden: int) -> None:
    x, residual = torch.randn(2, 7, hidden, device=device).bfloat16()
    weight = some_weight(hidden).to(device)
    normed, total = add_operation(x, residual, weight)
    assert torch.equal(total, x + residual)
    assert torch.equal(normed, operation(total, weight))


def test_under_autocast_the_norm_is_what_products_take_and_the_sum_stays_wide(device) -> None:
    x, weight = torch.randn(3, 40, device=device), torch.ones(40, device=device)
    with torch.autocast(device.type, dtype=torch.bfloat16):
        assert operation(x, weight).dtype == torch.bfloat16
        normed, total = add_operation(x.bfloat16(), x, weight)
    assert normed.dtype == torch.bfloat16
    assert total.dtype == torch.float32


def test_a_frozen_weight_gets_no_gradient_and_costs_no_sum(device, monkeypatch) -> None:
    monkeypatch.setattr(kernels, "sum_parts", None)
    for hidden in (24, 200):
        x, weight = torch.randn(6, hidden, device=device, requires_grad=True), some_weight(hidden).to(device)
        operation(x, weight).sum().backward()
        x_true = x.detach().double().requires_grad_()
        definition(x_true, weight.double()).sum().backward()
        torch.testing.assert_close(x.grad.double(), x_true.grad, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("shape", [(0, 24), (3, 0), (2, 0, 200)])
def test_no_rows_or_no_columns_launch_nothing(device, shape: tuple[int, ...]) -> None:
    x, weight = torch.randn(shape, device=device, requires_grad=True), torch.ones(shape[-1], device=device)
    weight.requires_grad_()
    out = operation(x, weight)
    out.sum().backward()
    assert out.shape == x.grad.shape == x.shape
    assert torch.equal(weight.grad, torch.zeros_like(weight))


@pytest.mark.parametrize("hidden", [40, 200])
def test_gradients_are_bit_equal_in_every_order_of_programs(device, hidden: int) -> None:
    x, upstream = torch.randn(2, 30, hidden, device=device)
    weight = some_weight(hidden).to(device)

    def gradients(seed: int) -> tuple[Tensor, ...]:
        inputs = (x.clone().requires_grad_(), weight.clone().requires_grad_())
        with interpreter.sanitize(seed):
            return torch.autograd.grad(operation(*inputs), inputs, upstream)

    for one, other in zip(gradients(1), gradients(2), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("hidden", [24, 136])
def test_the_operators_pass_opcheck(device, hidden: int) -> None:
    x, residual = torch.randn(2, 3, hidden, device=device)
    x, weight = x.requires_grad_(), some_weight(hidden).to(device).requires_grad_()
    torch.library.opcheck(kernels._rms_norm, (x, weight, 1e-5, torch.float32))
    torch.library.opcheck(kernels._add_rms_norm, (x, residual, weight, 1e-5, torch.float32))
    inverse_rms = torch.rand(3, device=device)
    grads = (residual, x.detach(), weight.detach(), inverse_rms)
    torch.library.opcheck(kernels._rms_norm_backward, (*grads, None, True))
    torch.library.opcheck(kernels._rms_norm_backward, (*grads, residual, False))


def test_float64_takes_the_reference(device) -> None:
    assert not dispatch.side("rms_norm", torch.ones(1, dtype=torch.float64, device=device))


@pytest.mark.parametrize("architecture", ["sm_80", "sm_90", "sm_120", "gfx942", launch.INTERPRETER])
def test_every_width_has_a_launch_of_whole_warps(architecture: str) -> None:
    for name, each in kernels.launches(architecture).items():
        elements = 1
        for size in each.blocks.values():
            assert size & (size - 1) == 0, name
            elements *= size
        assert 1 <= each.num_warps <= 16
        assert elements <= 16384
