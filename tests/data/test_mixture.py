"""Several data sets by weight: the shares hold, nothing is lost, and a position is a few integers."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.data.loader import IGNORED, Batch, Loader, Position
from workbench.data.mixture import MixedLoader, joined
from workbench.data.stores import TokenStore


def mixed(shares: list[float], sizes: list[int], batch_size: int = 4) -> MixedLoader:
    """Data sets whose tokens tell which one they are of: 1,000 and on, 2,000 and on."""
    loaders = [
        Loader(
            TokenStore.from_documents([[1000 * number + place] * 5 for place in range(size)]),
            sequence_length=5,
            batch_size=batch_size,
            seed=number,
            packing="stream",
        )
        for number, size in enumerate(sizes, 1)
    ]
    return MixedLoader(loaders, shares, batch_size)


def origins(loader: MixedLoader, position: Position) -> Counter[int]:
    return Counter((loader.batch(position).input_ids[:, 0] // 1000).tolist())


weights = st.lists(st.integers(1, 9), min_size=2, max_size=4)


@given(weights=weights, batch_size=st.integers(1, 9), steps=st.integers(1, 25))
def test_the_shares_hold_to_within_a_row_after_every_batch(weights: list[int], batch_size: int, steps: int) -> None:
    shares = [weight / sum(weights) for weight in weights]
    loader = mixed(shares, [7] * len(weights), batch_size)
    position = loader.first
    for step in range(1, steps + 1):
        position = loader.next_position(position)
        assert sum(position.used) == step * batch_size
        behind = [share * step * batch_size - used for share, used in zip(shares, position.used, strict=True)]
        # taking from whoever is furthest behind leaves nobody more than a row behind for each other data set
        assert max(map(abs, behind)) < len(weights)


def test_a_batch_holds_what_its_position_says() -> None:
    loader, position = mixed([0.75, 0.25], [20, 20], batch_size=8), Loader.first
    position = loader.first
    for _ in range(5):
        after = loader.next_position(position)
        found = origins(loader, position)
        assert [found[1], found[2]] == [b - a for a, b in zip(position.used, after.used, strict=True)]
        position = after
    assert position.used == (30, 10)


@given(steps=st.integers(0, 12))
def test_a_new_loader_goes_on_from_any_position(steps: int) -> None:
    walked = mixed([0.7, 0.3], [9, 4])
    position = walked.first
    for _ in range(steps):
        walked.batch(position)
        position = walked.next_position(position)
    fresh = mixed([0.7, 0.3], [9, 4]).batch(Position(used=tuple(position.used)))
    again = walked.batch(position)
    assert np.array_equal(fresh.input_ids, again.input_ids)
    assert np.array_equal(fresh.labels, again.labels)


def test_each_data_set_goes_through_its_own_epochs() -> None:
    loader = mixed([0.8, 0.2], [8, 4], batch_size=5)
    position, seen = loader.first, Counter[int]()
    for _ in range(10):
        seen.update(loader.batch(position).input_ids[:, 0].tolist())
        position = loader.next_position(position)
    assert position.used == (40, 10)
    assert loader.epochs(position) == (5.0, 2.5)
    large = [count for token, count in seen.items() if token < 2000]
    assert sum(large) == 40 and max(large) - min(large) <= 5, "every document of it, epoch after epoch"
    assert loader.epochs(loader.position_after(10)) == loader.epochs(position)


def test_an_epoch_has_as_many_rows_as_all_data_sets_together() -> None:
    assert mixed([0.5, 0.5], [10, 6], batch_size=4).steps_per_epoch == 4


def test_validation_looks_at_every_data_set_by_its_share() -> None:
    loader = mixed([0.75, 0.25], [40, 40], batch_size=4)
    rows = Counter(row // 1000 for batch in loader.validation_batches(4, 8) for row in batch.input_ids[:, 0].tolist())
    assert rows == {1: 24, 2: 8}


def test_rows_of_one_document_join_rows_of_several() -> None:
    alone = Loader(
        TokenStore.from_documents([[5] * 9]), sequence_length=4, batch_size=1, seed=0, packing="stream"
    ).batch(Position())
    several = Loader(
        TokenStore.from_documents([[6] * 3, [7] * 6]),
        sequence_length=4,
        batch_size=2,
        seed=0,
        packing="stream",
        shuffle=False,
    ).batch(Position())
    assert alone.document_starts is None and several.document_starts is not None
    both = joined([alone, several], pad_token_id=0)
    assert both.input_ids.shape == both.labels.shape == both.document_starts.shape == (3, 4)
    assert both.document_starts[0].tolist() == [0, 0, 0, 0]
    assert np.array_equal(both.document_starts[1:], several.document_starts)


@pytest.mark.parametrize("share", [0.9999, 0.0001])
def test_a_tiny_share_is_not_forgotten(share: float) -> None:
    loader, position = mixed([share, 1 - share], [3, 3], batch_size=100), Position(used=(0, 0))
    for _ in range(200):
        position = loader.next_position(position)
    assert min(position.used) in (2, 3)  # 20,000 rows


def test_rows_of_different_lengths_are_filled_up_without_loss() -> None:
    short = Batch(np.ones((2, 3), np.int64), np.ones((2, 3), np.int64), None)
    long = Batch(np.full((1, 5), 2), np.full((1, 5), 2), None)
    both = joined([short, long], pad_token_id=0)
    assert both.input_ids.tolist() == [[1, 1, 1, 0, 0], [1, 1, 1, 0, 0], [2] * 5]
    assert both.labels.tolist() == [[1, 1, 1, IGNORED, IGNORED]] * 2 + [[2] * 5]
    assert both.document_starts is None
