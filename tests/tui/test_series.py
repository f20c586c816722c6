"""Curves in bounded memory."""

import math

from hypothesis import given
from hypothesis import strategies as st

from workbench.tui.series import Series

finite = st.floats(-1e6, 1e6)
anything = st.one_of(finite, st.just(math.nan), st.just(math.inf), st.just(-math.inf), st.none())


def filled(values: list[float | None], limit: int | None = 8) -> Series:
    series = Series(limit)
    for x, y in enumerate(values):
        series.append(x, y)
    return series


def points(series: Series) -> list[tuple[float, float]]:
    return [point for line in series.lines() for point in line]


@given(st.lists(st.floats(-2, 2), min_size=9, max_size=300))
def test_the_highest_and_the_lowest_point_are_never_thinned_away(values: list[float]) -> None:
    kept = [y for _, y in points(filled(list(values)))]
    assert min(kept) == min(values)
    assert max(kept) == max(values)


@given(st.lists(anything, max_size=300))
def test_memory_is_bounded_and_only_finite_points_come_out(values: list[float | None]) -> None:
    series = filled(values)
    kept = points(series)
    good = [y for y in values if y is not None and math.isfinite(y)]
    # Every gap may leave one bucket that has no neighbour to be joined with.
    assert len(series) <= 8 + len(series.breaks) + 1
    assert all(math.isfinite(y) for _, y in kept)
    assert series.nonfinite == len(values) - len(good)
    assert series.last == (good[-1] if good else None)


@given(st.lists(finite, max_size=200))
def test_x_never_goes_back(values: list[float]) -> None:
    xs = [x for x, _ in points(filled(list(values)))]
    assert xs == sorted(xs)


@given(st.lists(finite, max_size=200))
def test_a_series_without_a_limit_keeps_every_point(values: list[float]) -> None:
    assert points(filled(list(values), limit=None)) == [(float(x), y) for x, y in enumerate(values)]


def test_a_value_that_is_not_finite_breaks_the_line() -> None:
    series = filled([1.0, 2.0, math.nan, 3.0, 4.0])
    assert series.lines() == [[(0, 1.0), (1, 2.0)], [(3, 3.0), (4, 4.0)]]


def test_a_resumed_run_overwrites_what_it_does_again() -> None:
    series = filled([5.0, 4.0, 3.0, 2.0], limit=None)
    series.append(2, 3.5)
    assert points(series) == [(0, 5.0), (1, 4.0), (2, 3.5)]
    assert series.last == 3.5


def test_smoothing_of_a_constant_is_the_constant() -> None:
    series = filled([2.0] * 50)
    assert {round(y, 12) for line in series.smoothed(0.9) for _, y in line} == {2.0}


def test_smoothing_weighs_the_past() -> None:
    series = filled([0.0, 1.0], limit=None)
    assert series.smoothed(0.75)[0][-1] == (1, 0.25)
