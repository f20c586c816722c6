"""Checkpoints: a complete model directory with, in `resume/`, all that the next step depends on.

Nothing is pickled: tensors are safetensors, the rest is JSON. A checkpoint is written beside its place and renamed, so
that under its own name it is always complete.
"""

import dataclasses
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from workbench.config import LoraSettings
from workbench.data.loader import Position
from workbench.errors import RunError
from workbench.model.adapter import ADAPTER_FOLDER, Base, save_adapter
from workbench.model.transformer import Transformer
from workbench.model.weights import save_model, write_config
from workbench.tokenizer.tokenizer import Tokenizer
from workbench.training.moving_average import MovingAverage
from workbench.training.optimizer import load_optimizer_tensors
from workbench.training.random_numbers import restore_random_state

RESUME_FOLDER = "resume"
TRAINED_FILE = "trained.safetensors"  # only where the weights beside it are a moving average


@dataclass(frozen=True)
class TrainingState:
    """Where a stage stands between two steps.

    Args:
        step: optimizer steps taken.
        tokens: positions seen, padding included.
        seconds: of training, pauses and evaluations left out.
        position: the next batch's place in the data order.
        peak_learning_rate: the schedule's peak, which a person may have changed.
        best_val_loss: None while nothing was measured.
        random_state: torch's generators, as `random_state` gives them.
        stale_validations: in a row that were no better than the best one.
        loss_scale: its value and the steps since it changed, in float16; None elsewhere.
    """

    step: int
    tokens: int
    seconds: float
    position: Position
    peak_learning_rate: float
    best_val_loss: float | None
    random_state: str
    stale_validations: int = 0
    loss_scale: tuple[float, int] | None = None

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "TrainingState":
        """The state that `dataclasses.asdict` took apart."""
        position, scale = values["position"], values.get("loss_scale")  # JSON has no tuples
        read = {
            "position": Position(**{**position, "used": tuple(position.get("used", ()))}),
            "loss_scale": None if scale is None else tuple(scale),
        }
        return cls(**{**values, **read})


@dataclass(frozen=True)
class Adaptation:
    """How a model is adapted: what its checkpoints then hold in place of all its weights."""

    settings: LoraSettings
    base: Base


def save_checkpoint(
    directory: Path,
    model: Transformer,
    memories: dict[str, Tensor],
    tokenizer: Tokenizer,
    state: TrainingState,
    lineage: dict[str, Any],
    trained: dict[str, Tensor] | None = None,
    adaptation: Adaptation | None = None,
) -> int:
    """Write a checkpoint to `directory` and return its size in bytes; one of that name is replaced.

    Args:
        memories: the optimizer's, as `optimizer_tensors` gives them.
        trained: the weights in training, where the model now holds their moving average.
        adaptation: of a model that is trained by LoRA, whose adapter is written in place of all its weights.
    """
    partial = _empty_partial(directory)
    if adaptation is None:
        save_model(model, partial)
    else:
        write_config(model.config, partial)
        save_adapter(model, partial / ADAPTER_FOLDER, adaptation.settings, adaptation.base)
    _add_companions(partial, tokenizer, lineage)
    resume = partial / RESUME_FOLDER
    resume.mkdir()
    save_file(memories, resume / "optimizer.safetensors")
    if trained is not None:
        save_file({name: value.contiguous() for name, value in trained.items()}, resume / TRAINED_FILE)
    (resume / "state.json").write_text(json.dumps(dataclasses.asdict(state), indent=1) + "\n", encoding="utf-8")
    put_in_place(partial, directory)
    return sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())


def save_result(directory: Path, model: Transformer, tokenizer: Tokenizer, lineage: dict[str, Any]) -> None:
    """Write a finished model to `directory`: a checkpoint without what only training needs."""
    partial = _empty_partial(directory)
    save_model(model, partial)
    _add_companions(partial, tokenizer, lineage)
    put_in_place(partial, directory)


def save_adapter_result(
    directory: Path, model: Transformer, tokenizer: Tokenizer, lineage: dict[str, Any], adaptation: Adaptation
) -> None:
    """Write a finished adapter alone to `directory`, in PEFT's layout."""
    partial = _empty_partial(directory)
    save_adapter(model, partial, adaptation.settings, adaptation.base)
    _add_companions(partial, tokenizer, lineage)
    put_in_place(partial, directory)


def _empty_partial(directory: Path) -> Path:
    partial = directory.with_name(f".{directory.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    return partial


def _add_companions(partial: Path, tokenizer: Tokenizer, lineage: dict[str, Any]) -> None:
    """What travels with the weights."""
    tokenizer.save(partial)
    (partial / "lineage.json").write_text(json.dumps(lineage, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def put_in_place(partial: Path, directory: Path) -> None:
    """Flush every file of `partial` to the disk and give the folder its final name."""
    for path in partial.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
    if directory.exists():
        outdated = directory.with_name(f".{directory.name}.outdated")
        shutil.rmtree(outdated, ignore_errors=True)
        directory.rename(outdated)
        partial.rename(directory)
        shutil.rmtree(outdated)
    else:
        partial.rename(directory)


def load_resume(
    directory: Path, model: Transformer, optimizer: torch.optim.Optimizer, average: MovingAverage | None = None
) -> TrainingState:
    """Put the optimizer's state and the random numbers back as they were when `directory` was saved.

    Load the model from the same directory first: its weights are not touched.

    Args:
        average: the stage's moving average, if it has one. The model then holds it, and gets its own weights back.
    Raises:
        RunError: the directory is a model, not a checkpoint, or is damaged.
    """
    resume = directory / RESUME_FOLDER
    try:
        values = json.loads((resume / "state.json").read_text(encoding="utf-8"))
        state = TrainingState.from_dict(values)
        tensors = load_file(resume / "optimizer.safetensors")
        if average is not None:
            average.restore(load_file(resume / TRAINED_FILE))
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        remedy = "delete it to go on from the one before"
        raise RunError(str(directory), f"cannot be resumed: {error}", remedy) from error
    load_optimizer_tensors(model, optimizer, tensors)
    restore_random_state(state.random_state)
    return state
