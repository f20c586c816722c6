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

from workbench.data.loader import Position
from workbench.errors import RunError
from workbench.model.transformer import Transformer
from workbench.model.weights import save_model
from workbench.tokenizer.tokenizer import Tokenizer
from workbench.training.moving_average import MovingAverage
from workbench.training.optimizer import load_optimizer_tensors, optimizer_tensors

RESUME_FOLDER = "resume"
TRAINED_FILE = "trained.safetensors"  # only where model.safetensors holds a moving average


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
        random_state: torch's generator on the CPU, in hexadecimal.
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


def save_checkpoint(
    directory: Path,
    model: Transformer,
    optimizer: torch.optim.Optimizer,
    tokenizer: Tokenizer,
    state: TrainingState,
    lineage: dict[str, Any],
    trained: dict[str, Tensor] | None = None,
) -> int:
    """Write a checkpoint to `directory` and return its size in bytes; one of that name is replaced.

    Args:
        trained: the weights in training, where the model now holds their moving average.
    """
    partial = _fill_partial(directory, model, tokenizer, lineage)
    resume = partial / RESUME_FOLDER
    resume.mkdir()
    save_file(optimizer_tensors(model, optimizer), resume / "optimizer.safetensors")
    if trained is not None:
        save_file({name: value.contiguous() for name, value in trained.items()}, resume / TRAINED_FILE)
    (resume / "state.json").write_text(json.dumps(dataclasses.asdict(state), indent=1) + "\n", encoding="utf-8")
    put_in_place(partial, directory)
    return sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())


def save_result(directory: Path, model: Transformer, tokenizer: Tokenizer, lineage: dict[str, Any]) -> None:
    """Write a finished model to `directory`: a checkpoint without what only training needs."""
    put_in_place(_fill_partial(directory, model, tokenizer, lineage), directory)


def _fill_partial(directory: Path, model: Transformer, tokenizer: Tokenizer, lineage: dict[str, Any]) -> Path:
    partial = directory.with_name(f".{directory.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    save_model(model, partial)
    tokenizer.save(partial)
    (partial / "lineage.json").write_text(json.dumps(lineage, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return partial


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
    torch.set_rng_state(torch.frombuffer(bytearray.fromhex(state.random_state), dtype=torch.uint8))
    return state


def random_state() -> str:
    """torch's random numbers on the CPU, in hexadecimal."""
    return bytes(torch.get_rng_state().tolist()).hex()
