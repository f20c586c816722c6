"""Flash attention in Triton: what it computes, who sees whom, and which layouts it takes."""

import pytest
import torch
import triton
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.kernels import attention_in_float64, interpreter
from tests.kernels.attention_definition import defined, packed_views, random_starts, scores, tensors
from tests.kernels.conftest import KERNEL_TOLERANCE
from workbench_kernels import Documents, launch
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
    (1, 2, 1, 18, 18, 5),
]
"""Batch, heads, heads of keys, queries, keys, head size."""


def proves_output(q: Tensor, k: Tensor, v: Tensor, tolerance: float | None = None, **seen) -> Tensor:
    """The output, once it is found to be the definition's."""
    starts = seen.pop("starts", None)
    out = kernels.attention(q, k, v, document_starts=starts, **seen)
    true = defined(q.double(), k.double(), v.double(), starts=starts, **seen)
    assert out.shape == true.shape
    assert out.dtype == q.dtype
    error = ((out.double() - true).abs().max() / true.abs().max().clamp_min(0.1)).item()
    assert error < (tolerance or KERNEL_TOLERANCE[q.dtype]), f"{error:.2e}"
    return out


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_output_is_the_definition(device, shape, dtype) -> None:
    proves_output(*(each.to(device) for each in tensors(*shape, dtype)))


@pytest.mark.parametrize("first", [1, 15, 29, 43, 57])
def test_every_length_is_the_definition(device, first: int) -> None:
    for seq in range(first, first + 14):
        proves_output(*(each.to(device) for each in tensors(1, 1, 1, seq, seq, 16)))


@pytest.mark.parametrize("seq, kv_seq", [(1, 9), (1, 50), (2, 50), (5, 33), (7, 20), (20, 57), (16, 16), (17, 48)])
@pytest.mark.parametrize("heads, kv_heads", [(2, 2), (6, 2), (8, 1)])
def test_the_last_query_stands_at_the_last_key_of_a_cache(device, seq, kv_seq, heads, kv_heads) -> None:
    proves_output(*(each.to(device) for each in tensors(1, heads, kv_heads, seq, kv_seq, 16)))


@pytest.mark.parametrize("head_dim", [16, 24])  # padded columns of the very last row would be read out of bounds
@pytest.mark.parametrize("seq, kv_seq", [(33, 33), (5, 40), (40, 5), (1, 17), (48, 32)])
def test_without_a_causal_order_every_key_is_seen(device, seq: int, kv_seq: int, head_dim: int) -> None:
    proves_output(*(each.to(device) for each in tensors(2, 2, 1, seq, kv_seq, head_dim)), causal=False)


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("window", [1, 7, 16, 33])
@pytest.mark.parametrize("seq, kv_seq", [(70, 70), (20, 57), (1, 40)])
def test_a_window_hides_earlier_keys(device, seq: int, kv_seq: int, window: int, causal: bool) -> None:
    inputs = (each.to(device) for each in tensors(1, 2, 1, seq, kv_seq, 16))
    proves_output(*inputs, window=window, causal=causal)


@pytest.mark.parametrize("window, integer", [(None, torch.int32), (9, torch.int64)])
@pytest.mark.parametrize("seq, kv_seq", [(70, 70), (20, 57)])
def test_earlier_documents_are_hidden(device, seq: int, kv_seq: int, integer: torch.dtype, window: int | None) -> None:
    starts = random_starts(2, seq, shift=kv_seq - seq).to(device, integer)
    inputs = [each.to(device) for each in tensors(2, 2, 1, seq, kv_seq, 16)]
    out = proves_output(*inputs, starts=starts, window=window)
    prepared = kernels.attention(*inputs, window=window, document_starts=Documents(starts, kv_seq))
    assert torch.equal(out, prepared)


