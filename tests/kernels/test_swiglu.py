"""SwiGLU in Triton against its definition in float64."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import workbench_kernels
from tests.kernels import interpreter
from workbench_kernels.triton_ops import swiglu as kernels

pytestmark = pytest.mark.usefixtures("sanitized", "on_triton")

DTYPES = [torch.float32, torch.float16, torch.bfloat16]


def definition(gate: Tensor, up: Tensor) -> Tensor:
    return gate * torch.sigmoid(gate) * up


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1,), (5, 33), (2, 3, 64), (3, 300), (256,)])
def test_output_and_gradients_are_the_definition(proves: Callable, device, shape: tuple[int, ...], dtype) -> None:
    gate, up = 3 * torch.randn(shape), torch.randn(shape)
    proves(workbench_kernels.swiglu, definition, gate.to(device, dtype), up.to(device, dtype))


@given(rows=st.integers(1, 5), columns=st.integers(1, 300), seed=st.integers(0, 2**20), packed=st.booleans())
@settings(max_examples=15, deadline=None)
def test_any_shape_in_any_order_of_programs_is_the_definition(
    proves: Callable, device, rows: int, columns: int, seed: int, packed: bool
) -> None:
    torch.manual_seed(seed)
    both = torch.randn(rows, 2 * columns, device=device)
    with interpreter.sanitize(seed):
        if packed:
            proves(lambda x: workbench_kernels.swiglu(*x.chunk(2, -1)), lambda x: definition(*x.chunk(2, -1)), both)
        else:
            gate, up = both.chunk(2, -1)
            proves(workbench_kernels.swiglu, definition, gate.contiguous(), up.contiguous())


def test_halves_of_a_packed_projection_are_read_where_they_are(device) -> None:
    gate, up = torch.randn(3, 5, 80, device=device).chunk(2, -1)
    rows, _ = kernels._rows(gate, up)
    assert [tensor.data_ptr() for tensor in rows] == [gate.data_ptr(), up.data_ptr()]


def test_gate_and_up_may_have_strides_of_their_own(proves: Callable, device) -> None:
    packed, plain = torch.randn(3, 160, device=device), torch.randn(3, 80, device=device)

    def half_first(function: Callable) -> Callable:
        return lambda x, y: function(x[:, :80], y)

    def half_last(function: Callable) -> Callable:
        return lambda x, y: function(x, y[:, :80])

    proves(half_first(workbench_kernels.swiglu), half_first(definition), packed, plain)
    proves(half_last(workbench_kernels.swiglu), half_last(definition), plain, packed)


def test_gate_up_and_gradient_may_each_have_their_own_gaps_between_rows(proves: Callable, device) -> None:
    packed, up = torch.randn(5, 90, device=device), torch.randn(5, 40, device=device)

    def with_gaps(function: Callable) -> Callable:
        # The result is one third of a wider tensor: its gradient has gaps of its own.
        return lambda packed, up: torch.cat((up, function(packed[:, :40], up), up), dim=-1)

    proves(with_gaps(workbench_kernels.swiglu), with_gaps(definition), packed, up)


@pytest.mark.parametrize("shape", [(3, 170), (130, 5)])
def test_transposed_inputs_and_gradients_are_the_definition(proves: Callable, device, shape: tuple[int, int]) -> None:
    gate, up = torch.randn(2, *shape, device=device)
    proves(lambda gate, up: workbench_kernels.swiglu(gate.T, up.T).T, definition, gate, up)


def test_large_gates_neither_overflow_nor_lose_their_gradient(proves: Callable, device) -> None:
    gate = torch.tensor([-700.0, -90.0, -30.0, 0.0, 30.0, 90.0, 700.0], device=device)
    proves(workbench_kernels.swiglu, definition, gate, torch.ones_like(gate))


def test_mixed_dtypes_give_the_wider_and_gradients_in_their_own(device) -> None:
    gate = torch.randn(7, device=device).bfloat16().requires_grad_()
    up = torch.randn(7, device=device, requires_grad=True)
    out = workbench_kernels.swiglu(gate, up)
    out.sum().backward()
    assert out.dtype == up.grad.dtype == torch.float32
    assert gate.grad.dtype == torch.bfloat16


def test_nothing_to_do_launches_nothing(device) -> None:
    gate = torch.randn(3, 0, device=device, requires_grad=True)
    workbench_kernels.swiglu(gate, gate).sum().backward()
    assert gate.grad.shape == (3, 0)


def test_the_operators_pass_opcheck(device) -> None:
    gate, up, grad = torch.randn(3, 4, 40, device=device)
    torch.library.opcheck(kernels._swiglu, (gate.clone().requires_grad_(), up.clone().requires_grad_()))
    torch.library.opcheck(kernels._swiglu_backward, (grad, gate, up))
