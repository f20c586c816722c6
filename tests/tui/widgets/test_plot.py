"""Pictures of curves, and the gate that keeps plotext from aborting the process."""

import math
import re
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.tui.widgets.plot import Curve, Plot, draw_with_plotext, nice_places, step_ticks, thin, value_ticks

BLUE = (95, 168, 232)


def picture(
    *lines: list[tuple[float | None, float | None]], log_y: bool = False, width: int = 60, height: int = 12
) -> str:
    curve = Curve(lines, BLUE)  # type: ignore[arg-type]  # None is what the gate is for
    return draw_with_plotext(Plot([curve], width, height, log_y=log_y)).plain


def inked(text: str) -> bool:
    return re.search("[\u2801-\u28ff]", text) is not None


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, None, 0.0, -1.0])
@pytest.mark.parametrize("log_y", [False, True])
def test_no_value_ends_the_process_or_hides_the_others(bad: float | None, log_y: bool) -> None:
    assert inked(picture([(0, 3.0), (1, bad), (2, 2.0), (3, 1.5)], log_y=log_y))


@pytest.mark.parametrize("bad", [math.nan, math.inf, None])
def test_a_step_that_is_not_finite_is_left_out(bad: float | None) -> None:
    assert inked(picture([(0, 3.0), (bad, 2.5), (2, 2.0)]))


@pytest.mark.parametrize("lines", [[], [[]], [[(0.0, math.nan)]], [[(0.0, None)]]])
def test_where_nothing_can_be_drawn_words_stand(lines: list[list[tuple[float | None, float | None]]]) -> None:
    assert picture(*lines) == "nothing to draw yet"


def test_a_log_axis_of_values_without_logarithm_says_so() -> None:
    assert picture([(0, 0.0), (1, -3.0)], log_y=True) == "nothing to draw yet"


def test_a_single_point_and_a_flat_line_are_drawn() -> None:
    assert inked(picture([(5, 2.0)]))
    assert inked(picture([(0, 2.0), (10, 2.0)]))


@pytest.mark.parametrize("value", [0.0, 1e-300, 1e29, -1e29])
def test_extreme_values_are_drawn(value: float) -> None:
    assert inked(picture([(0, value), (1, value)]))
    assert inked(picture([(0, value), (1, 1.0)]))


def test_a_value_that_would_overflow_the_axis_is_left_out() -> None:
    assert "30" not in picture([(0, 1e300), (1, 1.0), (2, 2.0)])


def test_a_pane_without_room_says_so() -> None:
    assert picture([(0, 1.0), (1, 2.0)], width=10, height=3) == "too small"


def test_a_picture_fills_exactly_its_size() -> None:
    lines = picture([(x, math.sin(x / 9)) for x in range(200)], width=50, height=11).split("\n")
    assert len(lines) == 11
    assert max(map(len, lines)) <= 50


def test_an_axis_of_steps_begins_at_zero() -> None:
    assert picture([(1, 1.0), (100, 2.0)]).split("\n")[-1].split()[0] == "0"


def test_points_outside_the_window_are_not_drawn() -> None:
    curve = Curve([[(x, 100.0 if x < 50 else 1.0 + x / 100) for x in range(100)]], BLUE)
    text = draw_with_plotext(Plot([curve], 60, 12, window=(60, 99))).plain
    assert "100" not in text


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.one_of(st.none(), st.floats()), max_size=40),
    st.booleans(),
    st.integers(1, 100),
    st.integers(1, 30),
)
def test_whatever_the_values_a_text_comes_out(values: list[float | None], log_y: bool, width: int, height: int) -> None:
    assert isinstance(picture(list(enumerate(values)), log_y=log_y, width=width, height=height), str)


def test_the_gate_is_needed() -> None:
    """The day plotext takes a NaN without aborting, the gate may become simpler."""
    code = "import plotext; f = plotext.figure; f.draw(f.signal([0, 1], [1.0, float('nan')]).lines()); f.build()"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode != 0


@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=500), st.integers(1, 40))
def test_thinning_keeps_the_extremes(values: list[float], columns: int) -> None:
    line = [(float(x), y) for x, y in enumerate(values)]
    kept = thin(line, (0.0, max(1.0, len(values) - 1.0)), columns)
    assert {min(values), max(values)} <= {y for _, y in kept}
    assert len(kept) <= max(2 * columns + 2, min(len(line), 2 * columns))
    assert kept == sorted(kept)


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6), st.integers(2, 12))
def test_ticks_lie_within_the_axis_and_are_about_as_many_as_wanted(low: float, width: float, wanted: int) -> None:
    places = nice_places((low, low + width), wanted)
    assert all(low - width * 1e-6 <= place <= low + width * (1 + 1e-6) for place in places)
    assert wanted / 3 - 1 <= len(places) <= 2 * wanted + 2


def test_steps_are_written_short() -> None:
    assert step_ticks((0, 20_000), 4).labels == ["0", "5k", "10k", "15k", "20k"]
    assert step_ticks((0, 3), 8).labels == ["0", "1", "2", "3"]


def test_values_have_the_decimals_that_tell_them_apart() -> None:
    assert value_ticks((2.5, 2.9), 4, log=False).labels == ["2.5", "2.6", "2.7", "2.8", "2.9"]
    assert value_ticks((0, 3e-4), 3, log=False).labels == ["0", "1e-4", "2e-4", "3e-4"]


def test_a_logarithmic_axis_is_labelled_with_values() -> None:
    ticks = value_ticks((0.0, 2.0), 5, log=True)
    assert ticks.labels == ["1", "2", "5", "10", "20", "50", "100"]
    assert ticks.places[3] == pytest.approx(1.0)


def test_labels_of_tiny_values_tell_neighbours_apart() -> None:
    labels = value_ticks((9.9e-4, 1.005e-3), 4, log=False).labels
    assert len(set(labels)) == len(labels) > 1
    assert value_ticks((0, 1.5e-3), 3, log=False).labels == ["0", "5e-4", "1e-3", "1.5e-3"]


def test_a_curve_that_hardly_moves_is_drawn_flat() -> None:
    line = [(0.0, 5.7037820), (10.0, 5.7037825)]
    text = draw_with_plotext(Plot([Curve([line], (1, 2, 3))], 60, 12)).plain
    assert "5.70378" not in text and "6" in text


def test_a_single_point_stands_on_an_axis_from_zero() -> None:
    text = draw_with_plotext(Plot([Curve([[(0.0, 5.0)]], (1, 2, 3))], 60, 12)).plain
    assert "-1" not in text.splitlines()[-1]
