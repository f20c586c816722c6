"""A stage of preferences, from a profile to what it leaves; and what is refused, with its place."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from workbench import events
from workbench.control import Control
from workbench.errors import DataError, ProfileError, RunError
from workbench.jobs import Job, resume_job
from workbench.model.weights import load_model
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
kind = "sft"
data = "chat.jsonl"
sequence_length = 48
batch_size = 4
steps = 4
log_every = 1
[[stage]]
kind = "dpo"
data = "pairs.jsonl"
sequence_length = 64
batch_size = 4
micro_batch_size = 2
steps = 8
log_every = 1
checkpoint_every = 2
evaluate_every = 4
validation_fraction = 0.2
keep = 9
learning_rate = 1e-3
prompts = ["Who is 1?"]
sample_tokens = 4
"""


def said(role: str, text: str) -> dict[str, str]:
    return {"role": role, "content": text}


def write_rows(path: Path, rows: list[Any]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LLM_WORKBENCH_HOME", str(tmp_path / "home"))
    talks = [{"messages": [said("user", f"Who is {n}?"), said("assistant", f"{n}.")]} for n in range(40)]
    pairs: list[Any] = [
        {
            "chosen": [said("user", f"Who is {n}?"), said("assistant", f"{n}.")],
            "rejected": [said("user", f"Who is {n}?"), said("assistant", "Go.")],
        }
        for n in range(20)
    ] + [{"prompt": f"Who is {n}?", "chosen": f"{n}.", "rejected": "Go."} for n in range(20, 40)]
    write_rows(tmp_path / "chat.jsonl", talks)
    write_rows(tmp_path / "pairs.jsonl", pairs)
    (tmp_path / "mine.toml").write_text(PROFILE, encoding="utf-8")
    return tmp_path


def job(folder: Path, *overrides: str, control: Control | None = None, **settings: Any) -> tuple[Job, list[Any]]:
    heard: list[Any] = []
    emitter = events.Emitter()
    emitter.subscribe(heard.append)
    profile = read_profile(str(folder / "mine.toml"), overrides)
    return Job(profile, workspace=folder / "runs", emitter=emitter, control=control, **settings), heard


def records(run: Path) -> list[dict[str, Any]]:
    return read_metrics(run / "dpo/metrics.jsonl")


def learnt(run: Path) -> list[tuple[float, float]]:
    return [(record["loss"], record["reward_margin"]) for record in records(run) if "loss" in record]


@pytest.mark.parametrize("how", ["", "stage.dpo.lora.rank=4", "stage.dpo.dpo.loss=simpo", "stage.dpo.dpo.loss=orpo"])
def test_held_out_pairs_are_won_and_reported(folder: Path, how: str) -> None:
    lora = ("stage.dpo.learning_rate=2e-2",) if "lora" in how else ()
    dpo, heard = job(folder, "stage.dpo.steps=60", "stage.dpo.evaluate_every=0", *filter(None, [how]), *lora)
    dpo.run()
    run = folder / "runs/mine"
    first, last = (record for record in records(run) if "val_loss" in record)
    assert last["val_reward_accuracy"] > 0.85  # of eight pairs one may be lost
    assert last["val_reward_margin"] > first["val_reward_margin"]
    step = next(record for record in records(run) if record["step"] == 1)
    assert {"reward_margin", "reward_accuracy", "chosen_logp", "rejected_logp"} <= step.keys()
    assert (run / "dpo/reference").exists() == (how == ""), "the reference is asked only where there is need"
    report = json.loads((run / "report.json").read_text())["stages"][1]
    assert report["after"]["val_reward_accuracy"] == last["val_reward_accuracy"]
    assert "| held-out pairs won |" in (run / "report.md").read_text()
    data = next(event for event in heard if isinstance(event, events.DataReady) and event.stage == "dpo")
    assert (data.documents, data.validation_documents, data.rows_read) == (32, 8, 40)


def test_the_reference_is_the_parent_before_the_first_step(folder: Path) -> None:
    job(folder)[0].run()
    first = next(record for record in records(folder / "runs/mine") if "val_loss" in record)
    assert first["step"] == 0
    assert first["val_loss"] == pytest.approx(0.693147, abs=1e-5)
    assert first["val_reward_accuracy"] == 0.5
    assert abs(first["val_kl"]) < 1e-6


@pytest.mark.parametrize("lost", [False, True])
def test_a_stopped_stage_goes_on_bit_by_bit(folder: Path, lost: bool) -> None:
    job(folder, name="whole")[0].run()
    control = Control()
    stopped, _ = job(folder, name="cut", control=control)
    stopped.emitter.subscribe(
        lambda event: (
            control.stop()
            if isinstance(event, events.StepFinished) and (event.stage, event.step) == ("dpo", 3)
            else None
        )
    )
    assert stopped.run().status == "stopped"
    if lost:  # it is asked again, of the weights the stage began with
        shutil.rmtree(folder / "runs/cut/dpo/reference")
    resume_job(folder / "runs/cut").run()
    assert learnt(folder / "runs/cut") == learnt(folder / "runs/whole")
    ours, theirs = (load_model(folder / f"runs/{name}/dpo/model").state_dict() for name in ("cut", "whole"))
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())


