"""The other way round than an estimate: from a number of parameters to the sizes of a model that has about as many."""

import math
from dataclasses import dataclass
from typing import Any

from workbench.errors import UsageError
from workbench.estimate import Parameters, count_parameters
from workbench.model_settings import EXPERT_FAMILIES, Family, ModelSettings

SHAPES = {"deep": 24, "balanced": 48, "wide": 96}
"""Width by layer: SmolLM2-135M has 19, Qwen3-0.6B 37, TinyLlama 93, minimind-3 96. Deep ones learn more from as many
parameters (Liu et al. 2024, arXiv:2402.14905), wide ones are faster to compute."""
_STEP = 64  # of widths: rows of the matrices fill the vectors of processors and the tiles of GPUs
_WIDEST = 16384
_LAYERS = range(2, 129)
_OFF_BUDGET = 8.0  # how much worse it is to miss the budget than the shape, both as ratios


@dataclass(frozen=True)
class Candidate:
    """A model of about the size that was asked for.

    Args:
        shape: a key of SHAPES.
        settings: what its `[model]` table says.
    """

    shape: str
    settings: ModelSettings
    parameters: Parameters


def sizes_for(budget: int, family: Family, vocab_size: int, **more: Any) -> list[Candidate]:
    """Models of `family` with about `budget` parameters in all, one for each shape that has one.

    Args:
        more: further keys of the `[model]` table, such as num_experts.
    Raises:
        UsageError: the vocabulary alone takes as many; says how many it takes.
    """
    found = [
        candidate
        for shape, ratio in SHAPES.items()
        if (candidate := _nearest(shape, ratio, budget, family, vocab_size, more)) is not None
    ]
    if not found:
        least = count_parameters(_settings(_STEP, _LAYERS[0], family, more), vocab_size).total
        raise UsageError(
            f"{budget:,} parameters",
            f"are too few for a vocabulary of {vocab_size:,}: the smallest {family} with it has {least:,}",
            "ask for more, or for a smaller vocabulary",
        )
    return found


def toml_table(candidate: Candidate) -> str:
    """The `[model]` table of a candidate; what follows from the rest is left out."""
    settings = candidate.settings
    keys = ["hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads"]
    keys += ["head_dim", *(["num_experts", "num_experts_per_tok"] if settings.family in EXPERT_FAMILIES else [])]
    if not settings.tie_word_embeddings:
        keys.append("tie_word_embeddings")
    values = [f"{key} = {str(getattr(settings, key)).lower()}" for key in keys]
    return "\n".join(["[model]", f'family = "{settings.family}"', *values])


def _nearest(
    shape: str, ratio: float, budget: int, family: Family, vocab_size: int, more: dict[str, Any]
) -> Candidate | None:
    best, least = None, math.inf
    for hidden in range(_STEP, _WIDEST + 1, _STEP):
        one, two = (count_parameters(_settings(hidden, layers, family, more), vocab_size).total for layers in (1, 2))
        layers = round((budget - one) / (two - one)) + 1
        if layers not in _LAYERS:
            if budget < one:
                break
            continue
        total = one + (layers - 1) * (two - one)
        cost = _OFF_BUDGET * abs(math.log(total / budget)) + abs(math.log(hidden / layers / ratio))
        if cost < least:
            best, least = (hidden, layers), cost
    if best is None:
        return None
    settings = _settings(*best, family, more)
    return Candidate(shape, settings, count_parameters(settings, vocab_size))


def _settings(hidden: int, layers: int, family: Family, more: dict[str, Any]) -> ModelSettings:
    head_dim = 128 if family in ("qwen3", "moe") and hidden >= 1024 else 64 if hidden >= 256 else 32
    heads = hidden // head_dim
    shared_by = next(group for group in (4, 3, 2, 1) if (heads % group == 0 and heads >= 2 * group) or group == 1)
    return ModelSettings(
        family=family,
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=heads if family == "llama1" else heads // shared_by,
        head_dim=head_dim,
        **more,
    )
