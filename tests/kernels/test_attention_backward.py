"""The backward of flash attention in Triton: every gradient against the definition, and who influences whom."""

import pytest
import torch
import triton
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.kernels import attention_in_float64, interpreter
from tests.kernels.attention_definition import defined, packed_views, random_starts, scores, tensors
from tests.kernels.conftest import KERNEL_TOLERANCE
from workbench_kernels import launch
from workbench_kernels.triton_ops import attention as kernels
from workbench_kernels.triton_ops import attention_backward

pytestmark = pytest.mark.usefixtures("sanitized")

DTYPES = [torch.float32, torch.float16, torch.bfloat16]
SHAPES = [
    (2, 2, 1, 33, 33, 16),
    (1, 3, 1, 70, 70, 24),
    (1, 8, 1, 37, 37, 40),
    (1, 2, 2, 64, 64, 64),
    (1, 3, 3, 45, 45, 80),
    (1, 2, 1, 19, 19, 128),
    (3, 2, 2, 1, 1, 16),
]
"""Batch, heads, heads of keys, queries, keys, head size."""


def gradients(q: Tensor, k: Tensor, v: Tensor, upstream: Tensor, **seen) -> tuple[Tensor, ...]:
    inputs = [each.detach().requires_grad_() for each in (q, k, v)]
    starts = seen.pop("starts", None)
    out = kernels.attention(*inputs, document_starts=starts, **seen)
    return torch.autograd.grad(out, inputs, upstream.to(out.dtype))


def true_gradients(q: Tensor, k: Tensor, v: Tensor, upstream: Tensor, **seen) -> tuple[Tensor, ...]:
    inputs = [each.detach().double().requires_grad_() for each in (q, k, v)]
    return torch.autograd.grad(defined(*inputs, **seen), inputs, upstream.to(q.dtype).double())


def proves_gradients(q: Tensor, k: Tensor, v: Tensor, tolerance: float | None = None, **seen) -> tuple[Tensor, ...]:
    """The gradients, once they are found to be the definition's."""
    upstream = torch.randn(q.shape, device=q.device)
    found = gradients(q, k, v, upstream, **seen)
    for name, got, true in zip("qkv", found, true_gradients(q, k, v, upstream, **seen), strict=True):
        assert got.shape == true.shape
        assert got.dtype == q.dtype
        error = ((got.double() - true).abs().max() / true.abs().max().clamp_min(0.1)).item()
        assert error < (tolerance or KERNEL_TOLERANCE[q.dtype]), f"gradient of {name}: {error:.2e}"
    return found


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_gradients_are_the_definition(device, shape, dtype) -> None:
    proves_gradients(*(each.to(device) for each in tensors(*shape, dtype)))


@pytest.mark.parametrize("seq", [1, 2, 3, 8, 15, 16, 17, 31, 32, 34, 47, 48, 49, 63, 65, 70])
def test_gradients_at_and_off_the_edges_of_blocks(device, seq: int) -> None:
    proves_gradients(*(each.to(device) for each in tensors(1, 1, 1, seq, seq, 16)))


@pytest.mark.parametrize("seq, kv_seq", [(1, 50), (5, 33), (20, 57), (17, 48)])
@pytest.mark.parametrize("heads, kv_heads", [(2, 2), (6, 2), (8, 1)])
def test_gradients_reach_the_keys_of_a_cache(device, seq, kv_seq, heads, kv_heads) -> None:
    proves_gradients(*(each.to(device) for each in tensors(1, heads, kv_heads, seq, kv_seq, 16)))


@pytest.mark.parametrize("seq, kv_seq", [(33, 33), (5, 40), (40, 5), (48, 32)])
def test_gradients_without_a_causal_order(device, seq: int, kv_seq: int) -> None:
    proves_gradients(*(each.to(device) for each in tensors(2, 2, 1, seq, kv_seq, 16)), causal=False)


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("window", [1, 7, 16])
@pytest.mark.parametrize("seq, kv_seq", [(70, 70), (20, 57)])
def test_gradients_within_a_window(device, seq: int, kv_seq: int, window: int, causal: bool) -> None:
    inputs = (each.to(device) for each in tensors(1, 2, 1, seq, kv_seq, 16))
    # Of one key, the softmax has no gradient for q and k: what is found is the rest of two large terms.
    proves_gradients(*inputs, window=window, causal=causal, tolerance=1e-4 if window == 1 else None)


@pytest.mark.parametrize("window, integer", [(None, torch.int32), (9, torch.int64)])
@pytest.mark.parametrize("seq, kv_seq", [(70, 70), (20, 57)])
def test_gradients_within_documents(device, seq: int, kv_seq: int, integer: torch.dtype, window: int | None) -> None:
    starts = random_starts(2, seq, shift=kv_seq - seq).to(device, integer)
    inputs = (each.to(device) for each in tensors(2, 2, 1, seq, kv_seq, 16))
    proves_gradients(*inputs, starts=starts, window=window)


