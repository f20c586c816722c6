"""Attention agrees with its definition; tokens see what they may and nothing else."""

from collections.abc import Callable

import pytest
import torch

import workbench_kernels
from tests.kernels.attention_definition import defined, random_starts, tensors
from workbench_kernels import documents as documents_module
from workbench_kernels import reference_attention

SHAPES = [(2, 4, 2, 33, 33, 16), (1, 4, 1, 300, 300, 8), (2, 4, 4, 7, 20, 16), (1, 2, 1, 1, 9, 4), (1, 1, 1, 1, 1, 2)]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", SHAPES)
def test_causal_attention_and_its_gradients_are_the_definition(agrees: Callable, shape, dtype) -> None:
    agrees(workbench_kernels.attention, defined, *tensors(*shape, dtype))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_attention_without_a_causal_order_sees_everything(agrees: Callable, dtype) -> None:
    agrees(
        lambda q, k, v: workbench_kernels.attention(q, k, v, causal=False),
        lambda q, k, v: defined(q, k, v, causal=False),
        *tensors(2, 4, 2, 5, 11, 8, dtype),
    )


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("seq", [40, 300])
@pytest.mark.parametrize("long_row", [100, 10_000])
def test_isolated_documents_are_the_definition(agrees: Callable, monkeypatch, seq: int, long_row: int, dtype) -> None:
    monkeypatch.setattr(documents_module, "LONG_ROW", long_row)  # both ways of doing it, on short rows
    starts = random_starts(2, seq)
    agrees(
        lambda q, k, v: workbench_kernels.attention(q, k, v, document_starts=starts),
        lambda q, k, v: defined(q, k, v, starts=starts),
        *tensors(2, 4, 2, seq, seq, 8, dtype),
    )


def test_starts_count_keys_when_a_cache_holds_earlier_ones(agrees: Callable) -> None:
    starts = torch.tensor([[0, 0, 0], [6, 6, 19]])  # a whole row; a left-padded one with a new document in it
    agrees(
        lambda q, k, v: workbench_kernels.attention(q, k, v, document_starts=starts),
        lambda q, k, v: defined(q, k, v, starts=starts),
        *tensors(2, 4, 2, 3, 20, 8),
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_later_token_never_changes_an_earlier_one(dtype) -> None:
    q, k, v = tensors(1, 4, 2, 33, 33, 16, dtype)
    before = workbench_kernels.attention(q, k, v)
    for position in (1, 17, 32):
        changed_k, changed_v = k.clone(), v.clone()
        changed_k[:, :, position] += 3
        changed_v[:, :, position] -= 5
        after = workbench_kernels.attention(q, changed_k, changed_v)
        assert torch.equal(before[:, :, :position], after[:, :, :position])
        assert not torch.equal(before[:, :, position], after[:, :, position])


@pytest.mark.parametrize("long_row", [16, 10_000])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_another_document_never_changes_a_bit(monkeypatch, long_row: int, dtype) -> None:
    monkeypatch.setattr(documents_module, "LONG_ROW", long_row)
    starts = torch.tensor([[0] * 20 + [20] * 30 + [50] * 14])
    inputs = [tensor.requires_grad_() for tensor in tensors(1, 4, 2, 64, 64, 8, dtype)]
    changed = [tensor.detach().clone() for tensor in inputs]
    for tensor in changed:
        tensor[:, :, 20:50] += 2
        tensor.requires_grad_()
    results = [workbench_kernels.attention(*given, document_starts=starts) for given in (inputs, changed)]
    outside = [*range(20), *range(50, 64)]
    assert torch.equal(results[0][:, :, outside], results[1][:, :, outside])
    assert not torch.equal(results[0][:, :, 20:50], results[1][:, :, 20:50])
    upstream = torch.randn_like(results[0])
    gradients = [
        torch.autograd.grad(result, given, upstream) for result, given in zip(results, (inputs, changed), strict=True)
    ]
    for before, after in zip(*gradients, strict=True):
        assert torch.equal(before[:, :, outside], after[:, :, outside])


def test_prepared_documents_give_what_bare_starts_give() -> None:
    q, k, v = tensors(2, 4, 2, 40, 40, 8)
    starts = random_starts(2, 40)
    bare = workbench_kernels.attention(q, k, v, document_starts=starts)
    prepared = workbench_kernels.attention(q, k, v, document_starts=workbench_kernels.Documents(starts, 40))
    assert torch.equal(bare, prepared)


def test_attention_with_huge_scores_stays_finite() -> None:
    q, k, v = (8 * tensor for tensor in tensors(1, 2, 1, 32, 32, 16))
    inputs = [tensor.bfloat16().requires_grad_() for tensor in (q, k, v)]
    out = workbench_kernels.attention(*inputs)
    assert out.isfinite().all()
    assert all(grad.isfinite().all() for grad in torch.autograd.grad(out.sum(), inputs))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("window", [1, 9, 200, 1000])
@pytest.mark.parametrize("seq, kv_seq, long_row", [(40, 40, 10_000), (300, 300, 100), (20, 57, 10_000), (1, 40, 10)])
def test_a_window_hides_earlier_keys(
    agrees: Callable, monkeypatch, seq: int, kv_seq: int, long_row: int, window: int, dtype
) -> None:
    monkeypatch.setattr(documents_module, "LONG_ROW", long_row)
    agrees(
        lambda q, k, v: reference_attention.attention(q, k, v, window=window),
        lambda q, k, v: defined(q, k, v, window=window),
        *tensors(2, 4, 2, seq, kv_seq, 8, dtype),
    )


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("window", [2, 9, 1000])
@pytest.mark.parametrize("long_row", [100, 10_000])
def test_a_window_and_documents_hide_together(agrees: Callable, monkeypatch, long_row: int, window: int, dtype) -> None:
    monkeypatch.setattr(documents_module, "LONG_ROW", long_row)
    documents = workbench_kernels.Documents(random_starts(2, 150, chance=0.05), 150)
    for _ in range(2):  # prepared once, used by the next layer again
        agrees(
            lambda q, k, v: reference_attention.attention(q, k, v, window=window, document_starts=documents),
            lambda q, k, v: defined(q, k, v, window=window, starts=documents.starts),
            *tensors(2, 4, 2, 150, 150, 8, dtype),
        )


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("seq, kv_seq", [(20, 20), (20, 33), (33, 20)])
def test_a_window_without_a_causal_order_hides_earlier_keys_only(
    agrees: Callable, seq: int, kv_seq: int, dtype
) -> None:
    agrees(
        lambda q, k, v: reference_attention.attention(q, k, v, window=5, causal=False),
        lambda q, k, v: defined(q, k, v, window=5, causal=False),
        *tensors(2, 4, 2, seq, kv_seq, 8, dtype),
    )


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("window", [None, 3])
@pytest.mark.parametrize("seq, kv_seq", [(20, 9), (300, 20), (9, 1)])
def test_queries_that_see_no_key_give_zero(agrees: Callable, seq: int, kv_seq: int, window: int | None, dtype) -> None:
    q, k, v = tensors(2, 4, 2, seq, kv_seq, 8, dtype)
    out = reference_attention.attention(q, k, v, window=window)
    assert not out[:, :, : seq - kv_seq].any()
    agrees(
        lambda q, k, v: reference_attention.attention(q, k, v, window=window),
        lambda q, k, v: defined(q, k, v, window=window),
        q,
        k,
        v,
    )
