"""What the screens know about one run: a plain object that events change and widgets read."""

import math
from collections import deque
from dataclasses import dataclass, field
from functools import singledispatchmethod
from pathlib import Path
from typing import Literal

from workbench import events
from workbench.narration import Line, narrate
from workbench.tui.series import Series

Status = Literal["starting", "running", "paused", "stopped", "done", "failed", "interrupted"]
Wish = Literal["", "pausing", "continuing", "stopping"]
LOG_LINES = 2000
HIGHLIGHTS = 200
SAMPLES = 500
LIVE: frozenset[str] = frozenset({"starting", "running", "paused"})


@dataclass
class StageState:
    """One stage's curves, samples and figures."""

    name: str
    kind: str = ""
    step: int = 0
    steps: int = 0
    parameters: int = 0
    trained_parameters: int = 0
    vocab_size: int = 0
    tokens_per_step: int = 0
    latest: events.StepFinished | None = None
    best_val_loss: float | None = None
    best_val_step: int | None = None
    train_loss: Series = field(default_factory=Series)
    val_loss: Series = field(default_factory=lambda: Series(limit=None))
    learning_rate: Series = field(default_factory=Series)
    grad_norm: Series = field(default_factory=Series)
    tokens_per_second: Series = field(default_factory=Series)
    samples: deque[events.SampleMade] = field(default_factory=lambda: deque(maxlen=SAMPLES))
    scores: dict[str, float] = field(default_factory=dict)
    measures: dict[str, float] = field(default_factory=dict)  # of the latest step and the latest validation
    teacher: events.TeacherReady | None = None
    written: events.AnswersWritten | None = None  # by a generate stage
    findings: list[events.Diagnosed] = field(default_factory=list)
    peak_learning_rate: float | None = None  # as a person changed it
    done: bool = False

    def cut_back(self, step: int) -> None:
        """Forget what came after `step`: a resumed run does it again."""
        for series in (self.train_loss, self.val_loss, self.learning_rate, self.grad_norm, self.tokens_per_second):
            series.cut_back(step + 1)
        self.findings = [finding for finding in self.findings if finding.step <= step]
        kept = [sample for sample in self.samples if sample.step <= step]
        self.samples.clear()
        self.samples.extend(kept)
        if self.best_val_step is not None and self.best_val_step > step:
            known = [(bucket.low, int(bucket.low_x)) for bucket in self.val_loss.buckets]
            self.best_val_loss, self.best_val_step = min(known, default=(None, None))