@pytest.mark.parametrize("starts", [[0] * 16 + [16] * 32, [0] * 31 + [31] * 17, [0] * 47 + [47], list(range(48))])
def test_documents_may_end_at_and_off_the_blocks(device, starts: list[int]) -> None:
    inputs = (each.to(device) for each in tensors(1, 2, 2, 48, 48, 16))
    proves_output(*inputs, starts=torch.tensor([starts], device=device))


def test_queries_that_see_no_key_give_zero(device) -> None:
    q, k, v = (each.to(device) for each in tensors(1, 2, 1, 40, 9, 16))
    assert not proves_output(q, k, v)[:, :, :31].any()
    q, k, v = (each.to(device) for each in tensors(1, 2, 1, 40, 40, 16))
    starts = torch.arange(40, device=device).unsqueeze(0).clone()
    starts[:, 20:] = 39  # queries of padding: their document starts after them
    assert not proves_output(q, k, v, starts=starts)[:, :, 20:39].any()
    assert not kernels.attention(q, k[:, :, :0], v[:, :, :0], causal=False).any()


@pytest.mark.parametrize("causal", [True, False])
def test_large_logits_neither_overflow_nor_vanish(device, causal: bool) -> None:
    q, k, v = (8 * each.to(device) for each in tensors(1, 2, 1, 48, 48, 16))
    q = q * (700 / scores(q, k, causal=False).abs().max())
    proves_output(q, k, v, tolerance=1e-3, causal=causal)


@given(
    batch=st.integers(1, 2),
    kv_heads=st.integers(1, 2),
    group=st.integers(1, 3),
    seq=st.integers(1, 50),
    before=st.integers(-5, 30),
    head_dim=st.integers(1, 40),
    window=st.none() | st.integers(1, 60),
    masking=st.sampled_from(["causal", "documents", "all"]),
    seed=st.integers(0, 2**20),
)
@settings(max_examples=15, deadline=None)
def test_any_shape_in_any_order_of_programs(
    device, batch, kv_heads, group, seq, before, head_dim, window, masking, seed
) -> None:
    torch.manual_seed(seed)
    kv_seq = max(1, seq + before)
    inputs = [each.to(device) for each in tensors(batch, group * kv_heads, kv_heads, seq, kv_seq, head_dim)]
    starts = random_starts(batch, seq, shift=max(0, before)).to(device) if masking == "documents" else None
    with interpreter.sanitize(seed):
        proves_output(*inputs, starts=starts, window=window, causal=masking != "all")


@pytest.mark.parametrize("blocks", [(16, 32), (16, 16), (64, 16)])
@pytest.mark.parametrize("seq, kv_seq", [(50, 50), (33, 65)])
def test_blocks_of_any_proportion_see_the_same(monkeypatch, device, blocks, seq: int, kv_seq: int) -> None:
    monkeypatch.setattr(kernels, "_INTERPRETED", dict.fromkeys(kernels._INTERPRETED, (*blocks, 4, 1)))
    inputs = [each.to(device) for each in tensors(1, 2, 1, seq, kv_seq, 16)]
    proves_output(*inputs)
    proves_output(*inputs, causal=False)
    proves_output(*inputs, window=20)
    proves_output(*inputs, starts=random_starts(1, seq, shift=kv_seq - seq).to(device))


