"""Which experts of a mixture each token of a text visits."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from workbench.inference.generate import evaluating
from workbench.inspection.watching import as_row, blocks, hooked
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
    found: list[LayerRouting] = []

    def watch(experts: int) -> Callable[[tuple[Any, ...], Any], object]:
        return lambda _, out: found.append(_decisions(out[0], out[1], experts))

    mixtures = [layer.mlp for layer in blocks(model) if isinstance(layer.mlp, MixtureOfExperts)]
    with evaluating(model), hooked() as hook:
        row = as_row(model, ids)
        for mixture in mixtures:
            hook(mixture.gate, watch(mixture.num_experts))
        if mixtures:
            model.hidden_states(row)
    return found


def _decisions(weights: Tensor, chosen: Tensor, experts: int) -> LayerRouting:
    """weights, chosen: (tokens, visited)."""
    load = chosen.flatten().bincount(minlength=experts) / chosen.numel()
    pairs = zip(chosen.tolist(), weights.float().tolist(), strict=True)
    return LayerRouting(tuple(load.tolist()), tuple(tuple(zip(*pair, strict=True)) for pair in pairs))
