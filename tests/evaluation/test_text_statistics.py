import pytest

from workbench.evaluation.text_statistics import distinct, repetition, text_scores


def test_a_loop_repeats_and_a_text_without_repeats_does_not() -> None:
    assert repetition([[1, 2, 3, 4, 5, 6, 7, 8]]) == 0.0
    assert repetition([[1, 2] * 50]) == pytest.approx(1 - 2 / 97)
    assert repetition([[1] * 10, [1, 2, 3, 4, 5]]) == pytest.approx((6 / 7 + 0) / 2)


def test_texts_too_short_for_a_run_count_nothing() -> None:
    assert repetition([[1, 2, 3]]) == 0.0
    assert repetition([[1, 2, 3], [1] * 4]) == 0.0
    assert distinct([[]], 1) == 0.0


def test_distinct_counts_over_all_texts() -> None:
    assert distinct([[1, 2, 3], [1, 2, 4]], 1) == pytest.approx(4 / 6)
    assert distinct([[1, 2, 3], [1, 2, 4]], 2) == pytest.approx(3 / 4)
    assert set(text_scores([[1, 2, 3, 4]])) == {"repetition", "distinct_1", "distinct_2", "distinct_3"}
