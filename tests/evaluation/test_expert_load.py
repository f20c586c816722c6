"""The report's table of experts: what metrics.jsonl says, and nothing where it says nothing sensible."""

import pytest

from workbench.evaluation.expert_load import expert_load


def test_shares_are_told_by_layer_as_means_of_the_last_reports() -> None:
    early = [{"step": 1, "expert_load": [[1.0, 0.0], [1.0, 0.0]]}]
    late = [{"step": step, "expert_load": [[0.4, 0.6], [0.1 * (step % 2), 1 - 0.1 * (step % 2)]]} for step in range(10)]
    told = expert_load([*early, *({"step": 2},), *late, {"step": 11, "val_loss": 1.0}])
    assert "Each of 2 experts would have 50.0% of the visits" in told
    assert "| 1 | 40.0% | 60.0% | 40% | 60% |" in told
    assert "| 2 | 5.0% | 95.0% | 5% | 95% |" in told


def test_the_balance_loss_is_told_beside_it() -> None:
    assert "Balance loss at the end: 1.250" in expert_load([{"expert_load": [[0.5, 0.5]], "balance_loss": 1.25}])


def test_of_very_many_experts_the_extremes_are_told() -> None:
    lines = expert_load([{"expert_load": [[1 / 64] * 64]}]).splitlines()
    assert lines[-1] == "| 1 | 1.6% | 1.6% |"


@pytest.mark.parametrize("load", [None, [], [[]], "x", [[0.5], [0.2, 0.3]], [["a", "b"]], [0.5, 0.5]])
def test_what_is_no_table_is_passed_over(load: object) -> None:
    assert expert_load([{"expert_load": load}]) == ""
