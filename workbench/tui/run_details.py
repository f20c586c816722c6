"""What the Home screen tells of one run, read from its directory."""

from dataclasses import dataclass, field

from workbench.runs.metrics import read_metrics
from workbench.runs.store import RunDirectory, RunSummary


@dataclass(frozen=True)
class StageDetails:
    """A stage's curve and its best validation loss."""

    name: str
    losses: list[float]
    best_val_loss: float | None
    best_step: int
    checkpoints: int


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
    losses = [float(record["loss"]) for record in records if record.get("loss") is not None]
    measured = [(record["val_loss"], record.get("step", 0)) for record in records if record.get("val_loss") is not None]
    best, step = min(measured, default=(None, 0))
    return StageDetails(name, losses, best, step, len(stage.checkpoints()))
