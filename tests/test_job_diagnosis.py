"""Whole runs that go wrong: the diagnosis in the run's files and report, and the way back to a good checkpoint."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from workbench import events
from workbench.control import Command, Control
from workbench.errors import RunError, WorkbenchError
from workbench.jobs import Job, resume_job
from workbench.profile import read_profile
from workbench.runs.liveness import RunLock
from workbench.runs.metrics import read_metrics
from workbench.runs.store import RunDirectory

PROFILE = """
[run]
seed = 3
precision = "fp32"
threads = 1
[tokenizer]
kind = "bytes"
[model]
hidden_size = 32
num_hidden_layers = 2
num_attention_heads = 2
max_position_embeddings = 64
[[stage]]
kind = "pretrain"
data = "text.jsonl"
sequence_length = 32
batch_size = 4
steps = 8
log_every = 1
evaluate_every = 4
checkpoint_every = 2
keep = 9
learning_rate = 1e-2
[[stage]]
name = "more"
kind = "pretrain"
data = "text.jsonl"
sequence_length = 32
batch_size = 4
steps = 4
log_every = 1
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LLM_WORKBENCH_HOME", str(tmp_path / "home"))
    texts = [f"The number {n} follows {n - 1}." for n in range(80)]
    (tmp_path / "text.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")
    (tmp_path / "mine.toml").write_text(PROFILE, encoding="utf-8")
    return tmp_path


def job(folder: Path, *overrides: str, control: Control | None = None, name: str = "mine") -> tuple[Job, list[Any]]:
    heard: list[Any] = []
    emitter = events.Emitter()
    emitter.subscribe(heard.append)
    profile = read_profile(str(folder / "mine.toml"), overrides)
    return Job(profile, name=name, workspace=folder / "runs", emitter=emitter, control=control), heard


def losses(folder: Path, run: str, stage: str = "pretrain") -> dict[int, float]:
    return _losses(folder / "runs" / run / stage / "metrics.jsonl")


def _losses(path: Path) -> dict[int, float]:
    return {record["step"]: record["loss"] for record in read_metrics(path) if "loss" in record}


def diagnosed(heard: list[Any]) -> list[events.Diagnosed]:
    return [event for event in heard if isinstance(event, events.Diagnosed)]


def test_a_healthy_run_is_told_nothing(folder: Path) -> None:
    running, heard = job(folder)
    running.run()
    assert diagnosed(heard) == []
    assert "## Diagnosis" not in (folder / "runs/mine/report.md").read_text(encoding="utf-8")


def test_a_rate_too_high_stands_in_events_and_report(folder: Path) -> None:
    running, heard = job(folder, "stage.pretrain.learning_rate=1.0", "stage.pretrain.clip=0")
    running.run()
    finding = diagnosed(heard)[0]
    assert (finding.stage, finding.finding) == ("pretrain", "learning_rate_high")
    card = (folder / "runs/mine/report.md").read_text(encoding="utf-8")
    assert f"pretrain, step {finding.step}" in card.split("## Diagnosis")[1]
    report = json.loads((folder / "runs/mine/report.json").read_text(encoding="utf-8"))
    assert report["findings"][0]["finding"] == "learning_rate_high"


def test_a_stage_broken_by_a_number_that_is_none_goes_on_from_an_earlier_checkpoint(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from workbench.training.trainer import Trainer

    step = Trainer.take_step

    def poisoned(trainer: Trainer) -> None:
        if trainer.step == 5:
            with torch.no_grad():
                trainer.model.model.layers[1].mlp.down_proj.weight[0, 0] = float("nan")
        step(trainer)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "take_step", poisoned)
        failing, heard = job(folder)
        with pytest.raises(WorkbenchError, match=r"weights of model\.layers\.1\.mlp\.down_proj\.weight"):
            failing.run()
    assert [event.finding for event in diagnosed(heard)] == ["not_finite"]
    assert "--from-step" in heard[-1].message
    resume_job(folder / "runs/mine", from_step=2).run()
    whole, _ = job(folder, name="whole")
    whole.run()
    assert losses(folder, "mine") == losses(folder, "whole"), "the same steps again, as if nothing had happened"


