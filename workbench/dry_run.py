"""A dry run: a few real steps of every stage, to tell what the whole would take from what was measured.

It is the profile itself, cut short, run by a process of its own in a folder that is thrown away: the same data,
evaluations and precision as the run would have, so that nothing is left to assumptions but the number of steps.
"""

import contextlib
import itertools
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from workbench import events
from workbench.baselines import with_baselines
from workbench.config import Profile, StageSettings
from workbench.errors import WorkbenchError
from workbench.profile import parse_profile, profile_text

STEPS = 5  # of a stage; the first is not counted
ANSWERS = 2  # batches of them that a stage writes which trains nothing
NAME = "dry-run"


@dataclass(frozen=True)
class StageTrial:
    """What was measured of a stage.

    Args:
        steps: of the whole stage; None where only its data tell. A prompt is a step of a stage that writes.
        step_seconds: of a step, the median; once_seconds: of everything that happens once (reference, exam, files);
            validation_seconds: of one validation, of which there will be `validations`.
        memory_bytes: of the process at most, while it trained.
        tokens_per_second: at the median step.
    """

    stage: str
    steps: int | None
    step_seconds: float
    once_seconds: float
    validation_seconds: float
    validations: int
    memory_bytes: int
    tokens_per_second: float

    @property
    def seconds(self) -> float | None:
        """Of the whole stage; None where its length is not known."""
        if self.steps is None:
            return None
        return self.steps * self.step_seconds + self.validations * self.validation_seconds + self.once_seconds


@dataclass(frozen=True)
class Trial:
    """What a dry run found.

    Args:
        prepare_seconds: until the first stage: tokenizer and data. The latter are kept for the run itself.
    """

    stages: tuple[StageTrial, ...]
    prepare_seconds: float
    device: str = ""
    precision: str = ""
    threads: int | None = None

    @property
    def seconds(self) -> float | None:
        """Of the whole run; None where the length of a stage is not known."""
        known = [stage.seconds for stage in self.stages]
        if any(each is None for each in known):
            return None
        return self.prepare_seconds + sum(each for each in known if each is not None)

    @property
    def memory_bytes(self) -> int:
        """Of the most demanding stage."""
        return max((stage.memory_bytes for stage in self.stages), default=0)


def shortened(profile: Profile, steps: int = STEPS) -> Profile:
    """The profile with `steps` steps in every stage that takes more, reported one by one."""
    text = profile_text(profile)
    cut = parse_profile(text, NAME).model_copy(deep=True)
    stages = []
    for stage in cut.stage:
        if stage.generate is not None:
            few = min(stage.generate.limit or ANSWERS * stage.batch_size, ANSWERS * stage.batch_size)
            limited = stage.generate.model_copy(update={"limit": few})
            stages.append(stage.model_copy(update={"generate": limited}))
            continue
        changes: dict[str, object] = {"log_every": 1, "evaluate_every": 0, "sample_every": 0, "patience": 0}
        if stage.steps is None or stage.steps > steps:
            changes |= {"steps": steps, "epochs": None, "tokens": None, "warmup": min(stage.warmup, steps - 1)}
        stages.append(stage.model_copy(update=changes))
    return cut.model_copy(update={"run": cut.run.model_copy(update={"name": NAME}), "stage": stages})


def dry_run(
    profile: Profile,
    lengths: dict[str, int | None],
    on_event: Callable[[events.Event], None] = lambda _: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Trial | None:
    """Take a few steps of every stage, and measure them.

    Args:
        lengths: steps of each stage by name, where they are known.
        on_event: hears what happens, as of any run.
        should_stop: looked at with every event; True ends the dry run, and None is returned.
    Raises:
        WorkbenchError: the run fails; says what it said.
    """
    with tempfile.TemporaryDirectory(prefix="llm-workbench-") as folder:
        path = Path(folder) / f"{NAME}.toml"
        path.write_text(profile_text(shortened(profile)), encoding="utf-8")
        command = [sys.executable, "-P", "-m", "workbench.cli", "--workspace", folder, "--profile", str(path), "--json"]
        with (Path(folder) / "problem").open("w+", encoding="utf-8") as problem:
            with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=problem, text=True, encoding="utf-8") as run:
                assert run.stdout is not None
                measures = _Measures(with_baselines(profile), lengths)
                try:
                    for event in _events(run.stdout):
                        on_event(event)
                        measures.note(event)
                        if should_stop():
                            return None
                finally:
                    _end(run)
            if run.returncode:
                problem.seek(0)
                raise WorkbenchError("dry run", _reason(problem.read(), run.returncode))
    return measures.trial()


