"""Choosing the next token of many texts at once: for each row what `sampling.sample` does for one."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from workbench.errors import WorkbenchError
from workbench.inference.sampling import FIRST_LOOK, SamplingSettings, penalise_repeats


def sample_rows(
    logits: Tensor, previous_ids: Sequence[Sequence[int]], settings: SamplingSettings, generators: list[torch.Generator]
) -> list[int]:
    """The next token id of each row.

    Args:
        logits: (rows, vocab), any float dtype and device.
        previous_ids: what stands before in each row, for the repetition penalty.
        generators: one a row, on the CPU; one number is drawn from each for a token, none at temperature 0.
    Raises:
        WorkbenchError: the logits of a row hold no usable number.
    """
    scores = logits.float()
    if settings.repetition_penalty != 1.0:
        penalty = settings.repetition_penalty
        rows = [penalise_repeats(row, ids, penalty) for row, ids in zip(scores, previous_ids, strict=True)]
        scores = torch.stack(rows)
    best, best_ids = scores.max(dim=-1, keepdim=True)
    if not bool(best.isfinite().all()):
        problem = "its largest logit is not a number"
        raise WorkbenchError("model", problem, "its training diverged; take an earlier checkpoint")
    if settings.temperature == 0:
        return [int(token) for token in best_ids[:, 0].tolist()]
    kept, ids = _candidates((scores - best) / settings.temperature, settings)
    heights = kept.double().softmax(dim=-1).cumsum(dim=-1)
    drawn = torch.stack([torch.rand((), generator=generator) for generator in generators]).double()
    places = torch.searchsorted(heights, drawn.to(heights.device)[:, None] * heights[:, -1:], right=True)
    chosen = places if ids is None else ids.gather(1, places)
    return [int(token) for token in chosen[:, 0].tolist()]


def _candidates(scores: Tensor, settings: SamplingSettings) -> tuple[Tensor, Tensor | None]:
    """The scores of the tokens that may be drawn, -inf for others that stand beside them, and their ids.

    Args:
        scores: (rows, vocab) float32, temperature already applied.
    Returns:
        Two of (rows, candidates); ids are None where every token is a candidate, in its own place.
    """
    ids: Tensor | None = None
    kept, top_k = scores, min(settings.top_k, scores.shape[-1])
    if top_k:
        kept, ids = scores.topk(top_k)
        if settings.top_p < 1:
            kept = _without_tail(kept, kept.softmax(dim=-1), settings.top_p)
    elif settings.top_p < 1:
        kept, ids = _nuclei(scores, settings.top_p)
    if settings.min_p > 0:
        least = kept.max(dim=-1, keepdim=True).values + math.log(settings.min_p)
        kept = kept.masked_fill(kept < least, float("-inf"))
    return kept, ids


def _nuclei(scores: Tensor, top_p: float) -> tuple[Tensor, Tensor]:
    """The fewest likeliest tokens of each row that reach `top_p` together, without sorting the rest."""
    vocab, normaliser = scores.shape[-1], scores.logsumexp(dim=-1, keepdim=True)
    looked_at = min(FIRST_LOOK, vocab)
    while True:
        kept, ids = scores.topk(looked_at)
        probabilities = (kept - normaliser).exp()
        if looked_at == vocab or bool((probabilities.double().sum(dim=-1) >= top_p).all()):
            return _without_tail(kept, probabilities, top_p), ids
        looked_at = min(looked_at * 8, vocab)


def _without_tail(scores: Tensor, probabilities: Tensor, top_p: float) -> Tensor:
    """Descending scores with -inf behind those that reach `top_p` together."""
    wide = probabilities.double()
    before = wide.cumsum(dim=-1) - wide
    tail = before >= top_p
    tail[:, 0] = False  # the likeliest always stays
    return scores.masked_fill(tail, float("-inf"))
