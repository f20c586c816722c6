import itertools

import pytest

from workbench.schedule import Schedule


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


@pytest.mark.parametrize("kind", ["cosine", "linear", "wsd", "constant"])
def test_every_schedule_warms_up_alike(kind: str) -> None:
    schedule = Schedule(kind, 2e-3, 8, 100, 0.1)  # type: ignore[arg-type]
    rates = [schedule.learning_rate(step) for step in range(9)]
    assert rates[:8] == pytest.approx([2e-3 * step / 8 for step in range(1, 9)])
    assert max(schedule.learning_rate(step) for step in range(100)) == rates[7]


def test_wsd_stays_at_the_peak_and_falls_over_its_last_share() -> None:
    schedule = Schedule("wsd", 1.0, 10, 101, 0.0, decay_fraction=0.4)
    rates = [schedule.learning_rate(step) for step in range(101)]
    assert rates[10:60] == [1.0] * 50
    assert rates[59] == 1.0 > rates[60] and rates[100] == pytest.approx(0.0)
    assert rates[69] == pytest.approx(1 - (10 / 41) ** 0.5)
    assert all(later <= earlier for earlier, later in itertools.pairwise(rates[10:]))


def test_wsd_never_falls_before_the_warmup_is_over() -> None:
    schedule = Schedule("wsd", 1.0, 50, 60, 0.1, decay_fraction=1.0)
    assert max(schedule.learning_rate(step) for step in range(60)) == schedule.learning_rate(49) == 1.0
