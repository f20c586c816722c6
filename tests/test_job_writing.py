"""A stage that writes: answers to prompts, the same however often it was stopped, and data for the stage after it."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from workbench import events
from workbench.cli.main import main
from workbench.control import Control
from workbench.errors import DataError, ModelError, ProfileError, RunError
from workbench.jobs import Job, resume_job
from workbench.profile import parse_profile, profile_text, read_profile
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
num_hidden_layers = 1
num_attention_heads = 2
max_position_embeddings = 64
[[stage]]
kind = "sft"
data = "chat.jsonl"
sequence_length = 48
batch_size = 4
steps = 30
learning_rate = 1e-2
evaluate_every = 0
[[stage]]
kind = "generate"
data = "asked.jsonl"
batch_size = 2
[stage.generate]
max_new_tokens = 6
samples = 2
[[stage]]
name = "student"
kind = "sft"
data = "stage:generate"
sequence_length = 48
batch_size = 4
steps = 3
log_every = 1
[stage.model]
hidden_size = 16
num_hidden_layers = 1
num_attention_heads = 2
max_position_embeddings = 64
"""


def said(role: str, text: str) -> dict[str, str]:
    return {"role": role, "content": text}


def write_rows(path: Path, rows: list[Any]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LLM_WORKBENCH_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    talks = [{"messages": [said("user", f"Who is {n}?"), said("assistant", f"{n}.")]} for n in range(40)]
    asked: list[Any] = [{"prompt": f"Who is {n}?"} for n in range(20)]
    asked[3] = {"messages": [said("user", "Who is 3?"), said("assistant", ""), said("user", "And 4?")]}
    asked[5] = {"answer": "5."}
    asked[9] = {"prompt": "Who is " + "9" * 80}
    write_rows(tmp_path / "chat.jsonl", talks)
    write_rows(tmp_path / "asked.jsonl", asked)
    (tmp_path / "mine.toml").write_text(PROFILE, encoding="utf-8")
    return tmp_path


def job(folder: Path, *overrides: str, control: Control | None = None, **settings: Any) -> tuple[Job, list[Any]]:
    heard: list[Any] = []
    emitter = events.Emitter()
    emitter.subscribe(heard.append)
    profile = read_profile(str(folder / "mine.toml"), overrides)
    return Job(profile, workspace=folder / "runs", emitter=emitter, control=control, **settings), heard


def answers(run: Path, stage: str = "generate") -> list[list[dict[str, str]]]:
    lines = (run / stage / "data.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["conversations"] for line in lines]


def test_a_model_answers_and_a_student_learns_from_it(folder: Path) -> None:
    writing, heard = job(folder)
    assert writing.run().status == "done"
    run = folder / "runs/mine"
    rows = answers(run)
    done = [event for event in heard if isinstance(event, events.AnswersWritten)][-1]
    assert done.finished and (done.prompts, done.total, done.unusable) == (20, 20, 2)
    assert done.rows == len(rows) <= 36
    for row in rows:
        roles = [message["role"] for message in row]
        assert roles in (["user", "assistant"], ["user", "assistant"] * 2)
        assert all(message["content"].strip() for message in row)
    assert any(len(row) == 4 and row[2]["content"] == "And 4?" for row in rows)
    assert [row[0]["content"] for row in rows[:2]] == ["Who is 0?", "Who is 0?"]
    rejected = {event.line: event.reason for event in heard if isinstance(event, events.RowRejected)}
    assert set(rejected) == {6, 10} and rejected[10].startswith("too long: ")
    data = next(event for event in heard if isinstance(event, events.DataReady) and event.stage == "student")
    assert data.rows_read == len(rows)
    config = json.loads((run / "student/model/config.json").read_text())
    assert config["hidden_size"] == 16
    report = json.loads((run / "report.json").read_text())["stages"]
    assert [stage["name"] for stage in report] == ["sft", "generate", "student"]
    told = report[1]["written"]
    assert (told["rows"], told["empty"], told["cut"]) == (done.rows, done.empty, done.cut)
    assert told["tokens_per_second"] > 0
    card = (run / "report.md").read_text()
    assert "## Stage generate" in card and "| Empty answers, left out |" in card and "### Some answers" in card
    assert "2 answers a prompt" in card
    assert any("2 of 20 prompts cannot be used" in event.message for event in heard if isinstance(event, events.Warned))


def test_a_stopped_stage_goes_on_and_its_file_is_the_same(folder: Path) -> None:
    job(folder, name="whole")[0].run()
    control = Control()
    stopped, heard = job(folder, name="cut", control=control)
    stopped.emitter.subscribe(
        lambda event: control.stop() if isinstance(event, events.AnswersWritten) and event.prompts == 8 else None
    )
    assert stopped.run().status == "stopped"
    run = folder / "runs/cut"
    assert [event.prompts for event in heard if isinstance(event, events.AnswersWritten)] == [8]
    assert json.loads((run / "generate/progress.json").read_text())["prompts"] == 8
    with (run / "generate/data.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"conversations": [{"role": "us')  # as a kill in the middle of a chunk leaves it
    control = Control()
    emitter = events.Emitter()
    more: list[Any] = []
    emitter.subscribe(more.append)
    assert resume_job(run, emitter=emitter).run().status == "done"
    assert [event.prompts for event in more if isinstance(event, events.AnswersWritten)] == [16, 20, 20]
    ours, theirs = (folder / f"runs/{name}/generate/data.jsonl" for name in ("cut", "whole"))
    assert ours.read_bytes() == theirs.read_bytes()
    again: list[Any] = []
    emitter = events.Emitter()
    emitter.subscribe(again.append)
    resume_job(run, emitter=emitter).run()
    skipped = [event.stage for event in again if isinstance(event, events.StageSkipped)]
    assert skipped == ["sft", "generate", "student"]


def test_a_killed_process_goes_on_and_its_file_is_the_same(folder: Path) -> None:
    write_rows(folder / "asked.jsonl", [{"prompt": f"Who is {n}?"} for n in range(300)])
    more = ("stage.generate.generate.max_new_tokens=24", "stage.generate.generate.samples=1")
    job(folder, *more, name="whole")[0].run()
    first = subprocess.Popen(
        [sys.executable, "-m", "workbench.cli", "--profile", "mine.toml", "--name", "cut", "--workspace", "runs"]
        + [part for each in more for part in ("--set", each)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    progress, deadline = folder / "runs/cut/generate/progress.json", time.monotonic() + 120
    while not progress.is_file() and first.poll() is None:
        assert time.monotonic() < deadline, "it never wrote anything"
        time.sleep(0.005)
    first.send_signal(signal.SIGKILL)
    first.wait()
    before = json.loads(progress.read_text())
    assert 0 < before["prompts"] < 300, "it was killed while it wrote"
    assert resume_job(folder / "runs/cut").run().status == "done"
    ours, theirs = (folder / f"runs/{name}/generate/data.jsonl" for name in ("cut", "whole"))
    assert ours.read_bytes() == theirs.read_bytes()


def test_other_prompts_are_noticed(folder: Path) -> None:
    job(folder)[0].run()
    write_rows(folder / "asked.jsonl", [{"prompt": "Who is 1?"}])
    with pytest.raises(RunError, match=r"stage generate: .*has changed since; run it again with --from generate"):
        resume_job(folder / "runs/mine").run()
    again, _ = job(folder, from_stage="generate")
    again.run()
    assert {row[0]["content"] for row in answers(folder / "runs/mine")} == {"Who is 1?"}


def test_a_seed_and_a_limit_hold(folder: Path) -> None:
    more = ("stage.generate.generate.limit=4", "stage.generate.generate.temperature=1.5")
    for name, seed in (("one", 1), ("other", 2), ("again", 1)):
        job(folder, *more, f"stage.generate.generate.seed={seed}", name=name)[0].run()
    one, other, again = (answers(folder / f"runs/{name}") for name in ("one", "other", "again"))
    assert one == again != other
    assert {row[0]["content"] for row in one} <= {f"Who is {n}?" for n in range(4)}


def test_answers_that_say_nothing_are_left_out_and_counted(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from workbench.inference import batches

    real = batches._write

    def silent(*arguments: Any) -> Any:
        written = real(*arguments)
        return None if written is None else [batches.Answer((), False), *written[1:]]

    monkeypatch.setattr(batches, "_write", silent)
    writing, heard = job(folder)
    writing.run()
    done = [event for event in heard if isinstance(event, events.AnswersWritten)][-1]
    assert done.empty >= 10 and done.rows == len(answers(folder / "runs/mine"))
    messages = [event.message for event in heard if isinstance(event, events.Warned)]
    assert f"{done.empty} answers say nothing and are left out" in messages
    monkeypatch.setattr(batches, "_write", lambda *arguments: [batches.Answer((), False) for _ in arguments[1]])
    with pytest.raises(DataError, match="stage generate: none of 20 prompts got an answer: 36 are empty"):
        job(folder, name="mute")[0].run()


def test_a_directory_writes_and_the_profiles_own_model_learns(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    job(folder, name="first")[0].run()
    shutil.copytree(folder / "runs/first/sft/model", folder / "elder")
    start = PROFILE.index('[[stage]]\nkind = "generate"')
    stages = PROFILE[start:].replace('kind = "generate"\n', 'kind = "generate"\nfrom = "elder"\n')
    model = PROFILE[PROFILE.index("[model]") : PROFILE.index("[[stage]]")].replace("32", "24")
    head = PROFILE[: PROFILE.index("[tokenizer]")]
    (folder / "mine.toml").write_text(head + model + stages[: stages.index("[stage.model]")], encoding="utf-8")
    assert main(["check", "mine.toml"]) == 0
    capsys.readouterr()
    assert main(["--profile", "mine.toml"]) == 0
    told = capsys.readouterr()
    assert "conversations from 20 prompts" in told.out
    assert answers(folder / "runs/mine") == answers(folder / "runs/first")
    config = json.loads((folder / "runs/mine/student/model/config.json").read_text())
    assert config["hidden_size"] == 24
    (folder / "mine.toml").write_text(head + stages[: stages.index("[[stage]]\nname")], encoding="utf-8")
    assert main(["--profile", "mine.toml", "--name", "only"]) == 0
    assert "conversations from 20 prompts" in capsys.readouterr().out


def test_a_model_that_only_read_texts_is_told_of(folder: Path) -> None:
    write_rows(folder / "text.jsonl", [{"text": f"Who is {n}? {n}."} for n in range(40)])
    writing, heard = job(folder, "stage.sft.data=text.jsonl", "stage.sft.kind=pretrain")
    writing.run()
    assert any("has learned from texts alone" in event.message for event in heard if isinstance(event, events.Warned))


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("stage.student.data=stage:writer", r"stage\.student\.data: stage:writer: there is no generate stage of this"),
        ("stage.sft.data=stage:generate", r"stage\.sft\.data: stage:generate: there is no generate stage .* before it"),
        ("stage.generate.steps=4", r"stage\.generate\.steps: has no effect in a stage of kind 'generate'"),
        ("stage.generate.learning_rate=0.1", r"stage\.generate\.learning_rate: has no effect"),
        ("stage.generate.generate.top_p=0", r"stage\.generate\.generate\.top_p: 0 is not allowed"),
        ("stage.generate.generate.temperature=0", r"stage\.generate\.generate\.samples: 2 answers at temperature 0"),
        ("stage.student.from=generate", r"stage\.student\.from: generate writes data and has no model"),
        ("stage.student.generate.top_k=4", r"stage\.student\.generate: has no effect in a stage of kind 'sft'"),
    ],
)
def test_settings_without_sense_are_refused(folder: Path, override: str, told: str) -> None:
    if override.startswith("stage.student.from"):
        text = PROFILE[: PROFILE.index("[stage.model]")]
        (folder / "mine.toml").write_text(text, encoding="utf-8")
    with pytest.raises(ProfileError, match=told):
        job(folder, override)


def test_prompts_that_are_none_and_a_foreign_tokenizer_are_refused(folder: Path) -> None:
    write_rows(folder / "none.jsonl", [{"answer": "You."}])
    with pytest.raises(DataError, match=r"none\.jsonl: line 1: unknown keys: found answer.*a generate stage cannot"):
        job(folder, "stage.generate.data=none.jsonl")
    job(folder, name="first")[0].run()
    shutil.copytree(folder / "runs/first/sft/model", folder / "elder")
    shutil.copytree(folder / "runs/first/tokenizer", folder / "own")
    path = folder / "elder/tokenizer.json"
    tokenizer = json.loads(path.read_text(encoding="utf-8"))
    tokenizer["model"]["vocab"]["another"] = 400
    path.write_text(json.dumps(tokenizer), encoding="utf-8")
    own = PROFILE.replace('kind = "bytes"', 'path = "own"').replace('"asked.jsonl"', '"asked.jsonl"\nfrom = "elder"')
    (folder / "mine.toml").write_text(own, encoding="utf-8")
    with pytest.raises(ModelError, match="elder: comes with another tokenizer"):
        job(folder, name="second")
    alone = PROFILE[: PROFILE.index("[[stage]]")] + PROFILE[PROFILE.index('[[stage]]\nkind = "generate"') :]
    (folder / "mine.toml").write_text(alone, encoding="utf-8")
    with pytest.raises(ProfileError, match="there is no model that could write, only random weights"):
        job(folder, name="third")


def test_a_written_profile_reads_back_the_same(folder: Path) -> None:
    profile = parse_profile(PROFILE, "here")
    assert parse_profile(profile_text(profile), "again") == profile


def test_what_the_student_reads_is_what_was_written(folder: Path) -> None:
    """Written otherwise, it is another stage: its fingerprint goes by the rows."""
    job(folder)[0].run()
    first = read_metrics(folder / "runs/mine/student/metrics.jsonl")
    other, heard = job(folder, "stage.generate.generate.seed=77", from_stage="generate")
    other.run()
    trained = {event.stage for event in heard if isinstance(event, events.StepFinished)}
    assert trained == {"student"}
    assert read_metrics(folder / "runs/mine/student/metrics.jsonl") != first