def test_a_stage_that_lost_its_reference_says_what_is_missing(folder: Path) -> None:
    job(folder, name="first")[0].run()
    base = folder / "base"
    shutil.copytree(folder / "runs/first/sft/model", base)
    text = (
        PROFILE[: PROFILE.index("[tokenizer]")] + f'[model]\npath = "{base}"\n' + PROFILE[PROFILE.rindex("[[stage]]") :]
    )
    (folder / "mine.toml").write_text(text, encoding="utf-8")
    control = Control()
    stopped, _ = job(folder, name="cut", control=control)
    stopped.emitter.subscribe(lambda event: control.stop() if isinstance(event, events.StepFinished) else None)
    assert stopped.run().status == "stopped"
    shutil.rmtree(folder / "runs/cut/dpo/reference")
    (base / "model.safetensors").rename(base / "model.gone")
    with pytest.raises(RunError, match="stage dpo: its data, or what it started from, has changed since"):
        resume_job(folder / "runs/cut").run()


def test_rows_that_are_no_pairs_are_told_with_their_place(folder: Path) -> None:
    same = {"prompt": "Who?", "chosen": "You.", "rejected": "You."}
    silent = {"prompt": "Who?", "chosen": "You.", "rejected": " "}
    late = {"prompt": "Who? " * 20, "chosen": "You.", "rejected": "Go."}
    alike = {"prompt": "Who?", "chosen": "a" * 60 + "b", "rejected": "a" * 60 + "c"}
    pairs = [json.loads(line) for line in (folder / "pairs.jsonl").read_text().splitlines()]
    write_rows(folder / "pairs.jsonl", [same, silent, late, alike, *pairs])
    dpo, heard = job(folder)
    dpo.run()
    told = {event.line: event.reason for event in heard if isinstance(event, events.RowRejected)}
    assert told == {
        1: "no difference: chosen and rejected are the same",
        2: "empty answer: turn 1 of the assistant says nothing",
        3: "no target: the chosen answer lies behind token 65",
        4: "no difference: chosen and rejected are the same up to token 65",
    }
    write_rows(folder / "pairs.jsonl", [same, silent])
    with pytest.raises(DataError, match=r"pairs\.jsonl: line 1: no difference.*a dpo stage cannot use it"):
        job(folder, name="none")


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("stage.dpo.dpo.loss=dpo", r"stage\.dpo\.dpo\.loss: 'dpo' is not allowed"),
        ("stage.dpo.dpo.bta=1", r"unknown key stage\.dpo\.dpo\.bta; did you mean beta"),
        ("stage.sft.dpo.beta=0.2", r"stage\.sft\.dpo: has no effect in a stage of kind 'sft'"),
        ("stage.sft.kind=dpo", r"there is no reference, only random weights"),
        ('stage.dpo.dpo={loss="ipo", label_smoothing=0.1}', "label_smoothing: has no effect with loss = 'ipo'"),
        ("stage.dpo.dpo.gamma=1.0", "gamma: has no effect with loss = 'sigmoid'"),
    ],
)
def test_settings_without_sense_are_refused(folder: Path, override: str, told: str) -> None:
    with pytest.raises(ProfileError, match=told):
        job(folder, override)
