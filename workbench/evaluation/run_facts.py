"""What the files of a run directory say about it, however far the run came."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tomli

from workbench.errors import RunError
from workbench.events import (
    AnswersWritten,
    DataMixed,
    DataReady,
    Diagnosed,
    Event,
    RunFinished,
    RunRolledBack,
    RunStarted,
    Scored,
    StageFinished,
    StageStarted,
    StepFinished,
    StudentCompared,
    TeacherReady,
    TokenizerReady,
    Validated,
    Warned,
    WeightsAdapted,
    from_json,
)
from workbench.runs.compare import curve
from workbench.runs.reference import find_reference
from workbench.runs.store import RunDirectory

Record = dict[str, Any]
_OF_A_STAGE = (
    *(DataReady, DataMixed, StageStarted, StepFinished, Validated, StageFinished, Scored, WeightsAdapted),
    *(TeacherReady, StudentCompared, AnswersWritten),
)


@dataclass
class StageFacts:
    """One stage as far as it came.

    Args:
        active_parameters: what one token is computed with, in a mixture of experts; else 0.
        before: measures at its first step; after: at its last so far.
        metrics, samples, answers: the records of its files.
        teacher, compared: of a distill stage, whom it learns from, and how the two stand side by side.
        written: of a generate stage, what it wrote so far.
        updates: size of LoRA's update by layer, as a share of its matrix; empty where the weights themselves moved.
        standing: how its loss stands against the reference runs of its profile, as sentences with their values.
    """

    name: str
    kind: str = ""
    steps: int = 0
    tokens: int = 0
    seconds: float = 0.0
    tokens_per_second: float = 0.0
    parameters: int = 0
    trained_parameters: int = 0
    active_parameters: int = 0
    finished: bool = False
    before: dict[str, float] = field(default_factory=dict)
    after: dict[str, float] = field(default_factory=dict)
    data: DataReady | None = None
    mixed: DataMixed | None = None
    metrics: list[Record] = field(default_factory=list)
    samples: list[Record] = field(default_factory=list)
    answers: list[Record] = field(default_factory=list)
    updates: dict[str, float] = field(default_factory=dict)
    standing: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    teacher: TeacherReady | None = None
    compared: StudentCompared | None = None
    written: AnswersWritten | None = None

    @property
    def peak_memory_bytes(self) -> int:
        """The most memory that a step was reported with."""
        return int(max((record.get("memory_bytes") or 0 for record in self.metrics), default=0))


@dataclass
class RunFacts:
    """One run as far as it came.

    Args:
        seconds: the time its processes ran, from each start to the last thing heard of it.
        scores: the latest ones.
        findings: what the diagnosis told, and where a person went back to an earlier checkpoint, in their order.
        profile, resolved, state: what these files hold; empty where they are missing or damaged.
    """

    name: str
    profile: Record
    resolved: Record
    state: Record
    stages: dict[str, StageFacts] = field(default_factory=dict)
    scores: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    started: RunStarted | None = None
    tokenizer: TokenizerReady | None = None
    warnings: list[str] = field(default_factory=list)
    findings: list[Diagnosed | RunRolledBack] = field(default_factory=list)

    @property
    def device(self) -> str:
        """What it was computed on."""
        return str(self.resolved.get("device") or (self.started.device if self.started else ""))


def gather(directory: Path) -> RunFacts:
    """Everything the report tells.

    Raises:
        RunError: the directory holds no run.
    """
    if not any((directory / name).is_file() for name in ("profile.toml", "state.json", "events.jsonl")):
        raise RunError(str(directory), "holds no run", "give the directory of a run, such as runs/NAME")
    facts = RunFacts(
        name=directory.resolve().name,
        profile=_read_toml(directory / "profile.toml"),
        resolved=_read_object(directory / "resolved.json"),
        state=_read_object(directory / "state.json"),
    )
    _follow(facts, _read_events(directory / "events.jsonl"))
    for stage in facts.stages.values():
        stage.metrics = list(_read_records(directory / stage.name / "metrics.jsonl"))
        stage.samples = list(_read_records(directory / stage.name / "samples.jsonl"))
        stage.answers = list(_read_records(directory / stage.name / "answers.jsonl"))
        reference = find_reference(RunDirectory(directory), stage.name)
        if reference is not None:
            stage.standing = reference.standing(curve(stage.metrics, "loss"))
    return facts


def _follow(facts: RunFacts, events: Iterator[Event]) -> None:
    """Let `events` tell the story, in order."""
    last_at = None
    for event in events:
        if last_at is not None and not isinstance(event, RunStarted):
            facts.seconds += max(0.0, event.at - last_at)
        last_at = event.at
        _note(facts, event)
        name = getattr(event, "stage", "")
        if name and isinstance(event, _OF_A_STAGE):
            _note_stage(facts.stages.setdefault(name, StageFacts(name)), event)


def _note(facts: RunFacts, event: Event) -> None:
    match event:
        case RunStarted():
            facts.started = event
        case TokenizerReady():
            facts.tokenizer = event
        case Warned() if event.message not in facts.warnings:
            facts.warnings.append(event.message)
        case Diagnosed() | RunRolledBack():
            facts.findings.append(event)
        case Scored() | RunFinished() if event.scores:
            facts.scores = dict(event.scores)


def _note_stage(stage: StageFacts, event: Event) -> None:
    match event:
        case DataReady():
            stage.data = event
        case DataMixed():
            stage.mixed = event
        case StageStarted():
            stage.kind, stage.parameters = event.kind, event.parameters
            stage.trained_parameters = event.trained_parameters
            stage.active_parameters = event.active_parameters or 0
            if event.step == 0:  # it begins, perhaps again: what it was before does not count
                stage.finished, stage.steps, stage.after, stage.updates = False, 0, {}, {}
        case StepFinished():
            stage.steps, stage.tokens, stage.seconds = event.step, event.tokens, event.seconds
            stage.tokens_per_second = event.tokens / event.seconds if event.seconds > 0 else 0.0
        case Validated():
            measured = {key: getattr(event, key) for key in ("val_loss", "val_perplexity", "val_bits_per_byte")}
            measured |= event.measures
            (stage.before if event.step == 0 else stage.after).update(measured)
        case TeacherReady():
            stage.teacher = event
        case StudentCompared():
            stage.compared = event
        case AnswersWritten():
            stage.written, stage.kind, stage.finished = event, "generate", event.finished
            stage.tokens, stage.seconds = event.tokens, event.seconds
            stage.tokens_per_second = event.tokens_per_second
        case WeightsAdapted():
            stage.updates = dict(event.updates)
        case Scored():
            (stage.after if stage.steps else stage.before).update(event.scores)
        case StageFinished():
            stage.finished, stage.kind, stage.steps, stage.tokens = True, event.kind, event.steps, event.tokens
            stage.seconds, stage.tokens_per_second = event.seconds, event.tokens_per_second
            stage.before = {**stage.before, **event.before}
            stage.after = {**stage.after, **event.after}


def _read_events(path: Path) -> Iterator[Event]:
    for record in _read_records(path):
        event = from_json(record)
        if event is not None:
            yield event


def _read_records(path: Path) -> Iterator[Record]:
    """The objects of a JSONL file; a line that was cut off, or a missing file, gives none."""
    if not path.is_file():
        return
    with path.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            try:
                record = json.loads(line)
            except ValueError:
                continue
            if isinstance(record, dict):
                yield record


def _read_object(path: Path) -> Record:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def _read_toml(path: Path) -> Record:
    try:
        return tomli.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
