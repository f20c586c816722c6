"""Going back to an earlier checkpoint of a stage: what came after it is set aside in the run's folder, not deleted."""

import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from workbench.errors import RunError
from workbench.runs.metrics import cut_back, read_metrics
from workbench.runs.store import RunDirectory, StageDirectory

ASIDE_FOLDER = ".earlier"
_RECORDS = ("metrics.jsonl", "samples.jsonl")
_OUTCOMES = ("result.json", "model", "adapter", "answers.jsonl")


@dataclass(frozen=True)
class Rollback:
    """The checkpoint of a stage to go on from."""

    stage: str
    step: int


def find_rollback(run: RunDirectory, step: int, stage: str | None = None) -> Rollback:
    """The checkpoint asked for, of the stage at work where none is named.

    Raises:
        RunError: it is not kept; the message names those that are.
    """
    name = stage or run.state().stage
    steps = [checkpoint.step for checkpoint in run.stage(name).checkpoints()] if name else []
    if step in steps:
        return Rollback(name, step)
    kept = ", ".join(f"{each.name} {checkpoint.step}" for each in run.stages() for checkpoint in each.checkpoints())
    where = f"run {run.name}, stage {name}" if name else f"run {run.name}"
    raise RunError(where, f"no checkpoint of step {step} is kept", f"these are: {kept or 'none'}")


def last_good_checkpoint(stage: StageDirectory, since: int) -> int | None:
    """The newest step up to `since` that is kept; None where there is none."""
    return max((checkpoint.step for checkpoint in stage.checkpoints() if checkpoint.step <= since), default=None)


def set_aside(run: RunDirectory, stages: Sequence[str]) -> None:
    """Move stages that will be run again into the run's folder of earlier work; nothing is deleted."""
    for name in stages:
        directory = run.stage(name).path
        if directory.exists():
            shutil.move(directory, _new_folder(run, name))


def roll_back(run: RunDirectory, rollback: Rollback, later_stages: Sequence[str]) -> tuple[int, Path]:
    """Let the stage's newest checkpoint be the one of `rollback`; only the holder of the run's lock may.

    A crash on the way leaves a run that goes on from the newest checkpoint still in place.

    Args:
        later_stages: stages that were made from this one, which are set aside as well.
    Returns:
        The step that the stage had reached, and the folder with what came after the checkpoint.
    """
    stage = run.stage(rollback.stage)
    reached = [checkpoint.step for checkpoint in stage.checkpoints()]
    reached += [record["step"] for record in read_metrics(stage.metrics) if isinstance(record.get("step"), int)]
    aside = _new_folder(run, f"{rollback.stage}-after-{rollback.step}")
    aside.mkdir(parents=True)
    set_aside(run, later_stages)
    for name in _RECORDS:
        if (stage.path / name).is_file():
            shutil.copy2(stage.path / name, aside)
    for name in _OUTCOMES:
        if (stage.path / name).exists():
            shutil.move(stage.path / name, aside / name)
    for checkpoint in reversed(stage.checkpoints()):
        if checkpoint.step > rollback.step:
            target = aside / "checkpoints" / checkpoint.path.name
            target.parent.mkdir(exist_ok=True)
            shutil.move(checkpoint.path, target)
    for name in _RECORDS:
        cut_back(stage.path / name, rollback.step)
    return max(reached), aside


def _new_folder(run: RunDirectory, name: str) -> Path:
    """A name that is free; the folder it will stand in exists."""
    stamp = f"{time.strftime('%Y%m%d-%H%M%S')}-{time.monotonic_ns() % 10**6:06d}"
    target = run.path / ASIDE_FOLDER / f"{name}-{stamp}"
    target.parent.mkdir(exist_ok=True)
    return target
