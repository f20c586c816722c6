"""How likely a model finds given continuations: the sums of log-probabilities that choices are compared by."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from workbench.errors import UsageError
from workbench.inference.generate import evaluating
from workbench.model.transformer import Transformer

# Logits of so many positions exist at once: a vocabulary of 150,000 in float32 is then 150 MB.
POSITIONS_AT_ONCE = 256


@dataclass(frozen=True)
class Likelihood:
    """Of one continuation.

    Args:
        log_probability: in nats, summed over its tokens.
        greedy: each of its tokens is the likeliest one there.
        tokens: how many it has.
    """

    log_probability: float
    greedy: bool
    tokens: int


def continuation_likelihoods(
    model: Transformer,
    pairs: Sequence[tuple[Sequence[int], Sequence[int]]],
    *,
    batch_size: int = 32,
    on_progress: Callable[[int], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> list[Likelihood] | None:
    """The likelihood of each continuation after its context, in the pairs' order; None when stopped.

    Texts of different lengths share a batch: attention is causal, so the padding behind a text changes nothing in it.

    Args:
        pairs: (context, continuation) as token ids; a context has one token at least. What does not fit into the model
            is cut off at the start of the context.
        on_progress: told how many pairs are done, after each batch.
        should_stop: asked before each batch.
    Raises:
        UsageError: a continuation alone is longer than the model reads.
    """
    limit = model.config.max_position_embeddings
    texts = [_fitted(context, continuation, limit) for context, continuation in pairs]
    order = sorted(range(len(texts)), key=lambda index: -len(texts[index][0]))  # the longest need most memory: first
    found: list[Likelihood] = [Likelihood(0.0, True, 0)] * len(texts)
    for start in range(0, len(order), batch_size):
        if should_stop is not None and should_stop():
            return None
        batch = order[start : start + batch_size]
        for index, likelihood in zip(batch, _measured(model, [texts[index] for index in batch]), strict=True):
            found[index] = likelihood
        if on_progress is not None:
            on_progress(start + len(batch))
    return found


def rolling_windows(ids: Sequence[int], first: int, limit: int) -> list[tuple[list[int], list[int]]]:
    """A text of any length as (context, continuation) pairs in which each token is predicted once.

    A window predicts `limit` tokens, with the one before them as context; the last, shorter one has all the context
    that fits.

    Args:
        first: the token that stands before the text.
        limit: tokens that the model reads.
    """
    whole, windows = [first, *ids], []
    for start in range(0, len(ids), limit):
        end = min(start + limit, len(ids))
        windows.append((whole[max(0, end - limit) : start + 1], whole[start + 1 : end + 1]))
    return windows


def _fitted(context: Sequence[int], continuation: Sequence[int], limit: int) -> tuple[list[int], int]:
    """The text as the model reads it, and where in it the continuation begins."""
    assert len(context) > 0, "nothing predicts the first token of a text"
    if len(continuation) > limit:
        problem = f"a continuation of {len(continuation):,} tokens is longer than the {limit:,} that the model reads"
        raise UsageError("likelihood", problem, "shorten it")
    kept = [*context, *continuation][-(limit + 1) :]  # the last token is predicted and not read
    return kept, len(kept) - len(continuation)


def _measured(model: Transformer, texts: Sequence[tuple[list[int], int]]) -> list[Likelihood]:
    device = model.device
    longest = max(len(ids) for ids, _ in texts)
    padded = torch.zeros(len(texts), longest - 1, dtype=torch.long)
    for row, (ids, _) in enumerate(texts):
        padded[row, : len(ids) - 1] = torch.tensor(ids[:-1])
    with evaluating(model):
        hidden = model.hidden_states(padded.to(device))
        rows = [hidden[row, begin - 1 : len(ids) - 1] for row, (ids, begin) in enumerate(texts)]
        targets = [torch.tensor(ids[begin:], dtype=torch.long, device=device) for ids, begin in texts]
        scores, likeliest = _scored(model, torch.cat(rows), torch.cat(targets))
        sizes = [len(each) for each in targets]
        parts = zip(torch.split(scores.double(), sizes), torch.split(likeliest, sizes), sizes, strict=True)
        return [Likelihood(float(each.sum()), bool(best.all()), size) for each, best, size in parts]


def _scored(model: Transformer, hidden: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """For (tokens, hidden_size) states and the token after each: its log-probability, and whether it is the best."""
    scores, likeliest = [], []
    parts = zip(torch.split(hidden, POSITIONS_AT_ONCE), torch.split(targets, POSITIONS_AT_ONCE), strict=True)
    for part, wanted in parts:
        logits = F.linear(part, model.head_weight).float()
        chosen = logits.gather(1, wanted[:, None])[:, 0]
        scores.append(chosen - logits.logsumexp(dim=-1))
        likeliest.append(logits.argmax(dim=-1) == wanted)
    return torch.cat(scores), torch.cat(likeliest)
