"""Where the first number came from that is none: the step's batch is computed again, watched module by module."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from workbench.data.loader import Batch, Position
from workbench.model.transformer import Transformer
from workbench.tokenizer.tokenizer import Tokenizer
from workbench.training.symptoms import Finding

ROWS_TRIED = 256  # one by one; a larger batch is searched no further
QUOTED_CHARACTERS = 80

Loss = Callable[[Batch], Any]
"""The loss of some rows: a tensor, or tensors in tuples and dictionaries, of which every one counts."""


@dataclass(frozen=True)
class Origin:
    """Where the first number that is none came from.

    Args:
        place: "weights", "forward", "loss", "backward", or "vanished" where it did not come again.
        name: the module or parameter, by its name in the model.
        rows: of the batch, counted from 0, that make it; empty where any row would.
    """

    place: str
    name: str
    rows: tuple[int, ...] = ()

    @property
    def text(self) -> str:
        """The place in words."""
        told = {
            "weights": f"the weights of {self.name} hold a value that is no finite number, from a step before",
            "forward": f"the first value that is no finite number comes out of {self.name}",
            "loss": "all modules give finite numbers, and the loss of their logits is not finite",
            "backward": f"the loss is finite; the first gradient that is not, on the way back, is that of {self.name}",
            "vanished": "computed again, the same batch gives finite numbers",
        }[self.place]
        if not self.rows:
            return told
        return f"{told}, for row{'s' if len(self.rows) > 1 else ''} {', '.join(map(str, self.rows[:8]))} of the batch"


def find_origin(model: Transformer, loss: Loss, batch: Batch, micro_batch_size: int) -> Origin:
    """Compute `batch` again, as it was computed, until a number is not finite; gradients are lost.

    Args:
        loss: of some rows; of a compiled objective, its uncompiled form is run.
    """
    for name, parameter in model.named_parameters():
        if not _finite(parameter):
            return Origin("weights", name)
    targets, units = max(int((batch.labels >= 0).sum()), 1), batch.units
    with torch.compiler.set_stance("force_eager"):
        model.zero_grad(set_to_none=True)
        for start in range(0, units, micro_batch_size):
            part = batch.part(start, start + micro_batch_size)
            with _watched(model) as seen:
                value = _summed(loss(part))
            if seen or not _finite(value):
                place, name = ("forward", seen[0]) if seen else ("loss", "")
                return Origin(place, name, _guilty_rows(loss, batch))
            (value / targets).backward()
    # Gradients are made from the last module to the first, and so are the names here.
    for name, parameter in reversed(list(model.named_parameters())):
        if parameter.grad is not None and not _finite(parameter.grad):
            return Origin("backward", name)
    return Origin("vanished", "")


def explain(
    origin: Origin, batch: Batch, position: Position, tokenizer: Tokenizer, loss: float, grad_norm: float
) -> Finding:
    """What is told of a step that could not be taken.

    Args:
        position: where the batch begins in the data.
    """
    place = f"after {position.index:,} rows of pass {position.epoch + 1} over the data"
    if position.used:
        place = f"after {', '.join(f'{used:,}' for used in position.used)} rows of the data sets"
    cause = f"the loss is {loss} and the gradient norm {grad_norm}; {origin.text}; the batch lies {place}"
    if origin.rows:
        text = tokenizer.decode(batch.input_ids[origin.rows[0]].tolist())
        cause += f"; row {origin.rows[0]} begins {text[:QUOTED_CHARACTERS]!r}"
    cure = "go back to the last checkpoint with a lower rate, or raise warmup"
    if len(origin.rows) in range(1, max(2, len(batch.input_ids) // 2)):
        cure = "look at those rows: repeated or damaged text; then " + cure
    return Finding("not_finite", "error", -1, cause, cure)


@contextmanager
def _watched(model: nn.Module) -> Iterator[list[str]]:
    """Collects the names of modules that make a number that is none, the first maker first."""
    seen: list[str] = []
    handles: list[RemovableHandle] = []

    def watch(name: str, module: nn.Module) -> None:
        def before(_: nn.Module, given: tuple[Any, ...]) -> None:
            if not seen and not _all_finite(given):
                # no module gave it: its parent made it between two of them
                seen.append(f"{name.rpartition('.')[0] or 'the model'}, before {name.rpartition('.')[2] or 'its end'}")

        def after(_: nn.Module, __: tuple[Any, ...], result: Any) -> None:
            if not seen and not _all_finite(result):
                seen.append(name or "the model")

        handles.extend((module.register_forward_pre_hook(before), module.register_forward_hook(after)))

    for name, module in model.named_modules():
        watch(name, module)
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def _guilty_rows(loss: Loss, batch: Batch) -> tuple[int, ...]:
    """Rows that alone give a loss that is not finite; none where every one does, or there are too many to try."""
    count = batch.units
    if count > ROWS_TRIED:
        return ()
    with torch.no_grad():
        guilty = [each for each in range(count) if not _finite(_summed(loss(batch.part(each, each + 1))))]
    return tuple(each * batch.rows_per_unit for each in guilty) if len(guilty) < count else ()


def _summed(value: Any) -> Tensor:
    """All floating tensors of a loss as one scalar."""
    total = torch.zeros(())
    for tensor in _tensors(value):
        if tensor.is_floating_point():
            total = total + tensor.float().sum().cpu()
    return total


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from _tensors(inner)
    elif isinstance(value, tuple | list):
        for inner in value:
            yield from _tensors(inner)


def _all_finite(value: Any) -> bool:
    return all(_finite(tensor) for tensor in _tensors(value) if tensor.is_floating_point())


def _finite(value: Tensor) -> bool:
    return bool(torch.isfinite(value.detach()).all())
