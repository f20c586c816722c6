"""What Home tells of a run: as much as there is room for, and always of every stage."""

from pathlib import Path
from typing import Any

from workbench.runs.store import RunState, create_run, list_runs
from workbench.tui.run_details import RunDetails, StageDetails, describe

STAGES = [f"stage-{number}" for number in range(7)]


def details(tmp_path: Path) -> RunDetails:
    """A finished run of seven stages."""
    create_run(tmp_path, "one", "").write_state(RunState("done", tuple(STAGES), STAGES[-1], 9, 9))
    stages = [StageDetails(name, [3.0, 2.0, 1.5], 1.4, 200, 2) for name in STAGES]
    return RunDetails(list_runs(tmp_path)[0], "", "cpu fp32", 1 << 20, stages)


def named(figures: Any) -> list[str]:
    """The stages that are told of."""
    return [figure.name for figure in figures if figure.name in STAGES]


def test_every_stage_is_told_of_where_it_has_a_line_and_else_the_newest(tmp_path: Path) -> None:
    run = details(tmp_path)
    for height in (60, 24, 17, 12, 10, 8):
        told = describe(run, 40, height)
        assert named(told) == STAGES
        assert len(told) <= height, height
    assert named(describe(run, 40, 4)) == STAGES[-3:]
    assert any(figure.name == "checkpoints" for figure in describe(run, 40, 60))
    assert "1.400 @ 200" in [figure.note for figure in describe(run, 40, 10)]
