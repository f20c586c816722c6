"""What passes between the parts of a model, taken down while it reads a text; the model itself is not changed.

Everything here looks at a model of its own (a checkpoint, or a snapshot of one in training), never at one that another
thread trains.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from workbench.errors import UsageError
from workbench.inference.generate import evaluating
from workbench.model.transformer import Block, Transformer


@dataclass
class Passed:
    """What the parts of a model gave in one pass; every tensor is (seq, hidden_size) float32 on the CPU.

    Args:
        residual: the residual stream before the first layer, then after each.
        attention, feed_forward: what each layer's two parts added to it.
    """

    residual: list[Tensor] = field(default_factory=list)
    attention: list[Tensor] = field(default_factory=list)
    feed_forward: list[Tensor] = field(default_factory=list)


def read_parts(model: Transformer, ids: Sequence[int]) -> Passed:
    """Let the model read `ids` and take down what its parts gave.

    Raises:
        UsageError: no text, or more than the model can read.
    """
    passed = Passed()
    with evaluating(model), hooked() as hook:
        hook(model.model.embed_tokens, lambda _, out: passed.residual.append(_row(out)))
        for layer in blocks(model):
            hook(layer.self_attn, lambda _, out: passed.attention.append(_row(out)))
            hook(layer.mlp, lambda _, out: passed.feed_forward.append(_row(out)))
            hook(layer, lambda _, out: passed.residual.append(_row(out)))
        model.hidden_states(as_row(model, ids))
    return passed


def blocks(model: Transformer) -> list[Block]:
    """The layers by their own type."""
    return [cast(Block, layer) for layer in model.model.layers]


def as_row(model: Transformer, ids: Sequence[int]) -> Tensor:
    """The ids as one row, (1, seq), on the model's device.

    Raises:
        UsageError: no text, or more than the model can read.
    """
    limit = model.config.max_position_embeddings
    if not ids:
        raise UsageError("text", "it has no tokens", "write some text to look at")
    if len(ids) > limit:
        raise UsageError("text", f"it has {len(ids):,} tokens, and the model reads {limit:,}", "shorten it")
    return torch.tensor([list(ids)], device=model.device)


Hook = Callable[[nn.Module, Callable[[tuple[Any, ...], Any], object]], None]


@contextmanager
def hooked() -> Iterator[Hook]:
    """A function that lets another see what a module is given and gives, until the end of the block."""
    handles: list[RemovableHandle] = []

    def hook(module: nn.Module, see: Callable[[tuple[Any, ...], Any], object]) -> None:
        def watch(_: nn.Module, given: tuple[Any, ...], out: Any) -> None:
            see(given, out)

        handles.append(module.register_forward_hook(watch))

    try:
        yield hook
    finally:
        for handle in handles:
            handle.remove()


def _row(out: Tensor) -> Tensor:
    return out[0].detach().float().cpu()