@pytest.mark.parametrize("starts", [[0] * 16 + [16] * 32, [0] * 31 + [31] * 17, [0] * 47 + [47], list(range(48))])
def test_documents_may_end_at_and_off_the_blocks(device, starts: list[int]) -> None:
    inputs = (each.to(device) for each in tensors(1, 2, 2, 48, 48, 16))
    # Of one key, the softmax has no gradient for q and k: what is found is the rest of two large terms.
    tolerance = 1e-4 if len(set(starts)) == len(starts) else None
    proves_gradients(*inputs, starts=torch.tensor([starts], device=device), tolerance=tolerance)


def test_more_queries_than_are_counted_at_once(device) -> None:
    starts = random_starts(1, 520, chance=0.03).to(device)
    proves_gradients(*(each.to(device) for each in tensors(1, 1, 1, 520, 520, 4)), starts=starts, tolerance=1e-5)


def test_queries_that_see_no_key_have_no_gradient(device) -> None:
    q, k, v = (each.to(device) for each in tensors(1, 2, 1, 40, 9, 16))
    assert not proves_gradients(q, k, v)[0][:, :, :31].any()
    q, k, v = (each.to(device) for each in tensors(1, 2, 1, 40, 40, 16))
    starts = torch.arange(40, device=device).unsqueeze(0).clone()
    starts[:, 20:] = 39  # queries of padding: their document starts after them
    assert not proves_gradients(q, k, v, starts=starts)[0][:, :, 20:39].any()


@pytest.mark.parametrize("causal", [True, False])
def test_large_logits_have_finite_exact_gradients(device, causal: bool) -> None:
    q, k, v = (8 * each.to(device) for each in tensors(1, 2, 1, 45, 45, 16))
    q = q * (700 / scores(q, k, causal=False).abs().max())
    proves_gradients(q, k, v, tolerance=1e-3, causal=causal)


@given(
    batch=st.integers(1, 2),
    kv_heads=st.integers(1, 2),
    group=st.integers(1, 2),
    seq=st.integers(1, 40),
    before=st.integers(-5, 30),
    head_dim=st.integers(4, 40),
    window=st.none() | st.integers(1, 60),
    masking=st.sampled_from(["causal", "documents", "all"]),
    seed=st.integers(0, 2**20),
)
@settings(max_examples=12, deadline=None)
def test_gradients_of_any_shape_in_any_order_of_programs(
    device, batch, kv_heads, group, seq, before, head_dim, window, masking, seed
) -> None:
    torch.manual_seed(seed)
    kv_seq = max(1, seq + before)
    inputs = [each.to(device) for each in tensors(batch, group * kv_heads, kv_heads, seq, kv_seq, head_dim)]
    starts = random_starts(batch, seq, shift=max(0, before)).to(device) if masking == "documents" else None
    with interpreter.sanitize(seed):
        proves_gradients(*inputs, starts=starts, window=window, causal=masking != "all", tolerance=1e-5)


@pytest.mark.parametrize("blocks", [(16, 16), (16, 64), (64, 32)])
@pytest.mark.parametrize("seq, kv_seq", [(50, 50), (33, 65)])
def test_blocks_of_any_proportion_give_the_same(monkeypatch, device, blocks, seq: int, kv_seq: int) -> None:
    monkeypatch.setattr(attention_backward, "_INTERPRETED", ((*blocks, 4, 1), (*blocks, 4, 1)))
    inputs = [each.to(device) for each in tensors(1, 1, 1, seq, kv_seq, 16)]
    proves_gradients(*inputs)
    proves_gradients(*inputs, causal=False)
    proves_gradients(*inputs, window=20)
    proves_gradients(*inputs, starts=random_starts(1, seq, shift=kv_seq - seq).to(device))


def test_another_document_never_changes_a_bit_of_a_gradient(device) -> None:
    starts = torch.tensor([[0] * 20 + [20] * 30 + [50] * 14], device=device)
    inputs = [each.to(device) for each in tensors(1, 4, 2, 64, 64, 16)]
    changed = [each.clone() for each in inputs]
    for each in changed:
        each[:, :, 20:50] += 2
    upstream = torch.randn(inputs[0].shape, device=device)
    for before, after in zip(
        gradients(*inputs, upstream, starts=starts), gradients(*changed, upstream, starts=starts), strict=True
    ):
        assert torch.equal(before[:, :, :20], after[:, :, :20])
        assert torch.equal(before[:, :, 50:], after[:, :, 50:])
        assert not torch.equal(before[:, :, 20:50], after[:, :, 20:50])


def test_a_key_gets_no_gradient_from_queries_that_do_not_see_it(device) -> None:
    q, k, v = (each.to(device) for each in tensors(1, 2, 1, 60, 60, 16))
    upstream = torch.zeros(q.shape, device=device)
    upstream[:, :, 30] = 1
    for seen, first in [({}, 0), ({"window": 9}, 22)]:
        grad_q, grad_k, grad_v = gradients(q, k, v, upstream, **seen)
        assert not grad_q[:, :, :30].any()
        assert not grad_q[:, :, 31:].any()
        for grad in (grad_k, grad_v):
            assert not grad[:, :, :first].any()
            assert grad[:, :, first:31].ne(0).any(-1).all()
            assert not grad[:, :, 31:].any()


