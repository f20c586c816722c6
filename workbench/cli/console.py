"""The headless subscribers: narration with a progress bar for people, JSON lines for programs."""

import json
import math
import sys
import time
from pathlib import Path

from workbench.cells import padded
from workbench.cli.screen import Screen
from workbench.cli.terminal import clipped, one_line
from workbench.events import (
    Diagnosed,
    Event,
    Paused,
    Resumed,
    RowRejected,
    RunFailed,
    RunStarted,
    SampleMade,
    StageFinished,
    StageStarted,
    StepFinished,
    Validated,
    Warned,
    WorkProgressed,
    to_json,
)
from workbench.language import mark, retell, tr
from workbench.narration import count, duration, experts, figure, narrate, preference_words, rate, teacher_words
from workbench.runs.metrics import encode_record
from workbench.runs.store import RunDirectory

PLAIN_INTERVAL_SECONDS = 10.0
_REDRAW_SECONDS = 0.1
_BAR_COLUMNS = 24
_SAMPLE_COLUMNS = 160  # the whole of it is in samples.jsonl
# A new model's first loss differs from ln(vocabulary) by what its initial weights add.
_EXPECTED_DEVIATION = 0.1


class Console:
    """Narrates a run on `screen`: `emitter.subscribe(console)`.

    Args:
        quiet: warnings only.
    """

    def __init__(self, screen: Screen, quiet: bool = False) -> None:
        self._screen = screen
        self._quiet = quiet
        self._first_stage = ""
        self._stage: StageStarted | None = None
        self._unchecked = False
        self._val_loss: float | None = None
        self._drawn_at = -math.inf
        self._told_at = -math.inf
        self._told_task = ""

    def __call__(self, event: Event) -> None:
        """Tell `event`."""
        if isinstance(event, RunStarted):
            self._first_stage = event.stages[0] if event.stages else ""
            self._screen.log_path = RunDirectory(Path(event.directory)).console_log_path
        if self._quiet:
            if isinstance(event, Warned | RowRejected | Diagnosed):
                self._tell(event)
        elif isinstance(event, StepFinished):
            self._check_start(event.loss, tr("loss"))
            self._step(event)
        elif isinstance(event, WorkProgressed):
            self._work(event)
        elif not isinstance(event, RunFailed):  # the command says that once, at its end
            self._other(event)

    def close(self) -> None:
        """Leave the terminal as it was."""
        self._screen.end_live()

    def _other(self, event: Event) -> None:
        if isinstance(event, StageFinished | Paused):
            self._screen.end_live()
        if isinstance(event, SampleMade):
            text = clipped(f"{one_line(event.prompt)} → {one_line(event.text)}", _SAMPLE_COLUMNS)
            self._line(event.at, mark("sample"), f"{event.step:,}  {text}")
        else:
            self._tell(event)
        if isinstance(event, StageStarted):
            self._stage, self._val_loss = event, None
            self._unchecked = event.step == 0 and event.stage == self._first_stage and event.kind == "pretrain"
        elif isinstance(event, Validated):
            self._val_loss = event.val_loss
            self._check_start(event.val_loss, tr("validation loss"))
        elif isinstance(event, Resumed):
            self._drawn_at = -math.inf

    def _tell(self, event: Event) -> None:
        line = narrate(event)
        if line is not None:
            self._line(line.at, line.what, one_line(line.text), line.tone)

    def _line(self, at: float, what: str, text: str, tone: str = "plain") -> None:
        clock = time.strftime("%H:%M:%S", time.localtime(at))
        self._screen.line(f"{clock}  {padded(tr(what), 9)} {text}", tone)

    def _check_start(self, loss: float, name: str) -> None:
        """Once, on the first figure of a new model: a guess among all tokens costs ln(vocabulary)."""
        if self._unchecked and self._stage is not None:
            self._unchecked = False
            text, expected = start_check(loss, name, self._stage.vocab_size)
            if expected:  # the diagnosis speaks of all others, with a cure
                self._line(time.time(), mark("check"), text, "good")

    def _step(self, event: StepFinished) -> None:
        if self._screen.live:
            self._draw(step_line(event, self._val_loss), final=event.step == event.steps)
        elif self._due(f"step {event.stage}", final=event.step == event.steps):
            self._line(event.at, mark("step"), step_text(event))

    def _work(self, event: WorkProgressed) -> None:
        final = event.total is not None and event.done >= event.total
        if self._screen.live:
            self._draw(work_line(event), final)
        elif self._due(f"{event.stage} {event.task}", final):
            task = tr("{place}: {words}", place=one_line(retell(event.task)), words=_amounts(event))
            self._line(event.at, mark("work"), task)
        if final:
            self._screen.end_live()

    def _draw(self, text: str, final: bool) -> None:
        now = time.monotonic()
        if final or now - self._drawn_at >= _REDRAW_SECONDS:
            self._drawn_at = now
            self._screen.update(text)

    def _due(self, task: str, final: bool) -> bool:
        """Whether a plain line about `task` is told now: its first, its last, and one every so often."""
        now = time.monotonic()
        due = final or task != self._told_task or now - self._told_at >= PLAIN_INTERVAL_SECONDS
        if due:
            self._told_at, self._told_task = now, task
        return due


