"""A profile becomes a run: what is done, what stands, what is refused, and what a killed run is worth."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from workbench import events
from workbench.config import Profile
from workbench.control import Control
from workbench.errors import DataError, DeviceError, ModelError, RunError, UsageError, WorkbenchError
from workbench.jobs import Job, resume_job
from workbench.profile import read_profile
from workbench.runs.metrics import MetricsWriter, read_metrics
from workbench.tokenizer.tokenizer import Tokenizer

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
sample_every = 4
checkpoint_every = 3
prompts = ["The"]
sample_tokens = 4
[[stage]]
kind = "sft"
data = "chat.jsonl"
sequence_length = 64
batch_size = 4
steps = 4
log_every = 1
prompts = ["Who?"]
sample_tokens = 4
[evaluate]
questions = "questions.jsonl"
max_new_tokens = 4
"""

PROMISED = """
profile.toml resolved.json state.json events.jsonl report.md report.json tokenizer/tokenizer.json
pretrain/metrics.jsonl pretrain/samples.jsonl pretrain/answers.jsonl pretrain/model/config.json
sft/model/model.safetensors sft/model/tokenizer.json sft/model/chat_template.jinja sft/model/lineage.json
sft/checkpoints/step-000004/resume/state.json
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a profile and its data, and a cache of its own."""
    monkeypatch.setenv("LLM_WORKBENCH_HOME", str(tmp_path / "home"))
    write_rows(tmp_path / "text.jsonl", [{"text": f"The number {n} follows {n - 1}."} for n in range(80)])
    write_rows(tmp_path / "chat.jsonl", [talk(f"Who is {n}?", f"{n}.") for n in range(40)])
    write_rows(tmp_path / "questions.jsonl", [{"question": "Who is 1?", "answer": "1.", "language": "en"}])
    (tmp_path / "mine.toml").write_text(PROFILE, encoding="utf-8")
    return tmp_path


def talk(question: str, answer: str) -> dict[str, Any]:
    messages = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return {"conversations": messages}