def test_going_back_repeats_the_steps_and_keeps_what_was(folder: Path) -> None:
    job(folder)[0].run()
    run, before = RunDirectory(folder / "runs/mine"), losses(folder, "mine")
    control, heard = Control(), list[Any]()
    control.request(Command("learning_rate", 1e-3))
    emitter = events.Emitter()
    emitter.subscribe(heard.append)
    resume_job(run.path, from_step=4, stage="pretrain", control=control, emitter=emitter).run()
    after = losses(folder, "mine")
    assert {step: after[step] for step in range(1, 5)} == {step: before[step] for step in range(1, 5)}
    assert after[5] == before[5], "the first step's loss comes before its rate"
    assert after[8] != before[8]
    told = next(event for event in heard if isinstance(event, events.RunRolledBack))
    aside = Path(told.aside)
    assert (told.stage, told.step, told.from_step) == ("pretrain", 4, 8)
    assert _losses(aside / "metrics.jsonl") == before
    assert sorted(path.name for path in (aside / "checkpoints").iterdir()) == ["step-000006", "step-000008"]
    assert (aside / "model/config.json").is_file() and (aside / "result.json").is_file()
    assert list((run.path / ".earlier").glob("more-*/model/config.json")), "what was made from it is made anew"
    assert run.state().status == "done" and sorted(losses(folder, "mine", "more")) == [1, 2, 3, 4]


def test_going_back_works_in_the_middle_of_a_stage(folder: Path) -> None:
    control = Control()
    stopped, _ = job(folder, control=control)
    stopped.emitter.subscribe(lambda event: control.stop() if getattr(event, "step", 0) == 7 else None)
    stopped.run()
    resume_job(folder / "runs/mine", from_step=6).run()
    job(folder, name="whole")[0].run()
    assert losses(folder, "mine") == losses(folder, "whole")


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"from_step": 5}, "no checkpoint of step 5 is kept; these are: pretrain 2, pretrain 4"),
        ({"from_step": 2, "stage": "pretrian"}, "--stage pretrian: there is no such stage; did you mean pretrain"),
        ({"from_step": 2, "stage": "more"}, "stage more: no checkpoint of step 2"),
    ],
)
def test_a_checkpoint_that_is_not_kept_is_refused_with_those_that_are(
    folder: Path, settings: dict[str, Any], told: str
) -> None:
    job(folder)[0].run()
    before = sorted(path.name for path in (folder / "runs/mine").rglob("*"))
    with pytest.raises(RunError) as caught:
        resume_job(folder / "runs/mine", **settings)
    assert told in str(caught.value)
    assert sorted(path.name for path in (folder / "runs/mine").rglob("*")) == before


def test_a_run_at_work_is_not_taken_back(folder: Path) -> None:
    job(folder)[0].run()
    with RunLock(folder / "runs/mine"), pytest.raises(RunError, match="is at work on it"):
        resume_job(folder / "runs/mine", from_step=4, stage="pretrain").run()
    assert sorted(losses(folder, "mine")) == list(range(1, 9))


def test_a_resumed_stage_is_not_told_the_same_again(folder: Path) -> None:
    wild = ("stage.pretrain.learning_rate=1.0", "stage.pretrain.clip=0")
    control = Control()
    running, heard = job(folder, *wild, control=control)
    running.emitter.subscribe(lambda event: control.stop() if getattr(event, "step", 0) == 6 else None)
    running.run()
    told = [event.finding for event in diagnosed(heard)]
    assert told
    again, heard = job(folder, *wild)
    again.run()
    assert not set(told) & {event.finding for event in diagnosed(heard) if event.stage == "pretrain"}
