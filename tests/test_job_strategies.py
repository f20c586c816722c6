"""Whole runs with each way to train: what they leave on the disk, and that a killed one is none the worse."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from workbench import events
from workbench.errors import DataError, ProfileError
from workbench.jobs import Job
from workbench.profile import read_profile
from workbench.runs.metrics import read_metrics

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
data = "counting.jsonl"
sequence_length = 32
batch_size = 4
steps = 8
log_every = 1
evaluate_every = 2
checkpoint_every = 3
learning_rate = 1e-2
"""
MIXED = 'stage.pretrain.data=[{path = "counting.jsonl", weight = 3}, {path = "naming.jsonl", weight = 1}]'


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LLM_WORKBENCH_HOME", str(tmp_path / "home"))
    write(tmp_path / "counting.jsonl", [f"The number {n} follows {n - 1}." for n in range(80)])
    write(tmp_path / "naming.jsonl", [f"A name is {chr(65 + n % 26) * 4}." for n in range(40)])
    (tmp_path / "mine.toml").write_text(PROFILE, encoding="utf-8")
    return tmp_path


def write(path: Path, texts: list[str]) -> None:
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")


def run(folder: Path, name: str, *overrides: str, stop_at: int | None = None) -> list[Any]:
    heard: list[Any] = []
    emitter = events.Emitter()
    emitter.subscribe(heard.append)
    profile = read_profile(str(folder / "mine.toml"), overrides)
    job = Job(profile, workspace=folder / "runs", name=name, emitter=emitter)
    if stop_at is not None:
        emitter.subscribe(
            lambda event: (
                job.control.stop() if isinstance(event, events.StepFinished) and event.step == stop_at else None
            )
        )
    job.run()
    return heard


def losses(folder: Path, name: str) -> dict[int, float]:
    records = read_metrics(folder / "runs" / name / "pretrain/metrics.jsonl")
    return {record["step"]: record["loss"] for record in records if "loss" in record}


def model(folder: Path, name: str, place: str = "model") -> dict[str, torch.Tensor]:
    return load_file(folder / "runs" / name / "pretrain" / place / "model.safetensors")


def same(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(value, theirs[name]) for name, value in ours.items())


@pytest.mark.parametrize(
    "overrides",
    [
        (MIXED,),
        ("stage.pretrain.ema=0.9",),
        ("stage.pretrain.optimizer.state=int8",),
        ("stage.pretrain.optimizer.state=bf16", "stage.pretrain.optimizer.name=muon"),
        ("run.precision=fp16",),
        ("stage.pretrain.gradient_checkpointing=true", "stage.pretrain.schedule=wsd"),
    ],
    ids=lambda overrides: ",".join(each.partition("=")[0].rpartition(".")[2] for each in overrides),
)
def test_a_stopped_run_goes_on_as_if_nothing_had_been(folder: Path, overrides: tuple[str, ...]) -> None:
    run(folder, "whole", *overrides)
    run(folder, "stopped", *overrides, stop_at=5)
    assert not (folder / "runs/stopped/pretrain/model").exists()
    run(folder, "stopped", *overrides)
    assert losses(folder, "stopped") == losses(folder, "whole")
    assert same(model(folder, "stopped"), model(folder, "whole"))


def test_a_mixture_tells_its_shares_and_how_often_each_data_set_is_seen(folder: Path) -> None:
    heard = run(folder, "mixed", MIXED)
    mixed = next(event for event in heard if isinstance(event, events.DataMixed))
    assert mixed.shares == {"counting.jsonl": 0.75, "naming.jsonl": 0.25}
    assert (mixed.step, set(mixed.epochs)) == (8, {"counting.jsonl", "naming.jsonl"})
    assert all(epochs > 0 for epochs in mixed.epochs.values())
    ready = [event for event in heard if isinstance(event, events.DataReady)]
    assert len(ready) == 1 and ready[0].rows_read == 120
    state = json.loads((folder / "runs/mixed/pretrain/checkpoints/step-000008/resume/state.json").read_text("utf-8"))
    assert state["position"]["used"] == [24, 8]
    assert events.from_json(events.to_json(mixed)) == mixed


def test_another_weight_is_another_run(folder: Path) -> None:
    run(folder, "mixed", MIXED)
    with pytest.raises(Exception, match=r"stage\.pretrain\.data"):
        run(folder, "mixed", MIXED.replace("weight = 1", "weight = 2"))


def test_a_missing_file_of_a_mixture_is_told_with_its_key(folder: Path) -> None:
    with pytest.raises(ProfileError, match=r"stage\.pretrain\.data: .*nowhere\.jsonl"):
        run(folder, "mixed", MIXED.replace("naming", "nowhere"))


def test_the_average_becomes_the_stages_model(folder: Path) -> None:
    run(folder, "plain")
    run(folder, "averaged", "stage.pretrain.ema=0.9")
    last = "checkpoints/step-000008"
    assert losses(folder, "plain") == losses(folder, "averaged")
    assert same(model(folder, "averaged"), model(folder, "averaged", last))
    trained = load_file(folder / f"runs/averaged/pretrain/{last}/resume/trained.safetensors")
    assert same(trained, model(folder, "plain"))
    assert not same(model(folder, "averaged"), model(folder, "plain"))


def worse_after(monkeypatch: pytest.MonkeyPatch, best: int) -> None:
    """Let validation get worse after step `best`, whatever the model does."""
    from workbench.job_stage import LookAtModel
    from workbench.training.probe import Measured

    calls: list[int] = []

    def validate(self: LookAtModel, model: object) -> Measured:
        calls.append(2 * len(calls))
        loss = 5.0 + abs(calls[-1] - best)
        return Measured(loss, loss, loss)

    monkeypatch.setattr(LookAtModel, "validate", validate)


