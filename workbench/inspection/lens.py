"""What a model expects at each place of a text: its next tokens, and what they would be after each layer.

Source of the logit lens: nostalgebraist 2020, "interpreting GPT: the logit lens".
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from workbench.inference.generate import evaluating
from workbench.inspection.watching import as_row, read_parts
from workbench.model.transformer import Transformer

TOP = 10


@dataclass(frozen=True)
class Choice:
    """A token that may come next, with its probability."""

    token_id: int
    probability: float


@dataclass(frozen=True)
class Place:
    """One token of a text, and what the model expects behind it.

    Args:
        log_probability: of this token given those before it, in nats; None for the first, which nothing precedes.
        rank: 1 where the model thought this token the likeliest; None likewise.
        entropy: of the next token, in nats; ln(vocabulary) where the model has no idea.
        choices: the likeliest next tokens, the best first.
    """

    token_id: int
    log_probability: float | None
    rank: int | None
    entropy: float
    choices: tuple[Choice, ...]


def read_text(model: Transformer, ids: Sequence[int], top: int = TOP) -> list[Place]:
    """What the model makes of each token of a text.

    Raises:
        UsageError: no text, or more than the model can read.
    """
    with evaluating(model):
        logits = model(as_row(model, ids))[0].float()
        logs = logits.log_softmax(dim=-1)  # (seq, vocab)
        entropies = -(logs.exp() * logs).sum(dim=-1)
        told = [(None, None), *_of_targets(logs[:-1], ids[1:])]
        best = _choices(logs, top)
    return [
        Place(token_id, *of_token, float(entropy), choices)
        for token_id, of_token, entropy, choices in zip(ids, told, entropies, best, strict=True)
    ]


def logit_lens(model: Transformer, ids: Sequence[int], top: int = 3) -> list[list[tuple[Choice, ...]]]:
    """What would come next if the model ended after each layer: its residual stream through the last norm and the head.

    Returns:
        For the embeddings and then each layer, for each place of the text, the likeliest next tokens. The last layer's
        are the model's own.
    Raises:
        UsageError: no text, or more than the model can read.
    """
    residual = read_parts(model, ids).residual
    with evaluating(model):
        weight = model.head_weight
        found = []
        for hidden in residual:
            normed = model.model.norm(hidden.to(weight.device, weight.dtype))
            logits = torch.nn.functional.linear(normed, weight).float()
            found.append(_choices(logits.log_softmax(dim=-1), top))
    return found


def _of_targets(logs: Tensor, targets: Sequence[int]) -> list[tuple[float, int]]:
    """The log-probability and the rank of each target."""
    if not targets:
        return []
    chosen = logs.gather(1, torch.tensor(list(targets), device=logs.device)[:, None])  # (seq, 1)
    ranks = (logs > chosen).sum(dim=-1) + 1
    return list(zip(chosen[:, 0].tolist(), ranks.tolist(), strict=True))


def _choices(logs: Tensor, top: int) -> list[tuple[Choice, ...]]:
    values, indices = logs.topk(min(top, logs.shape[-1]), dim=-1)
    return [
        tuple(Choice(token, probability) for token, probability in zip(tokens, row, strict=True))
        for tokens, row in zip(indices.tolist(), values.exp().tolist(), strict=True)
    ]