class RunState:
    """One run as its engine told it.

    `status` is what the engine said; `wish` is what a person asked for and the engine has not confirmed yet.
    `version` grows with every change, so that a screen can tell whether there is something to draw.
    """

    def __init__(self, name: str = "", directory: Path | None = None) -> None:
        self.name = name
        self.directory = directory
        self.status: Status = "starting"
        self.wish: Wish = ""
        self.device = ""
        self.precision = ""
        self.planned: tuple[str, ...] = ()
        self.stages: dict[str, StageState] = {}
        self.stage_name = ""
        self.task: events.WorkProgressed | None = None
        self.log: deque[Line] = deque(maxlen=LOG_LINES)
        self.highlights: deque[Line] = deque(maxlen=HIGHLIGHTS)  # the log without its quiet lines
        self.logged = 0
        self.failure = ""
        self.failure_log = ""
        self.heard_at = 0.0
        self.version = 0

    @property
    def live(self) -> bool:
        """Whether the engine is still at work, as far as is known."""
        return self.status in LIVE

    @property
    def stage(self) -> StageState | None:
        """The stage at work, or the last one that was."""
        return self.stages.get(self.stage_name)

    @property
    def shown_status(self) -> str:
        """The status for people, with a wish that is not confirmed yet in front of it."""
        return f"{self.wish}…" if self.wish and self.live else self.status

    def ask(self, wish: Wish) -> None:
        """Remember what a person asked for, until the engine confirms it."""
        self.wish = wish
        self.version += 1

    def end(self, status: Status, failure: str = "", log: str = "") -> None:
        """Settle how the run ended when its engine is gone."""
        self.status, self.wish, self.task = status, "", None
        self.failure, self.failure_log = failure or self.failure, log or self.failure_log
        self.version += 1

    def note(self, line: Line) -> None:
        """Put a line into the log."""
        self.version += 1
        self.log.append(line)
        self.logged += 1
        if line.tone != "quiet":
            self.highlights.append(line)

    def begin_again(self) -> None:
        """The run is taken up again: how it ended before counts no more, what it did stays."""
        self.status, self.wish, self.task, self.failure, self.failure_log = "starting", "", None, "", ""

    def apply(self, event: events.Event) -> None:
        """Take in one event."""
        self.version += 1
        self.heard_at = max(self.heard_at, event.at)
        line = narrate(event)
        if line is not None:
            self.note(line)
        self._take(event)

    def _stage(self, name: str) -> StageState:
        return self.stages.setdefault(name, StageState(name))

    @singledispatchmethod
    def _take(self, event: events.Event) -> None:
        """Events that only the log shows."""

    @_take.register
    def _(self, event: events.RunStarted) -> None:
        self.name, self.directory = event.run, Path(event.directory)
        self.planned, self.device, self.precision = tuple(event.stages), event.device, event.precision
        self.status, self.wish, self.failure = "running", "", ""

    @_take.register
    def _(self, event: events.WorkProgressed) -> None:
        self.task = event
        if event.stage:
            self.stage_name = self._stage(event.stage).name

    @_take.register
    def _(self, event: events.TokenizerReady) -> None:
        self.task = None

    @_take.register
    def _(self, event: events.DataReady) -> None:
        self.task = None

    @_take.register
    def _(self, event: events.StageStarted) -> None:
        stage = self._stage(event.stage)
        stage.cut_back(event.step)
        stage.kind, stage.step, stage.steps, stage.done = event.kind, event.step, event.steps, False
        stage.parameters, stage.vocab_size = event.parameters, event.vocab_size
        stage.trained_parameters = event.trained_parameters
        stage.tokens_per_step = event.tokens_per_step
        self.stage_name, self.task, self.status = event.stage, None, "running"

    @_take.register
    def _(self, event: events.StageSkipped) -> None:
        self._stage(event.stage).done = True

    @_take.register
    def _(self, event: events.StepFinished) -> None:
        stage = self._stage(event.stage)
        stage.step, stage.steps, stage.latest = event.step, event.steps, event
        stage.measures |= event.measures
        stage.train_loss.append(event.step, event.loss)
        stage.learning_rate.append(event.step, event.learning_rate)
        stage.grad_norm.append(event.step, event.grad_norm)
        stage.tokens_per_second.append(event.step, event.tokens_per_second)
        self.stage_name, self.task = event.stage, None

    @_take.register
    def _(self, event: events.Validated) -> None:
        stage = self._stage(event.stage)
        stage.val_loss.append(event.step, event.val_loss)
        stage.measures |= event.measures
        best = math.inf if stage.best_val_loss is None else stage.best_val_loss
        if math.isfinite(event.val_loss) and event.val_loss < best:
            stage.best_val_loss, stage.best_val_step = event.val_loss, event.step

    @_take.register
    def _(self, event: events.TeacherReady) -> None:
        self._stage(event.stage).teacher = event

    @_take.register
    def _(self, event: events.AnswersWritten) -> None:
        stage = self._stage(event.stage)
        stage.kind, stage.written, stage.done = "generate", event, event.finished
        for prompt, answer in event.samples:
            told = events.SampleMade(stage=event.stage, step=event.prompts, prompt=prompt, text=answer, seed=0)
            stage.samples.append(told)
        self.stage_name = event.stage
        self.task = None if event.finished else self.task

    @_take.register
    def _(self, event: events.LearningRateChanged) -> None:
        self._stage(event.stage).peak_learning_rate = event.learning_rate

    @_take.register
    def _(self, event: events.Diagnosed) -> None:
        self._stage(event.stage).findings.append(event)

    @_take.register
    def _(self, event: events.SampleMade) -> None:
        self._stage(event.stage).samples.append(event)

    @_take.register
    def _(self, event: events.Paused) -> None:
        self.status, self.wish = "paused", "" if self.wish == "pausing" else self.wish

    @_take.register
    def _(self, event: events.Resumed) -> None:
        self.status, self.wish = "running", "" if self.wish == "continuing" else self.wish

    @_take.register
    def _(self, event: events.StageFinished) -> None:
        self._stage(event.stage).done = True

    @_take.register
    def _(self, event: events.Scored) -> None:
        self._stage(event.stage).scores.update(event.scores)
        self.task = None

    @_take.register
    def _(self, event: events.RunStopped) -> None:
        self.end("stopped")

    @_take.register
    def _(self, event: events.RunFinished) -> None:
        self.end("done")

    @_take.register
    def _(self, event: events.RunFailed) -> None:
        self.end("failed", event.message, event.log)