@pytest.mark.parametrize("extra", [(), ("stage.pretrain.ema=0.9",)])
def test_the_best_step_becomes_the_stages_model(
    folder: Path, monkeypatch: pytest.MonkeyPatch, extra: tuple[str, ...]
) -> None:
    worse_after(monkeypatch, best=4)
    run(folder, "best", "stage.pretrain.result=best", "stage.pretrain.checkpoint_every=0", *extra)
    kept = sorted(path.name for path in (folder / "runs/best/pretrain/checkpoints").iterdir())
    assert "step-000004" in kept
    assert same(model(folder, "best"), model(folder, "best", "checkpoints/step-000004"))
    assert not same(model(folder, "best"), model(folder, "best", "checkpoints/step-000008"))
    result = json.loads((folder / "runs/best/pretrain/result.json").read_text("utf-8"))
    assert result["after"]["val_loss"] == 5.0


def test_a_stage_that_ended_early_is_done_and_not_run_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    worse_after(monkeypatch, best=2)
    settings = ("stage.pretrain.steps=40", "stage.pretrain.patience=2")
    heard = run(folder, "early", *settings)
    finished = next(event for event in heard if isinstance(event, events.StageFinished))
    assert finished.steps == 6
    assert any(isinstance(event, events.EndedEarly) for event in heard)
    again = run(folder, "early", *settings)
    assert any(isinstance(event, events.StageSkipped) for event in again)
    assert not any(isinstance(event, events.StepFinished) for event in again)


def test_the_report_tells_the_mixture(folder: Path) -> None:
    run(folder, "mixed", MIXED)
    report = (folder / "runs/mixed/report.md").read_text("utf-8")
    assert "75% from counting.jsonl, seen " in report and "25% from naming.jsonl, seen " in report


def test_each_finished_or_stopped_stage_leaves_a_report(folder: Path) -> None:
    """The report is there as soon as a stage is over, not only at the run's end."""
    (folder / "mine.toml").write_text(
        PROFILE
        + '[[stage]]\nname = "more"\nkind = "pretrain"\ndata = "naming.jsonl"\nsequence_length = 32\n'
        + "steps = 4\nlog_every = 1\nbatch_size = 4\n",
        encoding="utf-8",
    )
    seen: list[str] = []
    emitter = events.Emitter()
    report = folder / "runs/staged/report.md"
    emitter.subscribe(
        lambda event: (
            seen.append(report.read_text("utf-8"))
            if isinstance(event, events.StageStarted) and event.stage == "more"
            else None
        )
    )
    job = Job(read_profile(str(folder / "mine.toml")), workspace=folder / "runs", name="staged", emitter=emitter)
    emitter.subscribe(
        lambda event: job.control.stop() if isinstance(event, events.StepFinished) and event.stage == "more" else None
    )
    job.run()
    assert len(seen) == 1 and "| pretrain | pretrain | 8 |" in seen[0]
    assert "more (unfinished)" in report.read_text("utf-8")


def test_the_suite_of_the_profile_measures_each_stage(folder: Path) -> None:
    write(folder / "held-out.jsonl", ["The number 7 follows 6.", "The number 9 follows 8."])
    rows = [{"question": "The number 5 follows", "choices": ["4.", "red."], "answer": "4."}]
    (folder / "choices.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    (folder / "mine.toml").write_text(
        PROFILE
        + '[evaluate]\nperplexity = "held-out.jsonl"\nchoices = "choices.jsonl"\nprompts = ["The number"]\n'
        + "prompt_tokens = 8\nthroughput = true\nbatch_size = 2\n",
        encoding="utf-8",
    )
    run(folder, "measured")
    stage = folder / "runs/measured/pretrain"
    after = json.loads((stage / "result.json").read_text("utf-8"))["after"]
    assert {"perplexity", "bits_per_byte", "choice_accuracy", "repetition", "tokens_per_second_written"} <= set(after)
    assert 1 < after["perplexity"] < 272
    for name in ("choices.jsonl", "continuations.jsonl"):
        assert (stage / name).read_text("utf-8").strip()
    card = (folder / "runs/measured/report.md").read_text("utf-8")
    assert "| right choices |" in card and "| perplexity on files |" in card and "tokens/s written" in card


@pytest.mark.parametrize(
    ("key", "rows", "told"),
    [
        ("choices", [{"question": "?", "choices": ["a"], "answer": "a"}], "two texts or more"),
        ("perplexity", [{"prompt": "a", "chosen": "b", "rejected": "c"}], "holds preferences"),
    ],
)
def test_what_cannot_be_measured_is_told_before_training(folder: Path, key: str, rows: list[Any], told: str) -> None:
    (folder / "bad.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    with pytest.raises(DataError, match=told):
        run(folder, "bad", f"evaluate.{key}=bad.jsonl")
    assert not (folder / "runs/bad").exists()


def test_the_load_of_experts_is_recorded_and_drawn(folder: Path) -> None:
    experts = ("model.family=moe", "model.num_experts=4", "model.num_experts_per_tok=2")
    run(folder, "experts", *experts, "model.moe_intermediate_size=16")
    records = read_metrics(folder / "runs/experts/pretrain/metrics.jsonl")
    assert all(len(layer) == 4 for record in records if "loss" in record for layer in record["expert_load"])
    assert "Load of the busiest expert" in (folder / "runs/experts/report.md").read_text("utf-8")
