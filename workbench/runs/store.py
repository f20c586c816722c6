"""Run directories: where everything of a run lies, what state it is in, and the list of all runs.

The layout is the interface: a screen or a script that watches a run of another process needs nothing but these files.
"""

import contextlib
import dataclasses
import difflib
import json
import os
import re
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self, get_args

from workbench.atomic import write_atomically
from workbench.errors import RunError
from workbench.runs.liveness import is_alive
from workbench.runs.metrics import encode_record, read_metrics

Status = Literal["new", "running", "paused", "done", "failed", "stopped"]

_CHECKPOINT_NAME = re.compile(r"step-(\d{6,})")
_RUN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")
_TRASH_NAME = re.compile(r"(?P<name>.+)-\d{8}-\d{6}-\d{6}")
_TRASH_FOLDER = ".trash"


@dataclass(frozen=True)
class RunState:
    """state.json: how far a run is.

    Args:
        stages: names of all stages in their order.
        stage: the stage at work, or the last one that was.
        step: the last step of that stage; `steps` is its goal.
        heartbeat: when the run last wrote this, seconds since the epoch; `updated_at` when something last happened.
        message: why the run failed.
    """

    status: Status = "new"
    stages: tuple[str, ...] = ()
    stage: str = ""
    step: int = 0
    steps: int = 0
    loss: float | None = None
    val_loss: float | None = None
    tokens_per_second: float | None = None
    pid: int = 0
    host: str = ""
    heartbeat: float = 0.0
    updated_at: float = 0.0
    message: str = ""

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """The state of `values`; unknown keys and damaged values are left out, a status unknown here reads as new."""
        known = {field.name: field.default for field in dataclasses.fields(cls)}
        kept = {key: value for key, value in values.items() if key in known and _fits(value, known[key])}
        if kept.get("status") not in get_args(Status):
            kept.pop("status", None)
        return cls(**{**kept, "stages": tuple(name for name in kept.get("stages", ()) if isinstance(name, str))})


@dataclass(frozen=True)
class Checkpoint:
    """A complete checkpoint on the disk."""

    step: int
    path: Path


@dataclass(frozen=True)
class RunSummary:
    """What a list of runs shows of one.

    Args:
        status: as the run last wrote it; `label` is what it means now.
        updated_at: seconds since the epoch.
        alive: a process is at work on it.
    """

    name: str
    path: Path
    status: Status
    stage: str
    step: int
    steps: int
    val_loss: float | None
    tokens_per_second: float | None
    updated_at: float
    alive: bool

    @property
    def label(self) -> str:
        """The status for people: a run that says it runs while nobody is at work on it was interrupted."""
        return "interrupted" if self.status in ("running", "paused") and not self.alive else self.status


class StageDirectory:
    """One stage of a run on the disk; nothing needs to exist yet."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = path.name
        self.metrics = path / "metrics.jsonl"
        self.samples = path / "samples.jsonl"
        self.checkpoints_path = path / "checkpoints"
        self.model = path / "model"
        self.adapter = path / "adapter"

    def checkpoint_path(self, step: int) -> Path:
        """Where the checkpoint of `step` lies, or will."""
        return self.checkpoints_path / f"step-{step:06d}"

    def checkpoints(self) -> list[Checkpoint]:
        """All complete checkpoints by step; what is being written or deleted carries another name."""
        if not self.checkpoints_path.is_dir():
            return []
        named = ((_CHECKPOINT_NAME.fullmatch(path.name), path) for path in self.checkpoints_path.iterdir())
        found = [Checkpoint(int(match[1]), path) for match, path in named if match and path.is_dir()]
        return sorted(found, key=lambda checkpoint: checkpoint.step)

    def newest_checkpoint(self) -> Checkpoint | None:
        """The complete checkpoint with the highest step."""
        return max(self.checkpoints(), key=lambda checkpoint: checkpoint.step, default=None)

    def best_checkpoint(self) -> Checkpoint | None:
        """The checkpoint with the lowest validation loss; None while none was measured."""
        losses = {record.get("step"): record.get("val_loss") for record in read_metrics(self.metrics)}
        pairs = ((losses.get(checkpoint.step), checkpoint) for checkpoint in self.checkpoints())
        measured = [(loss, checkpoint) for loss, checkpoint in pairs if loss is not None]
        return min(measured, key=lambda pair: pair[0])[1] if measured else None

    def prune_checkpoints(self, keep: int) -> list[Checkpoint]:
        """Delete all but the `keep` newest checkpoints and the best; returns what was deleted."""
        checkpoints = self.checkpoints()
        newest = checkpoints[-keep:] if keep > 0 else []
        surplus = [checkpoint for checkpoint in checkpoints if checkpoint not in newest]
        if surplus:
            best = self.best_checkpoint()
            surplus = [checkpoint for checkpoint in surplus if checkpoint != best]
        for checkpoint in surplus:
            _delete_tree(checkpoint.path)
        return surplus

    def remove_leftovers(self) -> None:
        """Delete what a killed process left half written among the checkpoints; only the run's writer may."""
        if not self.checkpoints_path.is_dir():
            return
        for path in self.checkpoints_path.iterdir():
            if path.is_dir() and not _CHECKPOINT_NAME.fullmatch(path.name):
                shutil.rmtree(path, ignore_errors=True)

    @property
    def result(self) -> Path | None:
        """What the finished stage left: whole weights, or an adapter alone; None while it is not finished."""
        return next((path for path in (self.model, self.adapter) if (path / "config.json").is_file()), None)

    def newest_model(self) -> Path | None:
        """The stage's result, or else its newest checkpoint: the directory to chat with."""
        if self.result is not None:
            return self.result
        newest = self.newest_checkpoint()
        return newest.path if newest else None

    def size_bytes(self) -> int:
        """What the stage takes on the disk."""
        return folder_size_bytes(self.path)


