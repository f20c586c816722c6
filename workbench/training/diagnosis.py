"""The diagnosis: listens to a stage's figures, and announces what is wrong with them, why, and what helps.

The rules stand in `symptoms.py`; where a number stopped being one is looked for in `nonfinite.py`.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from workbench import events
from workbench.errors import WorkbenchError
from workbench.training.history import History, Report, StageFigures
from workbench.training.symptoms import AT_REPORT, AT_START, AT_VALIDATION, Finding, Rule

MEASURES = ("reward_accuracy", "reward_margin")
"""What an objective may tell of a step beside its loss, and a rule looks at."""
REPEATABLE = {"spike": 5}
"""Findings that may come again, and how often in all; every other one is told once a stage."""


class Diagnosis:
    """A subscriber that watches one stage: `emitter.subscribe(diagnosis)`.

    Args:
        emitter: where findings are announced, as `Diagnosed`.
    """

    def __init__(self, stage: StageFigures, emitter: events.Emitter) -> None:
        self._history, self._emitter = History(stage), emitter
        self._told: dict[str, int] = {}

    def recall(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Take in what metrics.jsonl holds of the stage's earlier starts; what it shows was told then."""
        for finding, _ in _replay(self._history, records):
            self._count(finding)

    def begin(self, step: int) -> None:
        """The stage begins, or goes on, at `step`."""
        if step == 0:
            self._apply(AT_START, step)

    def __call__(self, event: events.Event) -> None:
        """Take in a figure, and announce what it shows."""
        if isinstance(event, events.StepFinished) and event.stage == self._history.stage.name:
            self._history.add_report(_report(vars(event)))
            self._apply(AT_REPORT, event.step)
        elif isinstance(event, events.Validated) and event.stage == self._history.stage.name:
            self._history.add_validation(event.step, event.val_loss)
            self._apply(AT_VALIDATION, event.step)

    def _apply(self, rules: tuple[Rule, ...], step: int) -> None:
        for finding in _findings(rules, self._history):
            if self._count(finding):
                self._emitter.emit(diagnosed(self._history.stage.name, step, finding))

    def _count(self, finding: Finding) -> bool:
        """Whether the finding is to be told."""
        self._told[finding.name] = self._told.get(finding.name, 0) + 1
        return self._told[finding.name] <= REPEATABLE.get(finding.name, 1)


def diagnose(stage: StageFigures, records: Iterable[Mapping[str, Any]]) -> list[tuple[int, Finding]]:
    """What a finished curve shows, as (step, finding), each kind at its first sight: for records of metrics.jsonl."""
    history, found = History(stage), dict[str, tuple[int, Finding]]()
    for finding in _findings(AT_START, history):
        found.setdefault(finding.name, (0, finding))
    for finding, step in _replay(history, records):
        found.setdefault(finding.name, (step, finding))
    return list(found.values())


def diagnosed(stage: str, step: int, finding: Finding) -> events.Diagnosed:
    """The finding as an event."""
    return events.Diagnosed(
        stage=stage,
        step=step,
        finding=finding.name,
        severity=finding.severity,
        since=finding.since,
        cause=finding.cause,
        cure=finding.cure,
    )


def not_finite(
    stage: str, step: int, loss: float, grad_norm: float, precision: str, origin: str = ""
) -> WorkbenchError:
    """What is told of a loss or a gradient that is no number; step `step` (from 1) was not taken.

    Args:
        origin: where the first such number came from, in words.
    """
    remedy = (
        "go on from the last checkpoint with a lower rate (llm-workbench resume RUN --learning-rate VALUE), from an "
        "earlier one (--from-step N), or lower learning_rate or raise warmup and start the stage again"
    )
    if precision == "fp16":
        remedy += "; what float16 cannot hold fits into bf16 and fp32: run.precision"
    told = f"the loss is {loss} and the gradient norm {grad_norm}, so this step was not taken"
    return WorkbenchError(f"stage {stage}, step {step}", f"{told}; {origin}" if origin else told, remedy)


def _replay(history: History, records: Iterable[Mapping[str, Any]]) -> Iterable[tuple[Finding, int]]:
    """What each record shows when it is added to `history`."""
    for record in records:
        step = record.get("step")
        if not isinstance(step, int):
            continue
        if record.get("loss") is not None:
            history.add_report(_report(record))
            yield from ((finding, step) for finding in _findings(AT_REPORT, history))
        if record.get("val_loss") is not None:
            history.add_validation(step, record["val_loss"])
            yield from ((finding, step) for finding in _findings(AT_VALIDATION, history))


def _findings(rules: tuple[Rule, ...], history: History) -> list[Finding]:
    return [finding for rule in rules if (finding := rule(history)) is not None]


def _report(values: Mapping[str, Any]) -> Report:
    """A report from an event's fields or a line of metrics.jsonl, where an objective's own measures stand beside."""
    told = values.get("measures") or values
    return Report(
        step=values["step"],
        loss=values["loss"],
        learning_rate=values.get("learning_rate") or 0.0,
        grad_norm=values.get("grad_norm") or 0.0,
        measures={name: told[name] for name in MEASURES if told.get(name) is not None},
        expert_load=values.get("expert_load") or (),
    )
