"""Rotary positions in Triton, alone and after the norm of every head, against their definition in float64."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import workbench_kernels
from tests.kernels import interpreter
from workbench_kernels.triton_ops import rotary as kernels

pytestmark = pytest.mark.usefixtures("sanitized", "on_triton")

DTYPES = [torch.float32, torch.float16, torch.bfloat16]
SHAPES = [
    # batch, heads, kv_heads, seq, head_dim, rotary_dim
    (2, 3, 1, 13, 16, 16),
    (1, 4, 4, 8, 24, 24),
    (2, 2, 2, 5, 2, 2),
    (1, 8, 1, 9, 40, 40),
    (2, 6, 3, 7, 80, 80),
    (1, 2, 1, 17, 64, 64),
    (1, 2, 1, 3, 128, 128),
    (1, 1, 1, 1, 16, 16),
    (2, 3, 1, 11, 32, 16),
    (1, 2, 2, 9, 40, 12),
    (2, 1, 1, 6, 20, 14),
]


def tables(seq: int, rotary_dim: int, device: torch.device) -> tuple[Tensor, Tensor]:
    angles = 6 * torch.rand(seq, rotary_dim // 2, dtype=torch.float64)
    whole = torch.cat((angles, angles), dim=-1).to(device)
    return whole.cos().float(), whole.sin().float()


def turned(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """By complex numbers: another way than the kernel's own."""
    rotary_dim = cos.shape[-1]
    half = rotary_dim // 2
    pairs = torch.complex(x[..., :half], x[..., half:rotary_dim]) * torch.complex(cos[:, :half], sin[:, :half]).to(
        torch.complex128
    )
    return torch.cat((pairs.real, pairs.imag, x[..., rotary_dim:]), dim=-1)


