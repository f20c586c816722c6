"""Loss curves of text: high is above low, and no input breaks them."""

import math

from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.evaluation.curve import text_curve

numbers = st.floats(allow_nan=True, allow_infinity=True, width=32)


def test_a_falling_loss_falls_from_left_to_right() -> None:
    lines = text_curve([(step, 10 - step / 10) for step in range(101)], [], width=20, height=5)
    assert lines[0].startswith("10 ┤") and lines[4].startswith(" 0 ┤")
    firsts = [
        min(place for place, char in enumerate(line.partition("┤")[2]) if char not in "\u2800 ") for line in lines[:5]
    ]
    assert firsts == sorted(firsts) and firsts[0] < firsts[-1]


def test_validation_losses_are_marked_above_the_line() -> None:
    lines = text_curve([(0, 2.0), (10, 1.0)], [(0, 3.0), (10, 1.5)], width=20, height=5)
    assert lines[0].startswith("3 ┤●") and sum(line.count("●") for line in lines) == 2


def test_the_axis_tells_the_first_and_the_last_step() -> None:
    assert text_curve([(1, 1.0), (2000, 2.0)], [])[-1].split() == ["1", "2,000", "steps"]


def test_without_a_finite_point_there_is_no_curve() -> None:
    assert text_curve([], []) == []
    assert text_curve([(1, math.nan)], [(2, math.inf)]) == []


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 10**9), numbers)), st.lists(st.tuples(st.integers(0, 10**9), numbers)))
def test_any_points_give_rows_of_the_width_asked_for(
    training: list[tuple[float, float]], validation: list[tuple[float, float]]
) -> None:
    lines = text_curve(training, validation, width=30, height=4)
    assert len(lines) in (0, 6)
    assert all(len(line.partition("┤")[2]) <= 30 for line in lines[:4])
