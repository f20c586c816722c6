"""Products of sorted tokens with their experts' matrices, reference and Triton, forward and both gradients."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.kernels import interpreter
from workbench_kernels import reference_matmul
from workbench_kernels.triton_ops import grouped_matmul as grouped

DTYPES = [torch.float32, torch.float16, torch.bfloat16]
SIDES = {"reference": reference_matmul.grouped_matmul, "triton": grouped.grouped_matmul}
COUNTS = [[5, 0, 20, 1, 0, 7], [0, 0, 16], [33], [0, 0], [16, 32, 17], [1, 1, 1, 1, 1]]


def defined(x: Tensor, weight: Tensor, counts: list[int]) -> Tensor:
    expert = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts)).to(x.device)
    out = torch.einsum("ti,toi->to", x[: len(expert)], weight[expert])
    return torch.cat([out, x.new_zeros(len(x) - len(expert), weight.shape[1])])


def compare(
    proves: Callable, device, operation, counts: list[int], sizes: tuple[int, int], dtype, spare: int = 0
) -> None:
    out, inner = sizes
    numbers = torch.tensor(counts, device=device)
    proves(
        lambda x, w: operation(x, w, numbers),
        lambda x, w: defined(x, w, counts),
        torch.randn(sum(counts) + spare, inner, device=device).to(dtype),
        torch.randn(len(counts), out, inner, device=device).div(inner**0.5).to(dtype),
    )


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("counts", COUNTS)
@pytest.mark.usefixtures("sanitized")
def test_outputs_and_gradients_are_the_definition(
    proves: Callable, device, counts: list[int], dtype, side: str
) -> None:
    compare(proves, device, SIDES[side], counts, (40, 20), dtype)


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("sizes", [(1, 1), (32, 32), (33, 16), (70, 65)])
@pytest.mark.usefixtures("sanitized")
def test_sizes_off_the_blocks_are_the_definition(proves: Callable, device, sizes, side: str) -> None:
    for dtype in (torch.float32, torch.bfloat16):
        compare(proves, device, SIDES[side], [3, 18, 0], sizes, dtype)


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("counts", [[2, 0, 3], [0, 0], [17, 16]])
@pytest.mark.usefixtures("sanitized")
def test_tokens_of_nobody_give_zeros_and_get_none(proves: Callable, device, counts: list[int], side: str) -> None:
    for spare in (1, 40):
        compare(proves, device, SIDES[side], counts, (24, 16), torch.float32, spare)


def test_many_tokens_and_row_blocks_go_through_the_columns_once(proves: Callable, device) -> None:
    with interpreter.sanitize():  # more row blocks than go together, and a part of such a group
        compare(proves, device, grouped.grouped_matmul, [100, 60, 31], (70, 16), torch.float32)


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("dtype", [torch.int32, torch.int64])
def test_counts_of_both_integer_types_and_strides_are_accepted(device, dtype, side: str) -> None:
    counts = torch.tensor([[4, 9], [0, 9], [3, 9]], device=device, dtype=dtype)[:, 0]
    x, weight = torch.randn(16, 7, device=device).T, torch.randn(16, 3, 24, device=device).permute(1, 2, 0)
    expected = defined(x.double(), weight.double(), [4, 0, 3])
    for given_ in (x, torch.randn(7, 32, device=device)[:, ::2].copy_(x)):
        got = SIDES[side](given_, weight, counts)
        torch.testing.assert_close(got.double(), expected, rtol=1e-5, atol=1e-5)


def test_counts_past_the_tokens_are_refused_or_harmless(device) -> None:
    x, weight = torch.randn(5, 16, device=device), torch.randn(2, 24, 16, device=device)
    counts = torch.tensor([3, 40], device=device)
    with pytest.raises(ValueError, match="43"):
        reference_matmul.grouped_matmul(x, weight, counts)
    with interpreter.sanitize():
        own = [x.requires_grad_(), weight.requires_grad_()]
        out = grouped.grouped_matmul(*own, counts)
        grads = torch.autograd.grad(out.sum(), own)
    torch.testing.assert_close(out.double(), defined(x.double(), weight.double(), [3, 2]), rtol=1e-5, atol=1e-5)
    assert all(grad.isfinite().all() for grad in grads)


@pytest.mark.parametrize("side", SIDES)
def test_no_tokens_give_nothing_and_zero_gradients(device, side: str) -> None:
    x = torch.randn(0, 8, device=device, requires_grad=True)
    weight = torch.randn(3, 6, 8, device=device, requires_grad=True)
    out = SIDES[side](x, weight, torch.zeros(3, dtype=torch.int64, device=device))
    assert out.shape == (0, 6)
    grads = torch.autograd.grad(out.sum(), (x, weight))
    assert grads[0].shape == (0, 8)
    assert not grads[1].any()


@pytest.mark.parametrize("side", SIDES)
def test_autocast_gives_its_dtype_and_gradients_in_the_inputs(device, side: str) -> None:
    x = torch.randn(6, 8, device=device, requires_grad=True)
    weight = torch.randn(2, 5, 8, device=device, requires_grad=True)
    with torch.autocast(device.type, dtype=torch.bfloat16):
        out = SIDES[side](x, weight, torch.tensor([2, 4], device=device))
    assert out.dtype == torch.bfloat16
    assert all(grad.dtype == torch.float32 for grad in torch.autograd.grad(out.float().sum(), (x, weight)))


@settings(max_examples=12, deadline=None)
@given(
    counts=st.lists(st.integers(0, 40), min_size=1, max_size=5),
    out=st.integers(1, 50),
    inner=st.integers(1, 50),
    half=st.booleans(),
)
def test_any_counts_agree_with_the_definition(proves: Callable, device, counts, out, inner, half) -> None:
    torch.manual_seed(0)
    with interpreter.sanitize():
        compare(proves, device, grouped.grouped_matmul, counts, (out, inner), torch.float16 if half else torch.float32)


def test_the_reference_passes_gradcheck() -> None:
    x = torch.randn(5, 3, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(3, 4, 3, dtype=torch.float64, requires_grad=True)
    counts = torch.tensor([2, 0, 2])
    assert torch.autograd.gradcheck(lambda x, w: reference_matmul.grouped_matmul(x, w, counts), (x, weight))


def test_the_custom_ops_keep_their_promises(device) -> None:
    x = torch.randn(9, 16, device=device, requires_grad=True)
    weight = torch.randn(3, 24, 16, device=device, requires_grad=True)
    counts, grad = torch.tensor([4, 0, 5], device=device), torch.randn(9, 24, device=device)
    torch.library.opcheck(grouped.forward_op, (x, weight, counts))
    torch.library.opcheck(grouped.input_gradient_op, (grad, weight.detach(), counts))
    torch.library.opcheck(grouped.weight_gradient_op, (grad, x.detach(), counts))
