"""What Home tells of a run: as much as there is room for, and always of every stage."""

from pathlib import Path
from typing import Any

from workbench.runs.metrics import MetricsWriter
from workbench.runs.store import RunState, create_run, list_runs
from workbench.tui.run_details import RunDetails, StageDetails, describe, life_of, read_details

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


def test_a_life_is_the_losses_of_all_stages_one_behind_the_other(tmp_path: Path) -> None:
    run = create_run(tmp_path, "one", "")
    for name, losses in (("pretrain", [5.0, 4.0, 3.0]), ("empty", []), ("sft[1]", [2.0, float("nan"), 1.0])):
        (run.path / name).mkdir()
        with MetricsWriter(run.stage(name).metrics) as writer:
            for place, loss in enumerate(losses, start=1):
                writer.write({"step": 10 * place, "loss": loss})
    run.write_state(RunState("done", ("pretrain", "empty", "sft[1]"), "sft[1]", 30, 30))
    life = life_of(read_details(list_runs(tmp_path)[0]))
    assert [(curve.name, curve.value) for curve in life] == [("pretrain", "3.000"), (r"sft\[1]", "1.000")]
    assert [list(line) for curve in life for line in curve.series.lines()] == [
        [(10.0, 5.0), (20.0, 4.0), (30.0, 3.0)],
        [(40.0, 2.0), (60.0, 1.0)],
    ]
    assert len({curve.colour for curve in life}) == 2
