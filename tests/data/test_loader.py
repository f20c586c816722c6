"""Batches follow from two integers, and an epoch uses everything once."""

import tracemalloc
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.data.loader import IGNORED, Batch, Loader, Position
from workbench.data.stores import StoreWriter, TokenStore

stores = st.lists(st.integers(2, 30), min_size=1, max_size=20).map(
    lambda lengths: TokenStore.from_documents(
        [[1000 * number + place for place in range(length)] for number, length in enumerate(lengths)]
    )
)
packings = st.sampled_from(["stream", "whole"])


def same(ours: Batch, theirs: Batch) -> bool:
    """Whether two batches are equal in every number."""
    starts = [np.zeros(0) if batch.document_starts is None else batch.document_starts for batch in (ours, theirs)]
    return (
        np.array_equal(ours.input_ids, theirs.input_ids)
        and np.array_equal(ours.labels, theirs.labels)
        and np.array_equal(*starts)
    )


def targets(batches: list[Batch]) -> Counter[int]:
    return Counter(label for batch in batches for label in batch.labels[batch.labels != IGNORED].tolist())


@given(store=stores, batch_size=st.integers(1, 7), packing=packings, steps=st.integers(0, 30))
def test_a_new_loader_goes_on_from_any_position(store: TokenStore, batch_size: int, packing: str, steps: int) -> None:
    def loader() -> Loader:
        return Loader(store, sequence_length=8, batch_size=batch_size, seed=5, packing=packing)

    walked, position = loader(), Loader.first
    for _ in range(steps):
        walked.batch(position)
        position = walked.next_position(position)
    restored = Position(position.epoch, position.index)
    assert same(loader().batch(restored), walked.batch(position))


@given(store=stores, batch_size=st.integers(1, 7), packing=packings, epochs=st.integers(1, 3))
def test_each_epoch_uses_every_target_once(store: TokenStore, batch_size: int, packing: str, epochs: int) -> None:
    loader = Loader(store, sequence_length=8, batch_size=batch_size, seed=5, packing=packing)
    whole = Loader(store, sequence_length=8, batch_size=loader.rows, seed=5, packing=packing)
    expected = targets([whole.batch(Position(epoch, 0)) for epoch in range(epochs)])
    if packing == "stream":
        once = targets(
            [
                Loader(store, sequence_length=8, batch_size=1, seed=0, packing="stream").batch(Position(0, row))
                for row in range(loader.rows)
            ]
        )
        assert expected == Counter({target: epochs * count for target, count in once.items()})

    found, position, rows = [], Loader.first, epochs * loader.rows
    while rows > 0:
        batch = loader.batch(position)
        kept = min(rows, batch_size)
        found.append(Batch(batch.input_ids[:kept], batch.labels[:kept], None))
        position, rows = loader.next_position(position), rows - kept
    assert targets(found) == expected


@given(store=stores, batch_size=st.integers(1, 40), packing=packings)
def test_batches_are_always_full(store: TokenStore, batch_size: int, packing: str) -> None:
    loader = Loader(store, sequence_length=8, batch_size=batch_size, seed=1, packing=packing)
    position = Loader.first
    for _ in range(loader.steps_per_epoch + 1):
        assert loader.batch(position).input_ids.shape == (batch_size, 8)
        position = loader.next_position(position)
    assert position.epoch >= 1


def test_epochs_differ_in_order_and_in_cuts() -> None:
    store = TokenStore.from_documents([list(range(1000))])
    loader = Loader(store, sequence_length=10, batch_size=100, seed=1, packing="stream")
    first, second = (loader.batch(Position(epoch, 0)).input_ids for epoch in (0, 1))
    assert not np.array_equal(first, second)
    assert set(first[:, 0] % 10) != set(second[:, 0] % 10)


