"""Which experts of a mixture each token of a text visits."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from workbench.inference.generate import evaluating
from workbench.inspection.watching import Hook, as_row, blocks, hooked
from workbench.model.moe import MixtureOfExperts
from workbench.model.transformer import Transformer


@dataclass(frozen=True)
class LayerRouting:
    """The decisions of one layer's router.

    Args:
        load: each expert's share of all visits; together 1.
        visits: for each token, its experts with their weights, the heaviest first.
    """

    load: tuple[float, ...]
    visits: tuple[tuple[tuple[int, float], ...], ...]


def read_routing(model: Transformer, ids: Sequence[int]) -> list[LayerRouting]:
    """What the routers decide while the model reads `ids`; empty for a model without experts.

    Raises:
        UsageError: no text, or more than the model can read.
    """
    with evaluating(model), hooked() as hook:
        row = as_row(model, ids)
        found = watch_routers(model, hook)
        if has_experts(model):
            model.hidden_states(row)
    return found


def has_experts(model: Transformer) -> bool:
    """Whether any layer is a mixture."""
    return any(isinstance(layer.mlp, MixtureOfExperts) for layer in blocks(model))


def watch_routers(model: Transformer, hook: Hook) -> list[LayerRouting]:
    """A list that fills, layer by layer, with what the routers decide while the model reads one text."""
    found: list[LayerRouting] = []

    def watch(experts: int) -> Callable[[tuple[Any, ...], Any], object]:
        return lambda _, out: found.append(_decisions(out[0], out[1], experts))

    for layer in blocks(model):
        if isinstance(layer.mlp, MixtureOfExperts):
            hook(layer.mlp.gate, watch(layer.mlp.num_experts))
    return found


def _decisions(weights: Tensor, chosen: Tensor, experts: int) -> LayerRouting:
    """weights, chosen: (tokens, visited)."""
    load = chosen.flatten().bincount(minlength=experts) / chosen.numel()
    pairs = zip(chosen.tolist(), weights.float().tolist(), strict=True)
    return LayerRouting(tuple(load.tolist()), tuple(tuple(zip(*pair, strict=True)) for pair in pairs))
