"""A run written down: from the files alone one knows what happened."""

import dataclasses
import json
import math
from pathlib import Path

import pytest

from workbench.events import (
    CheckpointSaved,
    Emitter,
    Event,
    Paused,
    Resumed,
    RunFailed,
    RunFinished,
    RunStarted,
    RunStopped,
    SampleMade,
    StageFinished,
    StageStarted,
    StepFinished,
    Validated,
    Warned,
    from_json,
)
from workbench.runs.metrics import read_metrics
from workbench.runs.recorder import RunRecorder
from workbench.runs.store import RunDirectory, create_run


def run_started(resumed: bool = False) -> RunStarted:
    return RunStarted(
        run="tiny", directory="", stages=("base", "chat"), device="cpu", precision="fp32", threads=1, resumed=resumed
    )


def stage_started(stage: str = "base", step: int = 0) -> StageStarted:
    return StageStarted(
        stage=stage,
        kind="pretrain",
        step=step,
        steps=10,
        parameters=100,
        trained_parameters=100,
        vocab_size=16,
        tokens_per_step=8,
        flops_per_token=1.0,
        micro_batch_size=1,
    )


def step_finished(step: int, loss: float = 2.0, stage: str = "base") -> StepFinished:
    return StepFinished(
        stage=stage,
        step=step,
        steps=10,
        tokens=step * 8,
        seconds=step * 0.5,
        loss=loss,
        learning_rate=1e-3,
        grad_norm=1.0,
        tokens_per_second=16.0,
        mfu=None,
        memory_bytes=1,
        eta_seconds=1.0,
    )


def validated(step: int, loss: float = 1.0) -> Validated:
    return Validated(
        stage="base",
        step=step,
        val_loss=loss,
        val_perplexity=math.exp(loss),
        val_bits_per_byte=0.5,
        best=True,
        seconds=1.0,
    )


def sample(step: int) -> SampleMade:
    return SampleMade(stage="base", step=step, prompt="once", text="upon [/INST]\x1b[31m", seed=step)


def checkpoint(step: int) -> CheckpointSaved:
    return CheckpointSaved(stage="base", step=step, path="", size_bytes=1, seconds=0.1)


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return create_run(tmp_path, "tiny", "")


def record(run: RunDirectory, *events: Event) -> None:
    emitter = Emitter()
    with RunRecorder(run) as recorder:
        emitter.subscribe(recorder)
        for event in events:
            emitter.emit(event)


def recorded_events(run: RunDirectory) -> list[Event | None]:
    return [from_json(each) for each in read_metrics(run.events_path)]


def test_every_event_is_kept_and_reads_back_equal(run: RunDirectory) -> None:
    events = [run_started(), stage_started(), step_finished(1), Warned(stage="", message="春\x1b"), validated(1)]
    record(run, *events)
    assert recorded_events(run) == events


def test_a_report_and_its_validation_are_one_object(run: RunDirectory) -> None:
    record(run, stage_started(), step_finished(1), step_finished(2), checkpoint(2), validated(2), step_finished(3))
    records = read_metrics(run.stage("base").metrics)
    assert [each["step"] for each in records] == [1, 2, 3]
    assert set(records[0]) == {
        "step",
        "tokens",
        "seconds",
        "loss",
        "learning_rate",
        "grad_norm",
        "tokens_per_second",
        "mfu",
        "memory_bytes",
        "utilisation",
    }
    assert set(records[1]) - set(records[0]) == {"val_loss", "val_perplexity", "val_bits_per_byte"}


def test_the_load_of_experts_is_kept_by_layer_and_absent_without_experts(run: RunDirectory) -> None:
    load = ((0.25, 0.75), (0.5, 0.5))
    with RunRecorder(run) as recorder:
        recorder(stage_started())
        recorder(step_finished(1))
        recorder(dataclasses.replace(step_finished(2), balance_loss=1.1, router_z_loss=2.0, expert_load=load))
    dense, routed = read_metrics(run.stage("base").metrics)
    assert not dense.keys() & {"balance_loss", "router_z_loss", "expert_load"}
    assert routed["expert_load"] == [[0.25, 0.75], [0.5, 0.5]]
    assert (routed["balance_loss"], routed["router_z_loss"]) == (1.1, 2.0)


def test_a_validation_before_any_report_stands_alone(run: RunDirectory) -> None:
    record(run, stage_started(), validated(0), step_finished(1))
    assert [(each["step"], "loss" in each) for each in read_metrics(run.stage("base").metrics)] == [
        (0, False),
        (1, True),
    ]


