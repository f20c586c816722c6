"""An answer looked through: how likely each of its tokens was, what else could have stood there, who worked on it.

The figures come from one more pass over prompt and answer. Two distributions are told apart: the model's own (softmax
of its logits), and the one that was drawn from (after repetition penalty, temperature, top-k, top-p and min-p).
"""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from workbench.inference.generate import StopReason, evaluating
from workbench.inference.likelihood import POSITIONS_AT_ONCE
from workbench.inference.sampling import SamplingSettings, distribution
from workbench.inspection.routing import LayerRouting, watch_routers
from workbench.inspection.watching import as_row, hooked
from workbench.model.transformer import Transformer

TOP = 10
Visits = tuple[tuple[int, float], ...]


@dataclass(frozen=True)
class Alternative:
    """A token that could stand in a place.

    Args:
        probability: under the model's own distribution.
        drawn: under the one that was drawn from; 0 where sampling ruled it out.
    """

    token_id: int
    probability: float
    drawn: float


@dataclass(frozen=True)
class Place:
    """One token of an answer, or the place behind its last.

    Args:
        token_id: what stands there; at the end of an answer that the model ended, the token that ends it; None
            behind an answer that was cut.
        chosen: the same with its probabilities.
        rank: 1 where it was the likeliest under the model's own distribution; 0 where nothing stands there.
        entropy: of the model's own distribution, in bits; log2(vocabulary) where the model has no idea.
        possible: how many tokens could have been drawn.
        alternatives: the likeliest tokens and, in any case, the one that stands there; the likeliest first.
        experts: for each layer with experts, those that this token visited, with their weights, the heaviest first;
            empty behind the last token, which nothing was read at.
    """

    token_id: int | None
    chosen: Alternative | None
    rank: int
    entropy: float
    possible: int
    alternatives: tuple[Alternative, ...]
    experts: tuple[Visits, ...]


def x_ray(
    model: Transformer,
    prompt_ids: Sequence[int],
    answer_ids: Sequence[int],
    settings: SamplingSettings,
    stop_ids: Collection[int],
    stopped_by: StopReason = "end",
    top: int = TOP,
) -> list[Place]:
    """Each token of an answer, and then the place behind the last.

    Args:
        prompt_ids: what the model read before it answered, one token at least.
        settings: that the answer was drawn with.
        stop_ids: the tokens that end an answer.
    Raises:
        UsageError: both together are more than the model can read.
    """
    assert len(prompt_ids) > 0, "nothing predicts the first token of a text"
    ids = [*prompt_ids, *answer_ids]
    first = len(prompt_ids)
    with evaluating(model), hooked() as hook:
        row = as_row(model, ids)
        routing = watch_routers(model, hook)
        hidden = model.hidden_states(row)[0, first - 1 :]  # (answer + 1, hidden_size), each predicts what follows it
        places: list[Place] = []
        for part in torch.split(hidden, POSITIONS_AT_ONCE):
            logits = F.linear(part, model.head_weight).float()
            for scores in logits:
                at = first + len(places)
                token_id = ids[at] if at < len(ids) else _ending(scores, stop_ids, stopped_by)
                experts = _visits(routing, at) if at < len(ids) else ()
                places.append(_place(scores, ids[:at], token_id, settings, top, experts))
    return places


def _place(
    logits: Tensor,
    before: Sequence[int],
    token_id: int | None,
    settings: SamplingSettings,
    top: int,
    experts: tuple[Visits, ...],
) -> Place:
    """logits: (vocab,) float32."""
    logs = logits.log_softmax(dim=-1)
    chances = logs.exp()
    entropy = -torch.special.xlogy(chances, chances).sum() / math.log(2)
    possible, drawable = distribution(logits, before, settings)
    drawn = torch.zeros_like(logits, dtype=torch.float64).index_copy(0, possible, drawable)
    values, best = chances.topk(min(top, len(chances)))
    rows = zip(best.tolist(), values.tolist(), drawn[best].tolist(), strict=True)
    found = [Alternative(*row) for row in rows]
    chosen, rank = None, 0
    if token_id is not None:
        chosen = Alternative(token_id, float(chances[token_id]), float(drawn[token_id]))
        rank = int((logits > logits[token_id]).sum()) + 1
        if all(each.token_id != token_id for each in found):
            found.append(chosen)
    return Place(token_id, chosen, rank, float(entropy), len(possible), tuple(found), experts)


def _ending(logits: Tensor, stop_ids: Collection[int], stopped_by: StopReason) -> int | None:
    """The likeliest of the tokens that end an answer, where the model ended it."""
    known = [each for each in stop_ids if each < len(logits)]
    return max(known, key=lambda each: float(logits[each])) if stopped_by == "end" and known else None


def _visits(routing: Sequence[LayerRouting], at: int) -> tuple[Visits, ...]:
    return tuple(layer.visits[at] for layer in routing)
