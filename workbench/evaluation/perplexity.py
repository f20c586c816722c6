"""How surprised a model is by text it was not trained on: loss, perplexity, bits per byte."""

import math
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from workbench.data.loader import Batch
from workbench.errors import DataError
from workbench.inference.generate import evaluating
from workbench.model.transformer import Transformer

Sums = tuple[float, int, int]
"""Nats, target tokens, and bytes of text."""


@dataclass(frozen=True)
class Loss:
    """Mean surprise over all target tokens.

    Args:
        nats_per_token: the loss that training reports.
        perplexity: its exponential: among how many equally likely tokens the model hesitates.
        bits_per_byte: the same surprise by byte of text, which does not depend on the tokenizer; special tokens count
            with their loss and without bytes.
        tokens: targets measured; text_bytes: what they stand for.
    """

    nats_per_token: float
    perplexity: float
    bits_per_byte: float
    tokens: int
    text_bytes: int

    @classmethod
    def of(cls, nats: float, tokens: int, text_bytes: int) -> "Loss":
        """The measures of a sum of surprise over so many tokens, which stand for so many bytes."""
        mean = nats / tokens
        return cls(mean, _exponential(mean), nats / math.log(2) / max(text_bytes, 1), tokens, text_bytes)

    @classmethod
    def together(cls, parts: Sequence["Loss"]) -> "Loss":
        """The loss over the tokens of all parts."""
        nats = sum(part.nats_per_token * part.tokens for part in parts)
        return cls.of(nats, sum(part.tokens for part in parts), sum(part.text_bytes for part in parts))


def evaluate_loss(
    model: Transformer,
    batches: Iterable[Batch],
    byte_lengths: np.ndarray,
    autocast_context: AbstractContextManager[Any],
    collected: Callable[[Sums], list[Sums]] = lambda own: [own],
) -> Loss:
    """Measure `model` on every target of `batches`; gradients, random state and `model.training` stay as they are.

    Args:
        byte_lengths: int32 (vocab,), how many bytes each token stands for.
        autocast_context: entered once around everything; training's own, so that both losses compare.
        collected: gives the sums of all who share the batches, this process's among them.
    Raises:
        DataError: the batches hold no target.
    """
    nats, tokens, text_bytes = 0.0, 0, 0
    lengths = torch.from_numpy(np.asarray(byte_lengths, dtype=np.int64))
    with evaluating(model), autocast_context:
        for batch in batches:
            labels = torch.as_tensor(batch.labels)
            starts = None if batch.document_starts is None else torch.as_tensor(batch.document_starts)
            loss, count = model.loss(
                torch.as_tensor(batch.input_ids).to(model.device),
                labels.to(model.device),
                None if starts is None else starts.to(model.device),
            )
            nats += float(loss)
            tokens += int(count)
            text_bytes += int(lengths[labels[labels >= 0].cpu()].sum())
    nats, tokens, text_bytes = (sum(each) for each in zip(*collected((nats, tokens, text_bytes)), strict=True))
    if tokens == 0:
        raise DataError("validation", "there is no token to predict", "give more validation data")
    return Loss.of(nats, tokens, text_bytes)


def _exponential(value: float) -> float:
    try:
        return math.exp(value)
    except OverflowError:
        return math.inf