def test_samples_are_kept_with_step_prompt_and_seed(run: RunDirectory) -> None:
    record(run, stage_started(), sample(5))
    (kept,) = read_metrics(run.stage("base").samples)
    assert (kept["step"], kept["prompt"], kept["text"], kept["seed"]) == (5, "once", "upon [/INST]\x1b[31m", 5)


def test_a_killed_and_resumed_run_has_each_step_once(run: RunDirectory) -> None:
    straight = [
        event for step in range(1, 7) for event in (step_finished(step, 1 / step), validated(step), sample(step))
    ]
    record(run, run_started(), stage_started(), *straight)
    uninterrupted = run.stage("base").metrics.read_bytes()

    first = [*straight[:12], checkpoint(4)]  # up to step 4, then two steps that the checkpoint does not hold
    record(run, run_started(), stage_started(), *first, step_finished(5, 9.0), sample(5))
    record(run, run_started(resumed=True), stage_started(step=4), *straight[12:])

    assert run.stage("base").metrics.read_bytes() == uninterrupted
    assert [each["step"] for each in read_metrics(run.stage("base").samples)] == [1, 2, 3, 4, 5, 6]
    assert len([event for event in recorded_events(run) if isinstance(event, RunStarted)]) == 3


def test_a_stage_run_again_from_its_start_begins_empty(run: RunDirectory) -> None:
    record(run, stage_started(), validated(0), sample(0), step_finished(1))
    record(run, stage_started(step=0))
    assert read_metrics(run.stage("base").metrics) == []
    assert read_metrics(run.stage("base").samples) == []


def test_stages_do_not_mix(run: RunDirectory) -> None:
    record(run, stage_started(), step_finished(1), stage_started("chat"), step_finished(1, stage="chat", loss=0.5))
    assert [each["loss"] for each in read_metrics(run.stage("base").metrics)] == [2.0]
    assert [each["loss"] for each in read_metrics(run.stage("chat").metrics)] == [0.5]


def test_a_diverged_loss_is_recorded_as_such(run: RunDirectory) -> None:
    record(run, stage_started(), step_finished(1, math.nan))
    (kept,) = read_metrics(run.stage("base").metrics)
    assert (kept["loss"], kept["nonfinite"]) == (None, {"loss": "nan"})
    assert json.loads(run.state_path.read_text(encoding="utf-8"), parse_constant=pytest.fail)


@pytest.mark.parametrize(
    ("event", "status"),
    [
        (Paused(stage="base", step=3), "paused"),
        (Resumed(stage="base", step=3), "running"),
        (RunStopped(run="tiny", stage="base", step=3), "stopped"),
        (RunFailed(run="tiny", message="out of memory", log=""), "failed"),
        (RunFinished(run="tiny", seconds=1.0, scores={}, report=""), "done"),
    ],
)
def test_the_state_follows_the_run(run: RunDirectory, event: Event, status: str) -> None:
    recorder = RunRecorder(run)
    for each in (run_started(), stage_started(), step_finished(3), event):
        recorder(each)
    state = run.state()  # before the recorder is closed: as another process sees it
    recorder.close()
    assert (state.status, state.stage, state.step, state.steps) == (status, "base", 3, 10)
    assert state.stages == ("base", "chat")
    assert state.message == ("out of memory" if status == "failed" else "")
    assert state.heartbeat >= state.updated_at == event.at


def test_a_new_stage_does_not_show_the_losses_of_the_last(run: RunDirectory) -> None:
    record(run, run_started(), stage_started(), step_finished(1), validated(1), stage_started("chat"))
    state = run.state()
    assert (state.stage, state.loss, state.val_loss) == ("chat", None, None)


def test_a_finished_stage_shows_its_last_step(run: RunDirectory) -> None:
    finished = StageFinished(
        stage="base",
        kind="pretrain",
        steps=10,
        tokens=80,
        seconds=1,
        tokens_per_second=80,
        model="",
        before={},
        after={},
    )
    record(run, run_started(), stage_started(), finished)
    assert (run.state().step, run.state().steps) == (10, 10)


def test_figures_that_cannot_be_written_are_a_failure_and_no_gap(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = create_run(tmp_path, "tiny", "")
    emitter = Emitter()
    with RunRecorder(run) as recorder:
        emitter.subscribe(recorder)
        emitter.emit(run_started())
        with monkeypatch.context() as patch:
            patch.setattr("workbench.runs.metrics.RecordWriter.write", full_disk)
            emitter.emit(stage_started())
        assert recorder.failure is not None
        emitter.emit(RunFailed(run="tiny", message="the disk is full", log=""))
    assert run.state().status == "failed"


def full_disk(*_: object) -> None:
    raise OSError(28, "No space left on device")
