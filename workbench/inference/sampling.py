"""Choosing the next token: temperature, top-k, top-p, min-p, repetition penalty, with random numbers of its own.

The order is the one transformers uses: penalty, temperature, top-k, top-p, min-p. No step sorts the vocabulary:
top-k selects, min-p compares, and top-p looks at the likeliest few first.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from workbench.errors import UsageError, WorkbenchError

# Top-p nearly always ends within so many tokens; where it does not, ever more are looked at.
FIRST_LOOK = 256
# What torch.Generator.manual_seed accepts and JSON readers keep exact.
LARGEST_SEED = 2**53 - 1


@dataclass(frozen=True)
class SamplingSettings:
    """How the next token is chosen; refuses values out of range with a `UsageError` that names them all.

    Args:
        temperature: divides the logits; 0 takes the likeliest token, higher is more surprising.
        top_k: only the `top_k` likeliest tokens; 0 is off.
        top_p: only the fewest likeliest tokens that reach this probability together; 1 is off.
        min_p: only tokens at least this share as likely as the likeliest one; 0 is off.
        repetition_penalty: makes tokens less likely that were there before; 1 is off.
        seed: of the random numbers; None draws a new one for each answer.
        max_new_tokens: tokens of one answer at most.
    """

    temperature: float = 0.8
    top_k: int = 0
    top_p: float = 0.95
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    seed: int | None = None
    max_new_tokens: int = 256

    def __post_init__(self) -> None:
        problems = _problems(self)
        if problems:
            raise UsageError("sampling settings", "; ".join(problems))


def _problems(settings: SamplingSettings) -> list[str]:
    rules = [
        ("temperature", _is_number(settings.temperature) and settings.temperature >= 0, "0 or more"),
        ("top_k", _is_whole(settings.top_k) and settings.top_k >= 0, "a whole number, 0 (off) or more"),
        ("top_p", _is_number(settings.top_p) and 0 < settings.top_p <= 1, "above 0 and at most 1 (off)"),
        ("min_p", _is_number(settings.min_p) and 0 <= settings.min_p <= 1, "from 0 (off) to 1"),
        (
            "repetition_penalty",
            _is_number(settings.repetition_penalty) and settings.repetition_penalty > 0,
            "above 0; 1 is off",
        ),
        (
            "seed",
            settings.seed is None or (_is_whole(settings.seed) and 0 <= settings.seed <= LARGEST_SEED),
            f"a whole number from 0 to {LARGEST_SEED}, or nothing",
        ),
        (
            "max_new_tokens",
            _is_whole(settings.max_new_tokens) and settings.max_new_tokens >= 1,
            "a whole number above 0",
        ),
    ]
    return [f"{name} = {getattr(settings, name)!r} must be {rule}" for name, kept, rule in rules if not kept]


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def make_generator(seed: int | None) -> torch.Generator:
    """Random numbers that nobody else shares; on the CPU, so that a seed means the same on every device."""
    generator = torch.Generator()
    if seed is None:
        generator.seed()
    else:
        generator.manual_seed(seed)
    return generator


def sample(logits: Tensor, previous_ids: Sequence[int], settings: SamplingSettings, generator: torch.Generator) -> int:
    """The next token id.

    Args:
        logits: (vocab,), any float dtype and device.
        previous_ids: what stands before, for the repetition penalty.
        generator: on the CPU, from `make_generator`; one number is drawn for a token, none at temperature 0.
    Raises:
        WorkbenchError: the logits hold no usable number.
    """
    scores = penalise_repeats(logits.float(), previous_ids, settings.repetition_penalty)
    best, best_id = scores.max(dim=-1)
    if not math.isfinite(best):
        raise WorkbenchError(
            "model",
            f"its largest logit is {best.item()}, not a number",
            "its training diverged; take an earlier checkpoint",
        )
    if settings.temperature == 0:
        return int(best_id)
    # The largest score becomes 0 before the division: a tiny temperature then cannot overflow to inf - inf.
    kept, ids = candidates((scores - best) / settings.temperature, settings)
    # float64: a float32 running sum over a large vocabulary loses its tail.
    heights = kept.double().softmax(dim=-1).cumsum(dim=-1)
    # One float32 number below 1: its product with the sum stays below the sum in float64, so the index is in range.
    drawn = torch.rand((), generator=generator).double().to(heights.device) * heights[-1]
    return int(ids[torch.searchsorted(heights, drawn, right=True)])


def distribution(logits: Tensor, previous_ids: Sequence[int], settings: SamplingSettings) -> tuple[Tensor, Tensor]:
    """What `sample` draws from: the ids that may be drawn, and their probabilities in float64.

    Args:
        logits: (vocab,), any float dtype and device.
        previous_ids: what stands before, for the repetition penalty.
    """
    scores = penalise_repeats(logits.float(), previous_ids, settings.repetition_penalty)
    best, best_id = scores.max(dim=-1)
    if settings.temperature == 0:
        return best_id[None], torch.ones(1, dtype=torch.float64, device=scores.device)
    kept, ids = candidates((scores - best) / settings.temperature, settings)
    return ids, kept.double().softmax(dim=-1)


def penalise_repeats(scores: Tensor, previous_ids: Sequence[int], penalty: float) -> Tensor:
    """Scores (vocab,) with every token of `previous_ids` made less likely once: divided above 0, multiplied below.

    Source: Keskar et al. 2019, arXiv:1909.05858.
    """
    if penalty == 1.0 or not previous_ids:
        return scores
    seen = torch.tensor(sorted(set(previous_ids)), device=scores.device)
    chosen = scores[seen]
    return scores.index_copy(0, seen, torch.where(chosen < 0, chosen * penalty, chosen / penalty))


def candidates(scores: Tensor, settings: SamplingSettings) -> tuple[Tensor, Tensor]:
    """The tokens that may be drawn: their scores and ids, in descending order where top-k or top-p is on.

    Args:
        scores: (vocab,) float32, temperature already applied.
    """
    top_k = min(settings.top_k, scores.shape[-1])
    if top_k:
        kept, ids = scores.topk(top_k)
        if settings.top_p < 1:
            count = _nucleus_size(kept.softmax(dim=-1), settings.top_p)
            kept, ids = kept[:count], ids[:count]
    elif settings.top_p < 1:
        kept, ids = _nucleus(scores, settings.top_p)
    else:
        kept, ids = scores, torch.arange(scores.shape[-1], device=scores.device)
    if settings.min_p > 0:
        likely = kept >= kept.max() + math.log(settings.min_p)
        kept, ids = kept[likely], ids[likely]
    return kept, ids


def _nucleus(scores: Tensor, top_p: float) -> tuple[Tensor, Tensor]:
    """The fewest likeliest tokens that reach `top_p` together, without sorting the rest.

    Source: Holtzman et al. 2019, arXiv:1904.09751.
    """
    vocab = scores.shape[-1]
    normaliser = scores.logsumexp(dim=-1)
    looked_at = min(FIRST_LOOK, vocab)
    while True:
        kept, ids = scores.topk(looked_at)
        probabilities = (kept - normaliser).exp()
        if looked_at == vocab or probabilities.double().sum() >= top_p:
            count = _nucleus_size(probabilities, top_p)
            return kept[:count], ids[:count]
        looked_at = min(looked_at * 8, vocab)


def _nucleus_size(probabilities: Tensor, top_p: float) -> int:
    """How many of the descending `probabilities` are needed: those before which less than `top_p` stands."""
    before = probabilities.double().cumsum(dim=-1) - probabilities.double()
    return max(1, int((before < top_p).sum()))
