"""Small pictures made of block characters."""

import math

from hypothesis import given
from hypothesis import strategies as st

from workbench.tui.widgets.spark import bar, levels, spark


@given(st.lists(st.floats(allow_nan=True, allow_infinity=True), max_size=60), st.integers(-1, 30))
def test_any_values_fit_the_width(values: list[float], width: int) -> None:
    assert len(spark([value for value in values if not abs(value) > 1e300], width)) <= max(0, width)


def test_a_curve_goes_down() -> None:
    assert spark([8, 7, 6, 5, 4, 3, 2, 1], 8) == "█▇▆▅▄▃▂▁"


def test_what_is_not_finite_is_left_out() -> None:
    assert spark([1.0, math.nan, 2.0], 5) == "▁█"


def test_a_bar_fills_to_its_share() -> None:
    assert [bar(share, 4) for share in (0, 0.5, 0.53, 1, 7)] == ["    ", "██  ", "██▏ ", "████", "████"]


def test_levels_stand_on_a_scale_that_does_not_move() -> None:
    assert levels([0.0, 0.5, 1.0, 2.0], 3) == "▅██"
