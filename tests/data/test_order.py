"""The seeded order: a permutation, the same each time, without memory."""

import tracemalloc

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from workbench.data.order import Permutation, mix


@given(size=st.integers(1, 3000), seed=st.integers(0, 2**40), epoch=st.integers(0, 100))
def test_every_number_stands_in_one_place(size: int, seed: int, epoch: int) -> None:
    found = Permutation(size, seed, epoch)[np.arange(size)]
    assert sorted(found.tolist()) == list(range(size))


@given(size=st.integers(1, 10**15), seed=st.integers(0, 2**32), places=st.lists(st.integers(0, 10**15), max_size=20))
def test_a_place_holds_the_same_number_whatever_is_asked_beside_it(size: int, seed: int, places: list[int]) -> None:
    wanted = np.array([place % size for place in places], dtype=np.int64)
    together = Permutation(size, seed)[wanted]
    alone = [Permutation(size, seed)[wanted[index : index + 1]][0] for index in range(len(wanted))]
    assert together.tolist() == [int(number) for number in alone]
    assert all(0 <= number < size for number in together.tolist())


def test_seeds_and_epochs_give_other_orders() -> None:
    places = np.arange(1000)
    orders = {tuple(Permutation(1000, *key)[places].tolist()) for key in [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0)]}
    assert len(orders) == 5


def test_orders_of_few_rows_are_about_equally_likely() -> None:
    draws = 3000
    counts: dict[tuple[int, ...], int] = {}
    for seed in range(draws):
        order = tuple(Permutation(3, seed)[np.arange(3)].tolist())
        counts[order] = counts.get(order, 0) + 1
    # Each of the six has 500 expected; 4.5 standard deviations of a binomial are about 92.
    assert len(counts) == 6
    assert all(abs(count - draws / 6) < 92 for count in counts.values()), counts


def test_neighbours_do_not_stay_neighbours() -> None:
    order = Permutation(100_000, 7)[np.arange(100_000)].astype(float)
    # The correlation of independent draws has standard deviation 1 / sqrt(100,000) = 0.003.
    assert abs(np.corrcoef(order[1:], order[:-1])[0, 1]) < 0.016


def test_a_huge_permutation_takes_no_memory() -> None:
    tracemalloc.start()
    Permutation(10**12, 3)[np.arange(32)]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100_000


def test_the_mix_is_pinned() -> None:
    """Runs that are resumed after an update rely on it."""
    assert mix(1, 2, 3) == mix(1, 2, 3) != mix(3, 2, 1)
    assert Permutation(10, 1337, 0)[np.arange(10)].tolist() == PINNED


PINNED = [2, 5, 3, 1, 0, 6, 7, 4, 8, 9]