@pytest.mark.parametrize("seq, kv_seq", [(50, 50), (3, 40)])
def test_outputs_before_a_changed_key_are_bit_equal(device, seq: int, kv_seq: int) -> None:
    q, k, v = (each.to(device) for each in tensors(1, 4, 2, seq, kv_seq, 16))
    before = kernels.attention(q, k, v)
    for query in {0, seq // 2, seq - 1}:
        key = query + kv_seq - seq
        changed_k, changed_v = k.clone(), v.clone()
        changed_k[:, :, key] += 3
        changed_v[:, :, key] -= 5
        after = kernels.attention(q, changed_k, changed_v)
        assert torch.equal(before[:, :, :query], after[:, :, :query])
        assert not torch.equal(before[:, :, query], after[:, :, query])


def test_another_document_never_changes_a_bit(device) -> None:
    starts = torch.tensor([[0] * 20 + [20] * 30 + [50] * 14], device=device)
    q, k, v = (each.to(device) for each in tensors(1, 4, 2, 64, 64, 16))
    before = kernels.attention(q, k, v, document_starts=starts)
    k, v = k.clone(), v.clone()
    k[:, :, 20:50] += 2
    v[:, :, 20:50] *= -3
    after = kernels.attention(q, k, v, document_starts=starts)
    assert torch.equal(before[:, :, :20], after[:, :, :20])
    assert torch.equal(before[:, :, 50:], after[:, :, 50:])
    assert not torch.equal(before[:, :, 20:50], after[:, :, 20:50])


def test_keys_before_the_window_never_change_a_bit(device) -> None:
    q, k, v = (each.to(device) for each in tensors(1, 2, 1, 60, 60, 16))
    before = kernels.attention(q, k, v, window=10)
    k, v = k.clone(), v.clone()
    k[:, :, 25] += 2
    v[:, :, 25] *= -3
    after = kernels.attention(q, k, v, window=10)
    assert torch.equal(before[:, :, :25], after[:, :, :25])
    assert torch.equal(before[:, :, 35:], after[:, :, 35:])
    assert not torch.equal(before[:, :, 34], after[:, :, 34])


def test_outputs_are_bit_equal_in_every_order_of_programs(device) -> None:
    q, k, v = (each.to(device) for each in tensors(2, 2, 1, 40, 40, 24))
    results = []
    for seed in (1, 2):
        with interpreter.sanitize(seed):
            results.append(kernels.attention(q, k, v))
    assert torch.equal(*results)


@pytest.mark.parametrize("head_dim", [16, 24])
def test_views_of_a_packed_projection_are_read_where_they_lie(device, head_dim: int) -> None:
    views = [each.to(device) for each in packed_views(2, 2, 1, 33, head_dim)]
    assert all(attention_backward.with_adjacent_columns(each) is each for each in views)
    whole = [each.contiguous() for each in views]
    assert torch.equal(proves_output(*views), kernels.attention(*whole))


def test_other_layouts_are_taken_too(device) -> None:
    q, k, v = (each.to(device) for each in tensors(2, 2, 2, 33, 33, 16))
    expected = proves_output(q, k, v)
    columns_apart = [each.mT.contiguous().mT for each in (q, k, v)]
    assert torch.equal(expected, kernels.attention(*columns_apart))
    odd = [torch.empty(2, 2, 35, 19, device=device)[:, :, 1:34, 2:18].copy_(each) for each in (q, k, v)]
    assert torch.equal(expected, kernels.attention(*odd))
    shared = k[:1].expand(2, -1, -1, -1)
    proves_output(q, shared, shared)


def test_rows_too_far_apart_for_32_bits_are_found(monkeypatch, device) -> None:
    q, k, v = (each.to(device) for each in tensors(2, 2, 1, 50, 50, 16))
    expected = kernels.attention(q, k, v)
    far = torch.empty(1, device="meta").expand(1, 1, 2**24, 1).as_strided((1, 1, 2**24, 1), (0, 0, 128, 1))
    assert attention_backward.strides_of(far)[1]["WIDE"]
    assert not attention_backward.strides_of(q, k, v)[1]["WIDE"]
    strides_of = attention_backward.strides_of

    def far_apart(*given: Tensor) -> tuple[list[int], dict[str, int | bool]]:
        strides, layout = strides_of(*given)
        return strides, layout | {"WIDE": True}

    monkeypatch.setattr(attention_backward, "strides_of", far_apart)
    assert torch.equal(expected, kernels.attention(q, k, v))


@pytest.mark.parametrize("shape", [(0, 2, 1, 5, 5, 16), (2, 2, 1, 0, 5, 16), (2, 0, 0, 5, 5, 16), (1, 2, 1, 3, 0, 16)])
def test_nothing_to_attend_from_or_to_is_no_error(device, shape) -> None:
    if not shape[1]:
        shape = (2, 1, 1, 0, 0, 16)
    q, k, v = (each.to(device) for each in tensors(*shape))
    out = kernels.attention(q, k, v)
    assert out.shape == q.shape
    assert not out.any()


def test_out_is_laid_out_as_the_next_projection_reads_it(device) -> None:
    q, k, v = (each.to(device) for each in tensors(2, 4, 2, 9, 9, 16))
    assert kernels.attention(q.contiguous(), k, v).transpose(1, 2).is_contiguous()


@pytest.mark.parametrize("seq, kv_seq", [(50, 50), (3, 40), (20, 10)])
def test_the_saved_statistic_is_the_logarithm_of_the_sum(device, seq: int, kv_seq: int) -> None:
    q, k, v = (each.to(device) for each in tensors(2, 4, 2, seq, kv_seq, 16))
    _, lse = kernels._attention(q, k, v, None, True, None)
    true = torch.logsumexp(scores(q.double(), k.double()), -1) / torch.log(torch.tensor(2.0).double())
    sees = true != float("-inf")
    torch.testing.assert_close(lse[sees].double(), true[sees], rtol=1e-5, atol=1e-5)
    assert torch.all(lse[~sees] == float("inf"))


def test_heads_too_large_for_registers_take_the_reference(device) -> None:
    q, k, v = (each.to(device) for each in tensors(1, 2, 1, 5, 5, 160))
    proves_output(q, k, v, tolerance=1e-4)


def test_autocast_decides_the_dtype(device) -> None:
    q, k, v = (each.to(device).requires_grad_() for each in tensors(1, 2, 1, 20, 20, 16))
    with torch.autocast(device.type, torch.bfloat16):
        out = kernels.attention(q, k, v)
    assert out.dtype == torch.bfloat16
    assert all(each.dtype == torch.float32 for each in torch.autograd.grad(out.float().sum(), (q, k, v)))


@pytest.mark.parametrize("window, with_starts", [(None, False), (5, True)])
def test_the_operator_passes_opcheck(device, window: int | None, with_starts: bool) -> None:
    q, k, v = (each.to(device).requires_grad_() for each in tensors(1, 4, 2, 9, 9, 16))
    starts = random_starts(1, 9).to(device) if with_starts else None
    torch.library.opcheck(kernels._attention, (q, k, v, starts, True, window))


@pytest.mark.parametrize("architecture", ["sm_80", "sm_86", "sm_90", "sm_100", "sm_120", "gfx942", launch.INTERPRETER])
def test_every_launch_is_of_whole_blocks_and_warps(architecture: str) -> None:
    for name, each in kernels.launches(architecture).items():
        assert all(size >= 16 and size & (size - 1) == 0 for size in each.blocks.values()), name
        assert each.num_warps in (1, 2, 4, 8), name


@pytest.mark.skipif(
    tuple(map(int, triton.__version__.split(".")[:2])) < (3, 8) or not interpreter.interpreted(),
    reason="products of float64 need Triton 3.8 and the interpreter",
)
def test_the_algebra_is_exact_in_float64(tmp_path_factory) -> None:
    attention = attention_in_float64.load(tmp_path_factory.mktemp("float64")).attention
    with interpreter.float64_scalars():
        for shape in [(2, 4, 2, 50, 50, 16), (1, 3, 1, 5, 40, 24)]:
            q, k, v = tensors(*shape, torch.float64)
            starts = random_starts(shape[0], shape[3], shift=shape[4] - shape[3])
            for seen in [{}, {"window": 7}, {"causal": False}, {"window": 7, "causal": False}]:
                torch.testing.assert_close(attention(q, k, v, **seen), defined(q, k, v, **seen), rtol=0, atol=1e-12)
            found = attention(q, k, v, document_starts=starts)
            torch.testing.assert_close(found, defined(q, k, v, starts=starts), rtol=0, atol=1e-12)