def _events(lines: IO[str]) -> Iterator[events.Event]:
    for line in lines:
        with contextlib.suppress(ValueError):
            record = json.loads(line)
            event = events.from_json(record) if isinstance(record, dict) else None
            if event is not None:
                yield event


def _end(run: "subprocess.Popen[str]") -> None:
    """Wait for a process that has said everything; stop one that is still at work."""
    if run.stdout is not None and run.poll() is None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            run.wait(timeout=0.5)
    if run.poll() is None:
        run.kill()
    run.wait()


def _reason(told: str, code: int) -> str:
    lines = [line.removeprefix("llm-workbench: ") for line in told.splitlines() if line.strip()]
    return "\n".join(lines) or f"ended with exit code {code}"


@dataclass
class _Measures:
    """What the events of a dry run say."""

    profile: Profile
    lengths: dict[str, int | None]
    began: float = 0.0
    prepared: float = 0.0
    started: events.RunStarted | None = None
    steps: list[events.StepFinished] = field(default_factory=list)
    validations: list[float] = field(default_factory=list)
    stages: list[StageTrial] = field(default_factory=list)

    def note(self, event: events.Event) -> None:
        match event:
            case events.RunStarted():
                self.started, self.began = event, event.at
            case events.StageStarted() if not self.prepared:
                self.prepared = event.at - self.began
                self.began = event.at
            case events.StepFinished():
                self.steps.append(event)
            case events.Validated():
                self.validations.append(event.seconds)
            case events.StageFinished():
                self.stages.append(self._measured(event))
                self.steps, self.validations, self.began = [], [], event.at
            case events.AnswersWritten() if event.finished:
                self.stages.append(self._written(event))
                self.began = event.at

    def _written(self, event: events.AnswersWritten) -> StageTrial:
        stage = next(each for each in self.profile.stage if each.name == event.stage)
        return StageTrial(
            stage=event.stage,
            steps=None if stage.generate is None else stage.generate.limit,
            step_seconds=event.seconds / max(event.prompts, 1),
            once_seconds=max(0.0, event.at - self.began - event.seconds),
            validation_seconds=0.0,
            validations=0,
            memory_bytes=0,
            tokens_per_second=event.tokens_per_second,
        )

    def _measured(self, event: events.StageFinished) -> StageTrial:
        stage = next(each for each in self.profile.stage if each.name == event.stage)
        ends = [0.0, *(step.seconds for step in self.steps)]
        each = [after - before for before, after in itertools.pairwise(ends)]
        step = statistics.median(each[1:] or each or [0.0])
        length = self.lengths.get(event.stage)
        tokens = self.steps[-1].tokens / len(self.steps) if self.steps else 0.0
        return StageTrial(
            stage=event.stage,
            steps=length,
            step_seconds=step,
            once_seconds=max(0.0, event.at - self.began - event.seconds - sum(self.validations)),
            validation_seconds=statistics.fmean(self.validations) if self.validations else 0.0,
            validations=_validations(stage, length) if self.validations else 0,
            memory_bytes=max((each.memory_bytes for each in self.steps), default=0),
            tokens_per_second=tokens / step if step else 0.0,
        )

    def trial(self) -> Trial:
        started = self.started
        if started is None:
            return Trial((), 0.0)
        return Trial(tuple(self.stages), self.prepared, started.device, started.precision, started.threads)


def _validations(stage: StageSettings, steps: int | None) -> int:
    """How often a stage is validated: before the first step, after the last, and between."""
    between = (steps - 1) // stage.evaluate_every if steps and stage.evaluate_every else 0
    return 2 + between
