"""What the files of a run tell, whole or damaged."""

from pathlib import Path

import pytest

from workbench.errors import WorkbenchError
from workbench.learn.facts import facts_of_run
from workbench.runs.metrics import read_metrics


def test_facts_are_those_of_the_stage_that_is_asked_for(runs: Path) -> None:
    for stage in ("pretrain", "sft", "dpo"):
        facts = facts_of_run(runs / "life", stage)
        last = [record for record in read_metrics(runs / "life" / stage / "metrics.jsonl") if "loss" in record][-1]
        assert facts.stage is not None and facts.stage.name == stage
        assert facts.figures["loss"] == last["loss"] and facts.figures["step"] == last["step"]
        assert facts.started is not None and facts.started.stage == stage and facts.data is not None
    assert facts_of_run(runs / "life").stage == facts.stage  # the last one, where none is named


def test_a_stage_that_is_not_there_is_told(runs: Path) -> None:
    with pytest.raises(WorkbenchError, match="has no stage 'dpoo'; did you mean dpo"):
        facts_of_run(runs / "life", "dpoo")


def test_a_folder_without_anything_gives_nothing(tmp_path: Path) -> None:
    facts = facts_of_run(tmp_path)
    assert facts.figures == {} and facts.config is None and facts.started is None


def test_damaged_files_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "profile.toml").write_text("[[stage]]\nkind = 'unheard of'\n")
    (tmp_path / "events.jsonl").write_text('{"event": "StageStarted", broken\n')
    stage = tmp_path / "pretrain"
    stage.mkdir()
    (stage / "metrics.jsonl").write_text('{"step": 1, "loss": 2.5}\n{"step": 2, "lo')
    facts = facts_of_run(tmp_path)
    assert facts.profile is None and facts.figures == {"step": 1, "loss": 2.5, "first_loss": 2.5}