class RunDirectory:
    """One run on the disk."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = path.name
        self.profile_path = path / "profile.toml"
        self.resolved_path = path / "resolved.json"
        self.state_path = path / "state.json"
        self.lock_path = path / "lock"
        self.commands_path = path / "commands.jsonl"
        self.events_path = path / "events.jsonl"
        self.console_log_path = path / "console.log"
        self.tokenizer_path = path / "tokenizer"
        self.report_path = path / "report.md"
        self.report_data_path = path / "report.json"

    def state(self) -> RunState:
        """What state.json says; the state of a run that has not begun where it is missing or damaged."""
        try:
            values = json.loads(self.state_path.read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError, ValueError):
            return RunState()
        return RunState.from_dict(values) if isinstance(values, dict) else RunState()

    def write_state(self, state: RunState) -> None:
        """Replace state.json in one move."""
        write_atomically(self.state_path, encode_record(dataclasses.asdict(state)))

    def resolved(self) -> dict[str, Any]:
        """What resolved.json says; empty where it is missing or damaged."""
        try:
            values = json.loads(self.resolved_path.read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return {}
        return values if isinstance(values, dict) else {}

    def write_resolved(self, values: dict[str, Any]) -> None:
        """Replace resolved.json in one move."""
        write_atomically(self.resolved_path, json.dumps(values, indent=1, ensure_ascii=False) + "\n")

    def stage(self, name: str) -> StageDirectory:
        """The directory of stage `name`."""
        return StageDirectory(self.path / name)

    def stages(self) -> list[StageDirectory]:
        """The stages that exist on the disk, in the order of the run."""
        order = {name: index for index, name in enumerate(self.state().stages)}
        found = [path for path in self.path.iterdir() if _is_stage(path)]
        found.sort(key=lambda path: (order.get(path.name, len(order)), path.stat().st_mtime))
        return [StageDirectory(path) for path in found]

    def model_directory(self, stage: str | None = None, step: int | None = None) -> Path:
        """The model to talk to: the last stage's result or checkpoint, or the one asked for.

        Raises:
            RunError: there is none yet, or not the one asked for.
        """
        stages = self._stages_named(stage)
        if step is not None:
            return self._checkpoint_directory(stages, step)
        for candidate in reversed(stages):
            model = candidate.newest_model()
            if model is not None:
                return model
        raise RunError(self.name, "no model yet", "the first checkpoint makes one; wait for it or ask it with control")

    def _stages_named(self, name: str | None) -> list[StageDirectory]:
        stages = self.stages()
        if name is None:
            return stages
        chosen = [stage for stage in stages if stage.name == name]
        if not chosen:
            raise RunError(self.name, f"no stage {name!r}", suggest(name, [stage.name for stage in stages]))
        return chosen

    def _checkpoint_directory(self, stages: list[StageDirectory], step: int) -> Path:
        for stage in reversed(stages):
            path = stage.checkpoint_path(step)
            if path.is_dir():
                return path
        kept = ", ".join(f"{stage.name} {each.step}" for stage in stages for each in stage.checkpoints())
        raise RunError(self.name, f"no checkpoint of step {step}", f"these are kept: {kept or 'none'}")

    def size_bytes(self) -> int:
        """What the run takes on the disk."""
        return folder_size_bytes(self.path)

    def summary(self) -> RunSummary:
        """The run as a list shows it."""
        state = self.state()
        return RunSummary(
            name=self.name,
            path=self.path,
            status=state.status,
            stage=state.stage,
            step=state.step,
            steps=state.steps,
            val_loss=state.val_loss,
            tokens_per_second=state.tokens_per_second,
            updated_at=state.updated_at or self.path.stat().st_mtime,
            alive=is_alive(self.path),
        )


def _fits(value: object, default: object) -> bool:
    """Whether a value read from a file is of the kind that `default` is; None stands for a number or nothing."""
    if default is None:
        return value is None or _fits(value, 0.0)
    if isinstance(default, tuple):
        return isinstance(value, list)
    kinds = (int, float) if isinstance(default, float) else (type(default),)
    return isinstance(value, kinds) and not isinstance(value, bool)


def create_run(workspace: Path, name: str, profile_text: str) -> RunDirectory:
    """A new run directory with its profile.

    Raises:
        RunError: the name cannot be a folder's, or is taken.
    """
    check_run_name(name)
    run = RunDirectory(workspace / name)
    try:
        run.path.mkdir(parents=True)
    except FileExistsError:
        raise RunError(str(run.path), "exists already", "choose another --name") from None
    except OSError as error:
        raise RunError(str(workspace), f"cannot hold runs: {error.strerror}", "choose another --workspace") from error
    write_atomically(run.profile_path, profile_text)
    return run


def check_run_name(name: str) -> None:
    """Refuse names that are no plain folder name everywhere."""
    if not _RUN_NAME.fullmatch(name) or name.endswith("."):
        remedy = "use letters, digits, '-', '_' and '.', as run.name or with --name"
        raise RunError(f"run name {name!r}", "cannot name a folder", remedy)


def open_run(workspace: Path, name_or_path: str) -> RunDirectory:
    """The existing run of that name in `workspace`, or at that path.

    Raises:
        RunError: there is none; the message names the nearest.
    """
    for path in (workspace / name_or_path, Path(name_or_path)):
        if _is_run(path):
            return RunDirectory(path)
    names = [path.name for path in _run_paths(workspace)]
    remedy = suggest(name_or_path, names) if names else "there are no runs there; --workspace says where to look"
    raise RunError(str(workspace), f"no run {name_or_path!r}", remedy)


def list_runs(workspace: Path) -> list[RunSummary]:
    """All runs of `workspace`, the latest first; reads only small files."""
    summaries = []
    for path in _run_paths(workspace):
        with contextlib.suppress(FileNotFoundError):  # deleted between the two looks
            summaries.append(RunDirectory(path).summary())
    return sorted(summaries, key=lambda summary: summary.updated_at, reverse=True)


def trash_run(workspace: Path, name: str) -> Path:
    """Move a run into the workspace's trash folder, from where `restore_run` brings it back.

    Raises:
        RunError: there is no such run, or a process is at work on it.
    """
    run = open_run(workspace, name)
    if is_alive(run.path):
        raise RunError(run.name, "is running", "stop it before deleting it")
    moment = time.time()
    stamp = time.strftime("%Y%m%d-%H%M%S", time.localtime(moment)) + f"-{int(moment % 1 * 1e6):06d}"
    target = workspace / _TRASH_FOLDER / f"{run.name}-{stamp}"
    target.parent.mkdir(exist_ok=True)
    run.path.rename(target)
    return target


def restore_run(trashed: Path) -> RunDirectory:
    """Bring a run back out of the trash folder, to the workspace it was deleted from.

    Raises:
        RunError: it is not there, or its name was taken meanwhile.
    """
    match = _TRASH_NAME.fullmatch(trashed.name)
    if match is None or not trashed.is_dir():
        raise RunError(str(trashed), "is no deleted run")
    target = trashed.parent.parent / match["name"]
    if target.exists():
        raise RunError(str(target), "exists already", "rename or delete it first")
    trashed.rename(target)
    return RunDirectory(target)


def list_trash(workspace: Path) -> list[Path]:
    """Deleted runs that `restore_run` can bring back, the oldest deletion first."""
    folder = workspace / _TRASH_FOLDER
    found = folder.iterdir() if folder.is_dir() else ()
    return sorted((path for path in found if _TRASH_NAME.fullmatch(path.name)), key=lambda path: path.name[-22:])


def folder_size_bytes(path: Path) -> int:
    """The sizes of all files below `path`; one that vanishes meanwhile counts nothing."""
    total = 0
    for folder, _, names in os.walk(path):
        for name in names:
            try:
                total += (Path(folder) / name).lstat().st_size
            except FileNotFoundError:
                continue
    return total


def suggest(name: str, known: list[str]) -> str:
    """`did you mean ...?`, or what there is."""
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"did you mean {near[0]}?" if near else f"there are: {', '.join(sorted(known)) or 'none'}"


def _run_paths(workspace: Path) -> list[Path]:
    if not workspace.is_dir():
        return []
    return [path for path in workspace.iterdir() if not path.name.startswith(".") and _is_run(path)]


def _is_run(path: Path) -> bool:
    return (path / "profile.toml").is_file() or (path / "state.json").is_file()


def _is_stage(path: Path) -> bool:
    return any((path / entry).exists() for entry in ("metrics.jsonl", "checkpoints", "model"))


def _delete_tree(path: Path) -> None:
    """Delete a directory under another name first, so that a half of it is never taken for the whole."""
    doomed = path.with_name(f".deleting-{path.name}")
    path.rename(doomed)
    shutil.rmtree(doomed, ignore_errors=True)