def write_rows(path: Path, rows: list[Any]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def profile(folder: Path, *overrides: str) -> Profile:
    return read_profile(str(folder / "mine.toml"), overrides)


def job(folder: Path, *overrides: str, **settings: Any) -> tuple[Job, list[events.Event]]:
    heard: list[events.Event] = []
    emitter = events.Emitter()
    emitter.subscribe(heard.append)
    return Job(profile(folder, *overrides), workspace=folder / "runs", emitter=emitter, **settings), heard


def losses(folder: Path, run: str, stage: str) -> dict[int, float]:
    records = read_metrics(folder / "runs" / run / stage / "metrics.jsonl")
    return {record["step"]: record["loss"] for record in records if "loss" in record}


def kinds(heard: list[events.Event]) -> list[str]:
    return [type(event).__name__ for event in heard]


def test_a_run_holds_all_that_it_promises(folder: Path) -> None:
    outcome = job(folder)[0].run()
    run = folder / "runs" / "mine"
    assert outcome.status == "done" and outcome.directory == run
    for name in PROMISED.split():
        assert (run / name).is_file(), name
    report = json.loads((run / "report.json").read_text(encoding="utf-8"))
    assert [stage["name"] for stage in report["stages"]] == ["pretrain", "sft"]
    assert set(report["scores"]) == {"exact_match", "exact_match.en"}
    assert report["stages"][1]["before"]["val_loss"] > 0
    assert json.loads((run / "sft/model/lineage.json").read_text(encoding="utf-8"))["stages"] == [
        {"name": "pretrain", "kind": "pretrain"},
        {"name": "sft", "kind": "sft"},
    ]


def test_the_same_profile_again_does_nothing_twice(folder: Path) -> None:
    job(folder)[0].run()
    again, heard = job(folder)
    again.run()
    assert kinds(heard).count("StageSkipped") == 2
    assert "StepFinished" not in kinds(heard)


def test_another_cadence_is_no_other_run(folder: Path) -> None:
    job(folder)[0].run()
    again, heard = job(folder, "stage.pretrain.log_every=2", "stage.sft.keep=1")
    again.run()
    assert kinds(heard).count("StageSkipped") == 2


def test_new_questions_are_asked_without_training_again(folder: Path) -> None:
    job(folder)[0].run()
    write_rows(folder / "questions.jsonl", [{"question": "Who is 2?", "answer": "2.", "language": "zh"}])
    again, heard = job(folder)
    again.run()
    assert "StepFinished" not in kinds(heard)
    report = json.loads((folder / "runs/mine/report.json").read_text(encoding="utf-8"))
    assert "exact_match.zh" in report["scores"]


def test_another_setting_is_refused_with_the_difference_and_the_choices(folder: Path) -> None:
    job(folder)[0].run()
    with pytest.raises(RunError) as caught:
        job(folder, "stage.sft.learning_rate=0.5")
    for told in ("stage.sft.learning_rate: was 0.001, is now 0.5", "--name NEW", "--from sft"):
        assert told in str(caught.value)


def test_more_steps_are_offered_where_nothing_else_differs(folder: Path) -> None:
    job(folder)[0].run()
    with pytest.raises(RunError, match=r"llm-workbench resume mine --steps 9"):
        job(folder, "stage.sft.steps=9")


def test_a_stage_can_be_run_again_and_what_it_made_is_kept_aside(folder: Path) -> None:
    job(folder)[0].run()
    again, heard = job(folder, "stage.sft.learning_rate=0.01", from_stage="sft")
    again.run()
    assert kinds(heard).count("StageSkipped") == 1
    assert list((folder / "runs/mine/.earlier").glob("sft-*/model/config.json"))


def test_a_finished_run_goes_on_for_more_steps(folder: Path) -> None:
    job(folder)[0].run()
    first = losses(folder, "mine", "sft")
    longer = resume_job(folder / "runs/mine", steps=6)
    longer.run()
    after = losses(folder, "mine", "sft")
    assert sorted(after) == [1, 2, 3, 4, 5, 6]
    assert {step: after[step] for step in first} == first


def test_fewer_steps_than_taken_are_not_offered(folder: Path) -> None:
    job(folder)[0].run()
    with pytest.raises(RunError) as caught:
        job(folder, "stage.sft.steps=3")
    assert "resume" not in str(caught.value)


def test_fewer_steps_than_taken_are_refused(folder: Path) -> None:
    job(folder)[0].run()
    with pytest.raises(RunError, match="has already taken 4 steps, more than the 2 asked for"):
        resume_job(folder / "runs/mine", steps=2).run()


def test_a_run_that_never_began_leaves_nothing_behind(folder: Path) -> None:
    write_rows(folder / "chat.jsonl", [{"conversations": []}, {"nothing": 1}])
    with pytest.raises(DataError, match=r"chat\.jsonl"):
        job(folder)[0].run()
    assert not (folder / "runs" / "mine").exists()


def test_a_model_that_memory_can_never_hold_is_refused_at_once(folder: Path) -> None:
    sizes = ("model.hidden_size=65536", "model.num_hidden_layers=100000")
    with pytest.raises(DeviceError, match="make the model smaller"):
        job(folder, *sizes)[0].run()
    assert not (folder / "runs" / "mine").exists()


@pytest.mark.parametrize("override", ["model.path={}", "stage.sft.from={}", "tokenizer.path={}"])
def test_a_folder_that_is_no_model_is_told_before_anything_starts(folder: Path, override: str) -> None:
    (folder / "empty").mkdir()
    text = (folder / "mine.toml").read_text(encoding="utf-8")
    if "model.path" in override:
        (folder / "mine.toml").write_text(text.replace("hidden_size", "#").replace("num_", "#").replace("max_", "#"))
    with pytest.raises(UsageError, match="empty"):
        job(folder, override.format(folder / "empty"))
    assert not (folder / "runs").exists()


def test_rows_longer_than_a_models_context_are_told_before_anything_starts(folder: Path) -> None:
    job(folder)[0].run()
    start = f"stage.sft.from={folder / 'runs/mine/pretrain/model'}"
    with pytest.raises(ModelError, match=r"stage\.sft\.sequence_length: 65 is longer"):
        job(folder, "model.max_position_embeddings=65", "stage.sft.sequence_length=65", start, name="other")
    assert not (folder / "runs" / "other").exists()


def test_broken_questions_are_told_before_anything_starts(folder: Path) -> None:
    (folder / "questions.jsonl").write_text('{"question": "Who?"}\n', encoding="utf-8")
    with pytest.raises(DataError, match="line 1"):
        job(folder)


def test_a_changed_data_file_does_not_go_on_in_silence(folder: Path) -> None:
    job(folder)[0].run()
    write_rows(folder / "chat.jsonl", [talk("a", "b")] * 30)
    with pytest.raises(RunError, match="--from sft"):
        job(folder)[0].run()


def test_a_stopped_run_goes_on_where_it_was(folder: Path) -> None:
    whole, _ = job(folder, name="whole")
    whole.run()
    control = Control()
    stopped, _ = job(folder, name="stopped", control=control)
    stopped.emitter.subscribe(lambda event: control.stop() if getattr(event, "step", 0) == 5 else None)
    assert stopped.run().status == "stopped"
    assert stopped.directory.state().status == "stopped"
    resume_job(folder / "runs/stopped").run()
    for stage in ("pretrain", "sft"):
        assert losses(folder, "stopped", stage) == losses(folder, "whole", stage)


RUNNER = """
import sys
from pathlib import Path
from workbench.jobs import Job
from workbench.profile import read_profile
folder = Path(sys.argv[1])
profile = read_profile(str(folder / "mine.toml"), ["stage.pretrain.steps=60"])
Job(profile, name=sys.argv[2], workspace=folder / "runs").run()
"""


@pytest.mark.parametrize("seen", [2, 20])
def test_a_killed_run_continues_its_losses_exactly(folder: Path, seen: int) -> None:
    command = [sys.executable, "-c", RUNNER, str(folder)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen([*command, "killed"], env=environment)
    while len(losses(folder, "killed", "pretrain")) < seen:
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    subprocess.run([*command, "killed"], env=environment, check=True)
    subprocess.run([*command, "whole"], env=environment, check=True)
    for stage in ("pretrain", "sft"):
        assert losses(folder, "killed", stage) == losses(folder, "whole", stage)


def test_two_processes_do_not_write_one_run(folder: Path) -> None:
    running, _ = job(folder)
    refusals: list[str] = []

    def intrude(event: events.Event) -> None:
        if isinstance(event, events.StageStarted) and not refusals:
            # as another process would: the lock is the file's, so this process's own may not be taken twice either
            with pytest.raises(RunError) as caught:
                job(folder)[0].run()
            refusals.append(str(caught.value))

    running.emitter.subscribe(intrude)
    running.run()
    assert "is at work on it" in refusals[0]


def test_wishes_of_another_process_are_obeyed(folder: Path) -> None:
    running, heard = job(folder)
    commands = folder / "runs/mine/commands.jsonl"

    def wish(event: events.Event) -> None:
        if isinstance(event, events.StageStarted):
            commands.write_text('{"command": "sample"}\nnonsense\n{"command": "stop"}\n', encoding="utf-8")

    running.emitter.subscribe(wish)
    assert running.run().status == "stopped"
    assert "SampleMade" in kinds(heard)
    assert any("nonsense" in event.message for event in heard if isinstance(event, events.Warned))


def test_a_crash_is_a_message_with_a_log(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workbench.job_stage.initialize", lambda *_: 1 / 0)
    failing, heard = job(folder)
    with pytest.raises(WorkbenchError, match="ZeroDivisionError") as caught:
        failing.run()
    assert "error.log" in str(caught.value)
    assert "Traceback" in (folder / "runs/mine/error.log").read_text(encoding="utf-8")
    assert failing.directory.state().status == "failed"
    assert kinds(heard)[-1] == "RunFailed"


def test_a_full_disk_is_told_in_words(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr("workbench.job_stage.initialize", fail)
    monkeypatch.setattr(Path, "write_text", lambda *_, **__: fail_to_write())
    with pytest.raises(WorkbenchError, match="the disk is full; free some space and start it again"):
        job(folder)[0].run()


def test_a_run_whose_figures_cannot_be_written_ends_and_goes_on_without_a_gap(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = MetricsWriter.write

    def full_at_step_5(writer: MetricsWriter, record: dict[str, Any]) -> None:
        if record.get("step") == 5:
            fail_to_write()
        write(writer, record)

    with monkeypatch.context() as patch:
        patch.setattr(MetricsWriter, "write", full_at_step_5)
        with pytest.raises(WorkbenchError, match="the disk is full"):
            job(folder)[0].run()
    job(folder)[0].run()
    job(folder, name="whole")[0].run()
    assert losses(folder, "mine", "pretrain") == losses(folder, "whole", "pretrain")


def fail_to_write() -> None:
    raise OSError(28, "No space left on device")


def test_weights_come_with_their_tokenizer(folder: Path) -> None:
    job(folder, name="small")[0].run()
    model = folder / "runs/small/pretrain/model"
    further, heard = job(folder, "tokenizer.kind=bpe", "tokenizer.vocab_size=320", f"stage.pretrain.from={model}")
    further.run()
    theirs = Tokenizer.load(folder / "runs/mine/tokenizer").vocabulary
    assert theirs == Tokenizer.load(model).vocabulary
    warnings = [event.message for event in heard if isinstance(event, events.Warned)]
    assert any("tokenizer.vocab_size: not used" in message for message in warnings)


def test_weights_under_another_tokenizer_are_refused(folder: Path) -> None:
    job(folder, name="small")[0].run()
    job(folder, "tokenizer.kind=bpe", "tokenizer.vocab_size=320", name="other")[0].run()
    model, other = folder / "runs/small/pretrain/model", folder / "runs/other/tokenizer"
    with pytest.raises(ModelError, match="comes with another tokenizer"):
        job(folder, f"tokenizer.path={other}", f"stage.pretrain.from={model}", name="big")
    with pytest.raises(ModelError, match="comes with another tokenizer"):
        job(folder, "tokenizer.kind=bpe", "tokenizer.vocab_size=320", f"stage.sft.from={model}", name="big")


def test_other_weights_of_the_same_size_are_another_beginning(folder: Path) -> None:
    for name, seed in (("one", 1), ("two", 2)):
        job(folder, f"run.seed={seed}", name=name)[0].run()
    job(folder, f"stage.pretrain.from={folder / 'runs/one/pretrain/model'}")[0].run()
    shutil.rmtree(folder / "runs/one/pretrain/model")
    shutil.move(folder / "runs/two/pretrain/model", folder / "runs/one/pretrain/model")
    with pytest.raises(RunError, match="has changed since"):
        job(folder, f"stage.pretrain.from={folder / 'runs/one/pretrain/model'}")[0].run()


@pytest.mark.parametrize("file", ["model.safetensors", "resume/optimizer.safetensors", "resume/state.json"])
def test_a_damaged_checkpoint_is_told_with_what_to_do(folder: Path, file: str) -> None:
    job(folder)[0].run()
    shutil.rmtree(folder / "runs/mine/sft/model")
    newest = max((folder / "runs/mine/sft/checkpoints").iterdir())
    (newest / file).write_bytes((newest / file).read_bytes()[:40])
    with pytest.raises(UsageError, match=r"delete .* to go on from the one before"):
        job(folder)[0].run()
    shutil.rmtree(newest)
    job(folder)[0].run()


def test_memory_that_does_not_suffice_on_the_way_is_told_as_such(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 99 bytes")

    monkeypatch.setattr("workbench.job_stage.initialize", fail)
    with pytest.raises(DeviceError, match="memory does not suffice"):
        job(folder)[0].run()


def test_a_step_that_was_saved_before_it_was_validated_stays_the_best(folder: Path) -> None:
    settings = ("stage.pretrain.steps=4", "stage.pretrain.checkpoint_every=2", "stage.pretrain.evaluate_every=2")
    first, _ = job(folder, *settings)
    first.emitter.subscribe(
        lambda event: first.control.stop() if isinstance(event, events.Validated) and event.step == 2 else None
    )
    first.run()
    metrics = folder / "runs/mine/pretrain/metrics.jsonl"
    records = read_metrics(metrics)
    write_rows(metrics, [{**record, "val_loss": 0.01} if record["step"] == 2 else record for record in records])
    again, heard = job(folder, *settings)
    again.run()
    assert next(event.best for event in heard if isinstance(event, events.Validated) and event.step == 4) is False


def test_data_too_small_to_set_some_apart_is_told(folder: Path) -> None:
    write_rows(folder / "chat.jsonl", [talk("Who?", "You.")])
    running, heard = job(folder)
    running.run()
    warnings = {event.stage: event.message for event in heard if isinstance(event, events.Warned)}
    assert "too few documents to set some apart" in warnings["sft"]
    assert "pretrain" not in warnings


def test_data_of_which_nothing_can_be_used_is_told_before_anything_starts(folder: Path) -> None:
    write_rows(folder / "chat.jsonl", [{"text": "no conversation"}, {"other": 1}])
    with pytest.raises(DataError, match=r"stage\.sft\.data: .*chat\.jsonl: line 1"):
        job(folder)
    (folder / "chat.jsonl").write_text("", encoding="utf-8")
    with pytest.raises(DataError, match="there is no row"):
        job(folder)
    assert not (folder / "runs/mine").exists()


def test_a_chat_with_the_model_in_training_is_with_a_copy(folder: Path) -> None:
    running, _ = job(folder, "stage.pretrain.steps=40")
    texts: list[str] = []

    def listen() -> None:
        session = running.chat_session()
        assert session.mode == "completion"
        texts.append("".join(session.send("The")))

    thread = threading.Thread(target=listen)
    running.emitter.subscribe(
        lambda event: (
            thread.start()
            if isinstance(event, events.StepFinished) and event.step == 1 and event.stage == "pretrain"
            else None
        )
    )
    running.run()
    thread.join(30)
    assert len(texts) == 1
    quiet, _ = job(folder, "stage.pretrain.steps=40", name="quiet")
    quiet.run()
    assert losses(folder, "mine", "pretrain") == losses(folder, "quiet", "pretrain")