def test_the_order_of_whole_rows_follows_seed_and_epoch() -> None:
    store = TokenStore.from_documents([[number] * 9 for number in range(100)])
    loaders = [Loader(store, sequence_length=8, batch_size=100, seed=seed, packing="whole") for seed in (1, 1, 2)]
    orders = [
        tuple(loader.batch(Position(epoch, 0)).input_ids[:, 0].tolist()) for loader in loaders for epoch in (0, 1)
    ]
    assert orders[:2] == orders[2:4]
    assert len(set(orders)) == 4
    assert all(sorted(order) == list(range(100)) for order in orders)


def test_unshuffled_rows_come_as_they_lie() -> None:
    store = TokenStore.from_documents([list(range(40))])
    loader = Loader(store, sequence_length=10, batch_size=4, seed=1, shuffle=False, packing="stream")
    for epoch in (0, 1):
        assert loader.batch(Position(epoch, 0)).input_ids[:, 0].tolist() == [0, 10, 20, 30]


@given(store=stores, batch_size=st.integers(1, 7), packing=packings)
def test_validation_covers_each_target_once(store: TokenStore, batch_size: int, packing: str) -> None:
    loader = Loader(store, sequence_length=8, batch_size=4, seed=1, shuffle=False, packing=packing)
    found = targets(list(loader.validation_batches(batch_size, limit=10_000)))
    expected: Counter[int] = Counter()
    for first, behind in zip(store.offsets[:-1], store.offsets[1:], strict=True):
        longest = len(store.ids) if packing == "stream" else 9  # eight inputs and the target of the last
        expected.update(store.ids[first + 1 : min(behind, first + longest)].tolist())
    assert found == expected


def test_a_limited_validation_is_spread_over_the_data() -> None:
    store = TokenStore.from_documents([list(range(1000))])
    loader = Loader(store, sequence_length=10, batch_size=4, seed=1, shuffle=False, packing="stream")
    batches = list(loader.validation_batches(2, limit=5))
    assert [len(batch.input_ids) for batch in batches] == [2] * 5
    assert [int(row[0]) for batch in batches for row in batch.input_ids] == list(range(0, 1000, 100))


@pytest.fixture
def folder_of_many(tmp_path: Path) -> Path:
    """A store of 60,000 documents of 40 tokens on the disk."""
    writer = StoreWriter(tmp_path, "train", dtype="uint16", masked=True)
    for number in range(60_000):
        writer.append([number % 1000] * 40, [True] * 40)
        writer.end_document()
    writer.close()
    return tmp_path


@pytest.mark.parametrize("packing", ["stream", "whole"])
def test_training_memory_does_not_grow_with_the_corpus(folder_of_many: Path, packing: str) -> None:
    store = TokenStore.open(folder_of_many, "train", dtype="uint16", masked=True, pad_token_id=0)
    Loader(store, sequence_length=64, batch_size=8, seed=1, packing=packing)  # makes the plan, window by window
    tracemalloc.start()
    loader = Loader(store, sequence_length=64, batch_size=8, seed=1, packing=packing)
    position = Loader.first
    for _ in range(200):
        loader.batch(position)
        position = loader.next_position(position)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 300_000  # the documents alone have 480,000 bytes of offsets, the tokens 4.8 million


def test_a_plan_on_the_disk_is_the_plan_in_memory(folder_of_many: Path) -> None:
    store = TokenStore.open(folder_of_many, "train", dtype="uint16", masked=True, pad_token_id=0)
    in_memory = TokenStore(store.ids, store.offsets, store.trained, 0)
    for _ in ("made", "read again"):
        on_disk = Loader(store, sequence_length=100, batch_size=8, seed=1, packing="whole")
        other = Loader(in_memory, sequence_length=100, batch_size=8, seed=1, packing="whole")
        assert on_disk.rows == other.rows == 30_000  # 39 cells each: two to a row
        assert same(on_disk.batch(Position(1, 77)), other.batch(Position(1, 77)))
    assert not list(folder_of_many.glob("*.part"))
