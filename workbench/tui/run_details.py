"""What the Home screen tells of one run, read from its directory."""

import time
from dataclasses import dataclass, field, replace

from workbench.cells import wrap
from workbench.language import retell, tr
from workbench.narration import NOW_SECONDS, ago, figure, size
from workbench.runs.metrics import read_metrics
from workbench.runs.store import RunDirectory, RunSummary
from workbench.tui.series import Series
from workbench.tui.widgets.figures import Figure
from workbench.tui.widgets.line_chart import Shown
from workbench.tui.widgets.spark import spark
from workbench.tui.widgets.top_bar import STATUS_WORDS

NARROWEST = 20  # cells in which words are still wrapped
COLOURS = ("primary", "accent", "success", "warning")


@dataclass(frozen=True)
class StageDetails:
    """A stage's curve and its best validation loss; `steps` says at which step each loss was measured."""

    name: str
    losses: list[float]
    best_val_loss: float | None
    best_step: int
    checkpoints: int
    steps: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class RunDetails:
    """A run's summary with what takes reading files to know."""

    summary: RunSummary
    message: str
    device: str
    size_bytes: int
    stages: list[StageDetails] = field(default_factory=list)


def read_details(summary: RunSummary) -> RunDetails:
    """Everything about a run that its files tell; takes as long as its metrics are large."""
    run = RunDirectory(summary.path)
    resolved = run.resolved()
    device = " ".join(str(resolved[key]) for key in ("device", "precision") if resolved.get(key))
    stages = [_read_stage(run, stage.name) for stage in run.stages()]
    return RunDetails(summary, run.state().message, device, run.size_bytes(), stages)


def _read_stage(run: RunDirectory, name: str) -> StageDetails:
    stage = run.stage(name)
    records = read_metrics(stage.metrics)
    told = [record for record in records if record.get("loss") is not None]
    losses = [float(record["loss"]) for record in told]
    steps = [float(record.get("step", number)) for number, record in enumerate(told, start=1)]
    measured = [(record["val_loss"], record.get("step", 0)) for record in records if record.get("val_loss") is not None]
    best, step = min(measured, default=(None, 0))
    return StageDetails(name, losses, best, step, len(stage.checkpoints()), steps)


def describe(details: RunDetails, width: int, height: int) -> list[Figure]:
    """The run as figures for a pane of that size: the less room there is, the less is told of each stage."""
    head = _describe_run(details, width)
    apart = [line for stage in details.stages for line in (Figure("", ""), *_describe_stage(stage))]
    close = [line for stage in details.stages for line in _describe_stage(stage)[:2]]
    lines = [*map(_in_one_line, details.stages)]
    forms = ([*head, *apart], [*head, *close], [*head, *lines])
    fitting = next((form for form in forms if len(form) <= height), None)
    if fitting is not None or details.message:
        return fitting or forms[-1]
    told = Figure("", "   ".join(each.value for each in head))
    return [told, *lines[max(0, len(lines) - height + 1) :]]  # the newest stages stand last


def life_of(details: RunDetails) -> list[Shown]:
    """The losses of all stages as curves, each beginning at the step where the one before ended."""
    begun, shown = 0.0, []
    for place, stage in enumerate(details.stages):
        series = Series()
        for step, loss in zip(stage.steps, stage.losses, strict=False):
            series.append(begun + step, loss)
        if stage.steps:
            begun += max(stage.steps)
            name = stage.name.replace("[", r"\[")
            shown.append(Shown(name, series, COLOURS[place % len(COLOURS)], figure(stage.losses[-1])))
    return shown


def _describe_run(details: RunDetails, width: int) -> list[Figure]:
    run = details.summary
    seconds, state = max(0.0, time.time() - run.updated_at), tr(STATUS_WORDS[run.label])
    now = seconds < NOW_SECONDS
    told = tr("{state} now", state=state) if now else tr("{state} {time} ago", state=state, time=ago(seconds))
    figures = [
        Figure(tr("state"), told),
        Figure(tr("device"), details.device or "-"),
        Figure(tr("disk"), size(details.size_bytes)),
    ]
    if details.message:
        lines = wrap(retell(details.message), max(NARROWEST, width))
        figures += [Figure("", ""), *(Figure("", line, tone="error") for line in lines)]
    return figures


def _in_one_line(stage: StageDetails) -> Figure:
    loss, *_ = _describe_stage(stage)
    note = "" if stage.best_val_loss is None else f"{figure(stage.best_val_loss)} @ {stage.best_step:,}"
    return replace(loss, note=note)


def _describe_stage(stage: StageDetails) -> list[Figure]:
    best = f"{figure(stage.best_val_loss)} @ {stage.best_step:,}" if stage.best_val_loss is not None else "-"
    return [
        Figure(stage.name, figure(stage.losses[-1]) if stage.losses else "-", spark(stage.losses, 16)),
        Figure(tr("best val"), best),
        Figure(tr("checkpoints"), f"{stage.checkpoints}"),
    ]