def normed(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    return x / (x.pow(2).mean(-1, keepdim=True) + eps).sqrt() * weight


def heads_of(batch: int, heads: int, kv_heads: int, seq: int, head_dim: int, device, dtype) -> list[Tensor]:
    """q and k as projections leave them: (batch, heads, seq, head_dim), the heads of a token side by side."""
    return [
        torch.randn(batch, seq, count, head_dim, device=device, dtype=dtype).transpose(1, 2)
        for count in (heads, kv_heads)
    ]


def some_weight(size: int, device, dtype=torch.float32) -> Tensor:
    return (1 + 0.3 * torch.randn(size, device=device)).to(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_heads_and_their_gradients_are_turned_by_their_angles(proves: Callable, device, shape, dtype) -> None:
    *sizes, rotary_dim = shape
    q, k = heads_of(*sizes, device, dtype)
    cos, sin = tables(sizes[3], rotary_dim, device)
    proves(
        lambda q, k: workbench_kernels.apply_rotary(q, k, cos, sin),
        lambda q, k: (turned(q, cos, sin), turned(k, cos, sin)),
        q,
        k,
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_normed_heads_and_all_gradients_are_the_definition(proves: Callable, device, shape, dtype) -> None:
    *sizes, rotary_dim = shape
    q, k = heads_of(*sizes, device, dtype)
    cos, sin = tables(sizes[3], rotary_dim, device)
    weights = (some_weight(sizes[4], device, dtype), some_weight(sizes[4], device, dtype))
    proves(
        lambda q, k, q_weight, k_weight: workbench_kernels.qk_norm_rotary(q, k, q_weight, k_weight, cos, sin, 1e-2),
        lambda q, k, q_weight, k_weight: (
            turned(normed(q, q_weight, 1e-2), cos, sin),
            turned(normed(k, k_weight, 1e-2), cos, sin),
        ),
        q,
        k,
        *weights,
    )


@given(
    batch=st.integers(1, 3),
    groups=st.integers(1, 3),
    kv_heads=st.integers(1, 3),
    seq=st.integers(1, 20),
    half=st.integers(1, 20),
    rest=st.integers(0, 9),
    norm=st.booleans(),
    seed=st.integers(0, 2**20),
)
@settings(max_examples=15, deadline=None)
def test_any_shape_in_any_order_of_programs_is_the_definition(
    proves: Callable, device, batch, groups, kv_heads, seq, half, rest, norm, seed
) -> None:
    torch.manual_seed(seed)
    head_dim = 2 * half + rest
    q, k = heads_of(batch, groups * kv_heads, kv_heads, seq, head_dim, device, torch.float32)
    cos, sin = tables(seq, 2 * half, device)
    with interpreter.sanitize(seed):
        if norm:
            q_weight, k_weight = some_weight(head_dim, device), some_weight(head_dim, device)
            proves(
                lambda q, k, v, w: workbench_kernels.qk_norm_rotary(q, k, v, w, cos, sin, 0.1),
                lambda q, k, v, w: (turned(normed(q, v, 0.1), cos, sin), turned(normed(k, w, 0.1), cos, sin)),
                q,
                k,
                q_weight,
                k_weight,
            )
        else:
            proves(
                lambda q, k: workbench_kernels.apply_rotary(q, k, cos, sin),
                lambda q, k: (turned(q, cos, sin), turned(k, cos, sin)),
                q,
                k,
            )


@pytest.mark.parametrize("norm", [False, True])
def test_views_of_packed_qkv_are_read_where_they_are(proves: Callable, device, norm: bool) -> None:
    batch, seq, heads, kv_heads, head_dim = 2, 11, 4, 2, 16
    packed = torch.randn(batch, seq, heads + 2 * kv_heads, head_dim, device=device)
    cos, sin = tables(seq, head_dim, device)
    q_weight, k_weight = some_weight(head_dim, device), some_weight(head_dim, device)

    def views(packed: Tensor) -> tuple[Tensor, Tensor]:
        return packed[:, :, :heads].transpose(1, 2), packed[:, :, heads : heads + kv_heads].transpose(1, 2)

    def operation(packed: Tensor) -> tuple[Tensor, Tensor]:
        q, k = views(packed)
        assert kernels._adjacent(q) is q
        if norm:
            return workbench_kernels.qk_norm_rotary(q, k, q_weight, k_weight, cos, sin, 0.1)
        return workbench_kernels.apply_rotary(q, k, cos, sin)

    def definition(packed: Tensor) -> tuple[Tensor, Tensor]:
        q, k = views(packed)
        if norm:
            q, k = normed(q, q_weight.double(), 0.1), normed(k, k_weight.double(), 0.1)
        return turned(q, cos, sin), turned(k, cos, sin)

    proves(operation, definition, packed)


def test_heads_side_by_side_in_any_order_of_dimensions_are_turned(proves: Callable, device) -> None:
    q, k = torch.randn(2, 3, 7, 16, device=device), torch.randn(16, 7, 1, 2, device=device)
    cos, sin = tables(7, 16, device)
    proves(
        lambda q, k: workbench_kernels.apply_rotary(q, k.permute(3, 2, 1, 0), cos, sin),
        lambda q, k: (turned(q, cos, sin), turned(k.permute(3, 2, 1, 0), cos, sin)),
        q,
        k,
    )


def test_tables_may_be_slices_and_of_different_strides(device) -> None:
    q, k = heads_of(1, 2, 1, 6, 16, device, torch.float32)
    cos, sin = tables(20, 16, device)
    expected = workbench_kernels.apply_rotary(q, k, cos[9:15].clone(), sin[9:15].clone())
    got = workbench_kernels.apply_rotary(q, k, cos[9:15], sin.T.contiguous().T[9:15])
    assert all(torch.equal(one, other) for one, other in zip(got, expected, strict=True))


def test_results_lie_in_memory_as_the_projection_made_them(device) -> None:
    q, k = heads_of(2, 4, 2, 5, 16, device, torch.float32)
    q_out, k_out = workbench_kernels.apply_rotary(q.contiguous(), k, *tables(5, 16, device))
    assert q_out.transpose(1, 2).is_contiguous()
    assert k_out.transpose(1, 2).is_contiguous()


def test_turning_there_and_back_gives_the_heads_again(device) -> None:
    q, k = heads_of(1, 3, 1, 9, 24, device, torch.float32)
    cos, sin = tables(9, 24, device)
    there = workbench_kernels.apply_rotary(q, k, cos, sin)
    back = workbench_kernels.apply_rotary(*there, cos, -sin)
    torch.testing.assert_close(back, (q, k), rtol=1e-5, atol=1e-5)


def test_under_autocast_turned_heads_keep_their_dtype_and_normed_ones_take_autocasts(device) -> None:
    q, k = heads_of(1, 2, 1, 4, 16, device, torch.float32)
    cos, sin = tables(4, 16, device)
    weight = torch.ones(16, device=device)
    with torch.autocast(device.type, dtype=torch.bfloat16):
        assert workbench_kernels.apply_rotary(q, k, cos, sin)[0].dtype == torch.float32
        assert workbench_kernels.qk_norm_rotary(q, k, weight, weight, cos, sin, 1e-5)[1].dtype == torch.bfloat16


def test_no_tokens_launch_nothing(device) -> None:
    q, k = (x.requires_grad_() for x in heads_of(2, 2, 1, 0, 16, device, torch.float32))
    weight = torch.ones(16, device=device, requires_grad=True)
    cos, sin = tables(0, 16, device)
    for q_out, k_out in (
        workbench_kernels.apply_rotary(q, k, cos, sin),
        workbench_kernels.qk_norm_rotary(q, k, weight, weight, cos, sin, 1e-5),
    ):
        (q_out.sum() + k_out.sum()).backward()
        assert q_out.shape == q.grad.shape == q.shape
    assert torch.equal(weight.grad, torch.zeros(16, device=device))


def test_gradients_are_bit_equal_in_every_order_of_programs(device) -> None:
    q, k = heads_of(2, 5, 3, 30, 16, device, torch.float32)
    cos, sin = tables(30, 16, device)
    upstream = torch.randn_like(q), torch.randn_like(k)

    def gradients(seed: int) -> tuple[Tensor, ...]:
        torch.manual_seed(0)
        weights = some_weight(16, device), some_weight(16, device)
        inputs = [tensor.clone().requires_grad_() for tensor in (q, k, *weights)]
        with interpreter.sanitize(seed):
            return torch.autograd.grad(workbench_kernels.qk_norm_rotary(*inputs, cos, sin, 0.1), inputs, upstream)

    for one, other in zip(gradients(1), gradients(2), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("rotary_dim", [16, 12])
def test_the_operators_pass_opcheck(device, rotary_dim: int) -> None:
    q, k = (x.requires_grad_() for x in heads_of(1, 2, 1, 5, 16, device, torch.float32))
    cos, sin = tables(5, rotary_dim, device)
    weight = some_weight(16, device).requires_grad_()
    other = some_weight(16, device).requires_grad_()
    torch.library.opcheck(kernels._rotary, (q, k, cos, sin, False))
    dtypes = (torch.float32, torch.float32)
    torch.library.opcheck(kernels._qk_norm_rotary, (q, k, weight, other, cos, sin, 1e-5, *dtypes))
    plain = [tensor.detach() for tensor in (q, k, q, k, weight, other, cos, sin)]
    torch.library.opcheck(kernels._qk_norm_rotary_backward, (*plain, 1e-5))
