"""What the screens know of a run."""

import json
import math
from collections.abc import Callable
from dataclasses import replace

import pytest

from workbench import events
from workbench.events import Event, StepFinished
from workbench.narration import ago, count, duration, figure, rate, size
from workbench.tui.run_state import RunState

MakeStep = Callable[..., StepFinished]


@pytest.fixture
def state(run_beginning: Callable[..., list[Event]]) -> RunState:
    state = RunState("tiny")
    for event in run_beginning():
        state.apply(event)
    return state


def test_a_beginning_is_taken_in(state: RunState) -> None:
    assert (state.status, state.device, state.stage_name) == ("running", "cpu", "pretrain")
    assert state.stage is not None and state.stage.steps == 100
    assert state.planned == ("pretrain", "sft")


def test_a_wish_is_shown_until_the_engine_confirms_it(state: RunState) -> None:
    state.ask("pausing")
    assert (state.status, state.shown_status) == ("running", "pausing…")
    state.apply(events.Paused(stage="pretrain", step=3))
    assert (state.status, state.shown_status) == ("paused", "paused")


def test_a_stop_that_was_asked_for_stays_asked_for_through_a_pause(state: RunState) -> None:
    state.ask("stopping")
    state.apply(events.Paused(stage="pretrain", step=3))
    assert state.shown_status == "stopping…"
    state.apply(events.RunStopped(run="tiny", stage="pretrain", step=3))
    assert (state.shown_status, state.live) == ("stopped", False)


def test_every_validation_point_is_kept(state: RunState, make_step: MakeStep) -> None:
    for number in range(5000):
        state.apply(make_step(number))
        state.apply(
            events.Validated(
                stage="pretrain",
                step=number,
                val_loss=3 - number / 5000,
                val_perplexity=9.0,
                val_bits_per_byte=1.0,
                best=True,
                seconds=0.1,
            )
        )
    assert state.stage is not None
    assert len(state.stage.val_loss) == 5000
    assert len(state.stage.train_loss) <= 1024


def test_a_resumed_stage_goes_back_to_its_checkpoint(
    state: RunState, make_step: MakeStep, run_beginning: Callable[..., list[Event]]
) -> None:
    for number in range(1, 31):
        state.apply(make_step(number))
    stage_started = run_beginning()[-1]
    assert isinstance(stage_started, events.StageStarted)
    values = {**stage_started.__dict__, "step": 20}
    state.apply(events.StageStarted(**values))
    assert state.stage is not None
    assert state.stage.train_loss.buckets[-1].last_x == 20


def test_a_loss_that_is_not_finite_is_counted_and_not_drawn(state: RunState, make_step: MakeStep) -> None:
    state.apply(make_step(1, loss=math.nan))
    assert state.stage is not None
    assert (state.stage.train_loss.nonfinite, len(state.stage.train_loss)) == (1, 0)


def test_failure_keeps_its_reason(state: RunState) -> None:
    state.apply(events.RunFailed(run="tiny", message="no memory", log="/tmp/log"))
    assert (state.status, state.failure, state.failure_log) == ("failed", "no memory", "/tmp/log")


def test_the_log_keeps_steps_apart_from_what_matters(state: RunState, make_step: MakeStep) -> None:
    before = len(state.highlights)
    state.apply(make_step(1))
    assert (len(state.highlights), str(state.log[-1]).split()[1]) == (before, "step")


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (950, "950"), (999.99, "1k"), (4120, "4.12k"), (20_000, "20k"), (29_900_000, "29.9M")]
)
def test_counts_are_short(value: float, text: str) -> None:
    assert count(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.4, "0 s"),
        (42, "42 s"),
        (200, "3 m 20 s"),
        (12_240, "3 h 24 m"),
        (187_200, "2 d 4 h"),
        (None, "-"),
        (math.nan, "-"),
    ],
)
def test_durations_have_two_units(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text


def test_other_numbers_for_people() -> None:
    assert (size(240 << 20), size(1.4 * 2**30), size(12)) == ("240 MiB", "1.4 GiB", "12 B")
    assert (ago(3), ago(40), ago(300), ago(7200)) == ("now", "40 s", "5 m", "2 h")
    assert (figure(2.9412), figure(None), figure(1e-5), figure(math.nan)) == ("2.941", "-", "1.00e-05", "nan")
    assert (rate(2.87e-4), rate(0.0), rate(None)) == ("2.87e-4", "0", "-")


def test_a_student_stands_beside_its_teacher(state: RunState, make_step: MakeStep) -> None:
    ready = {"stage": "pretrain", "teacher": "sft", "parameters": 5, "top_k": 0, "cache_bytes": None}
    state.apply(events.TeacherReady(**ready, from_cache=False))
    state.apply(replace(make_step(1), measures={"kl": 0.4}))
    measured = {"val_loss": 1.0, "val_perplexity": 2.7, "val_bits_per_byte": 1.0, "best": True, "seconds": 0.1}
    state.apply(events.Validated(stage="pretrain", step=1, **measured, measures={"val_agreement": 0.8}))
    stage = state.stages["pretrain"]
    assert stage.teacher is not None and stage.measures == {"kl": 0.4, "val_agreement": 0.8}


def test_what_a_stage_wrote_is_a_sample_and_no_loss(state: RunState) -> None:
    written = {"prompts": 8, "total": 20, "rows": 7, "tokens": 90, "empty": 1, "cut": 2, "unusable": 0, "seconds": 3.0}
    told = events.AnswersWritten(
        stage="generate", **written, path="data.jsonl", finished=True, samples=(("Who?", "You."),)
    )
    state.apply(events.WorkProgressed(stage="generate", task="writing answers", done=8, total=20, unit="prompts"))
    state.apply(told)
    stage = state.stage
    assert stage is not None and stage.name == "generate" and stage.written == told and stage.done
    assert [(sample.prompt, sample.text) for sample in stage.samples] == [("Who?", "You.")]
    assert stage.latest is None and state.task is None
    assert events.from_json(json.loads(json.dumps(events.to_json(told)))) == told