class JsonLines:
    """Writes each event to stdout as one JSON object a line, until nobody reads any more."""

    def __init__(self) -> None:
        self._open = True

    def __call__(self, event: Event) -> None:
        """Write `event`."""
        if not self._open:
            return
        try:
            # Escapes only: the reader need not know which encoding this terminal has.
            record = json.loads(encode_record(to_json(event)))
            sys.stdout.write(json.dumps(record) + "\n")
            sys.stdout.flush()
        except (OSError, ValueError):  # the reader went away; the run does not end for that
            self._open = False


def start_check(loss: float, name: str, vocab_size: int) -> tuple[str, bool]:
    """What a new model's first loss means, and whether it is as expected."""
    guess = math.log(vocab_size)
    figures = tr(
        "{name} starts at {loss:.2f}, ln({tokens:,}) = {guess:.2f}",
        name=name,
        loss=loss,
        tokens=vocab_size,
        guess=guess,
    )
    if abs(loss - guess) <= _EXPECTED_DEVIATION * guess:
        return tr("{figures}: as expected of a model that knows nothing yet", figures=figures), True
    if loss < guess:
        told = tr(
            "{figures}: lower, so these weights have learned before, or the data repeats few tokens", figures=figures
        )
        return told, True
    return (
        tr("{figures}: higher than a blind guess; are initial weights or learning rate too large?", figures=figures),
        False,
    )


def step_text(event: StepFinished) -> str:
    """A report in one plain line."""
    parts = [
        f"{event.step:,}/{event.steps:,}",
        f"{tr('loss')} {figure(event.loss)}{preference_words(event.measures)}{teacher_words(event.measures)}",
        *_speed(event, experts(event.expert_load)),
    ]
    return "  ".join(parts)


def step_line(event: StepFinished, val_loss: float | None) -> str:
    """A report as the live line."""
    parts = [
        f"{event.stage} {bar(event.step, event.steps)} {event.step:,}/{event.steps:,}",
        f"{tr('loss')} {figure(event.loss)}",
        *([] if val_loss is None else [f"{tr('val')} {figure(val_loss)}"]),
    ]
    told = preference_words(event.measures) + teacher_words(event.measures)
    return "  ".join(["  ".join(parts) + told, *_speed(event)])


def _speed(event: StepFinished, more: str = "") -> list[str]:
    """Learning rate, speed and what is left."""
    return [
        f"{tr('lr')} {rate(event.learning_rate)}",
        f"{count(event.tokens_per_second)} {tr('tok/s')}{more}",
        tr("{time} left", time=duration(event.eta_seconds)),
    ]


def work_line(event: WorkProgressed) -> str:
    """Other work as the live line."""
    drawn = f"{bar(event.done, event.total)} " if event.total else ""
    return f"{one_line(retell(event.task))} {drawn}{_amounts(event)}"


def bar(done: int, total: int) -> str:
    """How much of `total` is done, as a bar of fixed width."""
    utf = (sys.stderr.encoding or "").lower().startswith("utf")
    full, empty = ("█", "░") if utf else ("#", ".")
    filled = min(_BAR_COLUMNS, _BAR_COLUMNS * done // max(total, 1))
    return full * filled + empty * (_BAR_COLUMNS - filled)


def _amounts(event: WorkProgressed) -> str:
    of = "" if event.total is None else f"/{event.total:,}"
    return f"{event.done:,}{of} {retell(event.unit)}".rstrip()
