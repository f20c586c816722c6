import itertools

import pytest

from workbench.training.schedule import Schedule


def test_the_warmup_rises_to_the_peak_and_never_above() -> None:
    schedule = Schedule("cosine", 1e-3, 10, 100, 0.1)
    rates = [schedule.learning_rate(step) for step in range(100)]
    assert rates[0] == pytest.approx(1e-4)
    assert rates[9] == max(rates) == pytest.approx(1e-3)
    assert all(later >= earlier for earlier, later in itertools.pairwise(rates[:10]))


@pytest.mark.parametrize("kind", ["cosine", "linear"])
def test_the_last_step_takes_the_final_share(kind: str) -> None:
    schedule = Schedule(kind, 1e-3, 10, 100, 0.1)  # type: ignore[arg-type]
    rates = [schedule.learning_rate(step) for step in range(10, 100)]
    assert rates[-1] == pytest.approx(1e-4)
    assert all(later <= earlier for earlier, later in itertools.pairwise(rates))


def test_half_way_cosine_and_linear_meet() -> None:
    for kind in ("cosine", "linear"):
        assert Schedule(kind, 1.0, 0, 101, 0.0).learning_rate(50) == pytest.approx(0.5)  # type: ignore[arg-type]


def test_constant_stays() -> None:
    assert Schedule("constant", 1e-3, 0, 10, 0.1).learning_rate(9) == 1e-3


def test_a_stage_of_one_step_takes_the_peak() -> None:
    assert Schedule("cosine", 1e-3, 0, 1, 0.1).learning_rate(0) == 1e-3
