"""Rows: what each token sees and what it is asked for, the same however documents are packed."""

from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from workbench.data.packing import IGNORED, Batch, StreamPacking, WholePacking
from workbench.data.row_plan import pack_window
from workbench.data.stores import TokenStore

END = 99
Pair = tuple[tuple[int, ...], int]

texts = st.lists(st.integers(1, 20), min_size=0, max_size=12)
streams = st.lists(texts, min_size=1, max_size=8).map(lambda found: [[*text, END] for text in found])
masked_documents = st.lists(
    st.lists(st.tuples(st.integers(1, 20), st.booleans()), min_size=1, max_size=9), min_size=1, max_size=12
)


def all_rows(packing: StreamPacking | WholePacking, shift: int = 0) -> Batch:
    """Every row of an epoch."""
    rows = np.arange(packing.rows, dtype=np.int64)
    return packing.assemble(rows, np.full(len(rows), shift, np.int64))


def trained_pairs(batch: Batch) -> Counter[Pair]:
    """For each target, what its token can see of its own row and document, and the target."""
    pairs: Counter[Pair] = Counter()
    for row, column in zip(*np.nonzero(batch.labels != IGNORED), strict=True):
        start = 0 if batch.document_starts is None else int(batch.document_starts[row, column])
        context = tuple(batch.input_ids[row, start : column + 1].tolist())
        pairs[context, int(batch.labels[row, column])] += 1
    return pairs


@given(documents=streams, length=st.integers(2, 16), shift=st.integers(0, 15))
def test_each_token_but_a_documents_first_is_a_target_once(documents: list[list[int]], length: int, shift: int) -> None:
    batch = all_rows(StreamPacking(TokenStore.from_documents(documents), length, True), shift % length)
    expected = Counter(token for document in documents for token in document[1:])
    assert Counter(batch.labels[batch.labels != IGNORED].tolist()) == expected


@given(documents=streams, length=st.integers(2, 16), shift=st.integers(0, 15))
def test_what_a_token_sees_and_is_asked_for_is_its_own_document(
    documents: list[list[int]], length: int, shift: int
) -> None:
    batch = all_rows(StreamPacking(TokenStore.from_documents(documents), length, True), shift % length)
    if batch.document_starts is None:
        return  # one document: a row that begins anew behind its end sees that end
    slices = {
        tuple(document[first:last])
        for document in documents
        for first in range(len(document))
        for last in range(first + 1, len(document) + 1)
    }
    assert all((*context, label) in slices for context, label in trained_pairs(batch))


def test_the_last_target_of_a_document_is_its_end_of_text() -> None:
    store = TokenStore.from_documents([[1, 2, END], [3, 4, 5, END]])
    batch = all_rows(StreamPacking(store, 7, True))
    assert batch.input_ids.tolist() == [[1, 2, END, 3, 4, 5, END]]
    assert batch.labels.tolist() == [[2, END, IGNORED, 4, 5, END, IGNORED]]
    assert batch.document_starts is not None
    assert batch.document_starts.tolist() == [[0, 0, 0, 3, 3, 3, 3]]


def test_rows_are_consecutive_cuts_of_the_stream() -> None:
    store = TokenStore.from_documents([list(range(10))])
    packing = StreamPacking(store, 4, True)
    assert all_rows(packing).input_ids[:2].tolist() == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert all_rows(packing, shift=3).input_ids[:2].tolist() == [[3, 4, 5, 6], [7, 8, 9, 0]]
    assert all_rows(packing, shift=3).labels[1].tolist() == [8, 9, IGNORED, 1]


def test_a_single_document_needs_no_isolation() -> None:
    assert all_rows(StreamPacking(TokenStore.from_documents([[1, 2, 3, 4]]), 2, True)).document_starts is None


def test_without_isolation_rows_are_plainly_causal() -> None:
    store = TokenStore.from_documents([[1, 2, END], [3, 4, END]], [[True] * 3] * 2)
    assert all_rows(StreamPacking(store, 4, False)).document_starts is None
    assert all_rows(WholePacking(store, 4, False)).document_starts is None


@given(documents=masked_documents, length=st.integers(2, 24))
def test_packed_conversations_train_the_same_pairs_as_single_ones(
    documents: list[list[tuple[int, bool]]], length: int
) -> None:
    tokens = [[token for token, _ in document] for document in documents]
    masks = [[trained for _, trained in document] for document in documents]
    packed = trained_pairs(all_rows(WholePacking(TokenStore.from_documents(tokens, masks), length, True)))
    single: Counter[Pair] = Counter()
    for ids, mask in zip(tokens, masks, strict=True):
        for place in range(1, min(len(ids), length + 1)):
            if mask[place]:
                single[tuple(ids[:place]), ids[place]] += 1
    assert packed == single


def test_padding_carries_no_loss_and_is_seen_by_nothing() -> None:
    store = TokenStore.from_documents([[1, 2, 3], [4, 5, 6]], [[True] * 3] * 2, pad_token_id=7)
    batch = all_rows(WholePacking(store, 5, True))
    assert batch.input_ids.tolist() == [[1, 2, 4, 5, 7]]
    assert batch.labels.tolist() == [[2, 3, 5, 6, IGNORED]]
    assert batch.document_starts is not None
    assert batch.document_starts.tolist() == [[0, 0, 2, 2, 4]]


@given(lengths=st.lists(st.integers(0, 32), max_size=60), capacity=st.integers(32, 64))
def test_packing_places_each_document_once_and_overfills_no_row(lengths: list[int], capacity: int) -> None:
    rows = pack_window(lengths, capacity)
    assert sorted(index for row in rows for index in row) == [i for i, length in enumerate(lengths) if length]
    assert all(sum(lengths[index] for index in row) <= capacity for row in rows)


@given(lengths=st.lists(st.integers(1, 32), min_size=1, max_size=60))
def test_no_two_rows_could_have_been_one(lengths: list[int]) -> None:
    sums = sorted(sum(lengths[index] for index in row) for row in pack_window(lengths, 32))
    assert len(sums) == 1 or sums[0] + sums[1] > 32


def test_batches_have_the_types_that_models_take() -> None:
    for packing in (StreamPacking, WholePacking):
        batch = all_rows(packing(TokenStore.from_documents([[1, 2, END], [3, END]]), 8, True))
        assert (batch.input_ids.dtype, batch.labels.dtype) == (np.int64, np.int64)
        assert batch.document_starts is not None
        assert batch.document_starts.dtype == np.int32