def test_gradients_are_bit_equal_in_every_order_of_programs(device) -> None:
    inputs = [each.to(device) for each in tensors(2, 2, 1, 40, 40, 24)]
    upstream = torch.randn(inputs[0].shape, device=device)
    results = []
    for seed in (1, 2):
        with interpreter.sanitize(seed):
            results.append(gradients(*inputs, upstream))
    assert all(torch.equal(one, other) for one, other in zip(*results, strict=True))


@pytest.mark.parametrize("head_dim", [16, 24])
def test_views_of_a_packed_projection_get_their_gradients(device, head_dim: int) -> None:
    proves_gradients(*(each.to(device) for each in packed_views(2, 2, 1, 33, head_dim)))


def test_upstream_gradients_of_any_layout_are_taken(device) -> None:
    q, k, v = (each.to(device) for each in tensors(2, 2, 1, 20, 20, 16))
    upstream = torch.randn(1, 1, 1, 1, device=device).expand(q.shape)  # as a sum gives it
    heads_first = upstream.transpose(0, 1).contiguous().transpose(0, 1)
    for layout in (upstream.contiguous(), upstream.mT.contiguous().mT, heads_first):
        for one, other in zip(gradients(q, k, v, upstream), gradients(q, k, v, layout), strict=True):
            assert torch.equal(one, other)


def test_rows_too_far_apart_for_32_bits_are_found(monkeypatch, device) -> None:
    inputs = [each.to(device) for each in tensors(2, 2, 1, 50, 50, 16)]
    upstream = torch.randn(inputs[0].shape, device=device)
    expected = gradients(*inputs, upstream)
    strides_of = attention_backward.strides_of

    def far_apart(*given: Tensor) -> tuple[list[int], dict[str, int | bool]]:
        strides, layout = strides_of(*given)
        return strides, layout | {"WIDE": True}

    monkeypatch.setattr(attention_backward, "strides_of", far_apart)
    for one, other in zip(expected, gradients(*inputs, upstream), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("shape", [(0, 2, 1, 5, 5, 16), (2, 2, 1, 0, 5, 16), (1, 2, 1, 3, 0, 16)])
def test_nothing_to_attend_from_or_to_has_gradients_of_zero(device, shape) -> None:
    q, k, v = (each.to(device) for each in tensors(*shape))
    for grad, each in zip(gradients(q, k, v, torch.ones(q.shape, device=device)), (q, k, v), strict=True):
        assert grad.shape == each.shape
        assert not grad.any()


def test_the_operator_passes_opcheck(device) -> None:
    q, k, v = (each.to(device) for each in tensors(1, 4, 2, 9, 9, 16))
    out, lse = kernels._attention(q, k, v, None, True, None)
    inputs = (torch.randn_like(out), q, k, v, None, out, lse, True, None)
    torch.library.opcheck(attention_backward.attention_backward, inputs)


@pytest.mark.parametrize("architecture", ["sm_80", "sm_86", "sm_90", "sm_100", "sm_120", "gfx942", launch.INTERPRETER])
def test_every_launch_is_of_whole_blocks_and_warps(architecture: str) -> None:
    for name, each in attention_backward.launches(architecture).items():
        assert all(size >= 16 and size & (size - 1) == 0 for size in each.blocks.values()), name
        assert each.num_warps in (1, 2, 4, 8), name


@pytest.mark.skipif(
    tuple(map(int, triton.__version__.split(".")[:2])) < (3, 8) or not interpreter.interpreted(),
    reason="products of float64 need Triton 3.8 and the interpreter",
)
@pytest.mark.parametrize("seen", [{}, {"window": 3}, {"causal": False}, {"starts": [[0, 0, 2, 2, 2]]}])
def test_gradcheck_passes_in_float64(monkeypatch, tmp_path_factory, seen) -> None:
    attention = attention_in_float64.load(tmp_path_factory.mktemp("float64")).attention
    inputs = [each.requires_grad_() for each in tensors(1, 2, 1, 5, 5, 4, torch.float64)]
    named = {name: value for name, value in seen.items() if name != "starts"}
    starts = torch.tensor(seen["starts"]) if "starts" in seen else None
    with interpreter.float64_scalars():
        assert torch.autograd.gradcheck(lambda *given: attention(*given, document_starts=starts, **named), inputs)
        q, k, v = tensors(2, 4, 2, 50, 50, 16, torch.float64)
        upstream = torch.randn_like(q)
        inputs = [each.requires_grad_() for each in (q, k, v)]
        starts = random_starts(2, 50) if "starts" in seen else None
        found = torch.autograd.grad(attention(*inputs, document_starts=starts, **named), inputs, upstream)
    for got, true in zip(found, true_gradients(q, k, v, upstream, starts=starts, **named), strict=True):
        torch.testing.assert_close(got, true, rtol=0, atol=1e-11)
