"""Routing: what the routers of a model decide, kept while somebody watches."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from workbench.model.configuration import ModelConfig


@dataclass(frozen=True)
class RoutingSums:
    """What the routers decided over some tokens, padding left out.

    Args:
        tokens: how many were routed, a float32 scalar.
        counts: (layers, experts) float32, how often each expert was visited.
        probabilities: (layers, experts) float32, summed over tokens.
        squared_logits: (layers,) float32, the square of the log-sum-exp of a router's logits, summed over tokens.
    """

    tokens: Tensor
    counts: Tensor
    probabilities: Tensor
    squared_logits: Tensor

    def __add__(self, other: "RoutingSums") -> "RoutingSums":
        return RoutingSums(
            self.tokens + other.tokens,
            self.counts + other.counts,
            self.probabilities + other.probabilities,
            self.squared_logits + other.squared_logits,
        )

    def detach(self) -> "RoutingSums":
        """The same without a gradient."""
        return RoutingSums(self.tokens, self.counts, self.probabilities.detach(), self.squared_logits.detach())


class Watch:
    """Adds up the decisions of the passes made while it lasts."""

    def __init__(self, config: ModelConfig) -> None:
        self._layers, self._pad_token_id = config.num_hidden_layers, config.pad_token_id
        self._real: Tensor | None = None
        self._tokens: list[Tensor] = []
        self._decided: list[tuple[Tensor, Tensor, Tensor]] = []

    def begin(self, input_ids: Tensor) -> None:
        """A pass over `input_ids`, (batch, seq), begins."""
        pad = input_ids == (-1 if self._pad_token_id is None else self._pad_token_id)
        real = torch.ones_like(pad)
        # a pad token may also end a text, but does so once: the second in a row is padding
        real[:, 1:] = ~(pad[:, 1:] & pad[:, :-1])
        self._real = real.flatten().float()
        self._tokens.append(self._real.sum())

    def note(self, logits: Tensor, probabilities: Tensor, chosen: Tensor) -> None:
        """The next layer's router decided.

        Args:
            logits: (tokens, experts) float32; probabilities: their softmax.
            chosen: (tokens, visited), the experts of each token.
        """
        assert self._real is not None, "a pass begins before its routers decide"
        real = self._real.to(logits.dtype)
        counts = logits.new_zeros(logits.shape[1]).scatter_add_(
            0, chosen.flatten(), real.repeat_interleave(chosen.shape[1])
        )
        self._decided.append((counts, real @ probabilities, real @ logits.logsumexp(dim=-1).square()))

    @property
    def sums(self) -> RoutingSums:
        """All decisions so far, with gradient where the passes had one."""
        counts, probabilities, squares = (
            torch.stack(part).unflatten(0, (-1, self._layers)).sum(dim=0) for part in zip(*self._decided, strict=True)
        )
        return RoutingSums(torch.stack(self._tokens).sum(), counts, probabilities, squares)


class Routing:
    """Where a model's routers leave their decisions; while nobody watches it costs nothing."""

    def __init__(self, config: ModelConfig) -> None:
        self._config = config
        self.watch: Watch | None = None

    @contextmanager
    def watching(self) -> Iterator[Watch]:
        """All decisions made inside."""
        self.watch = watch = Watch(self._config)
        try:
            yield watch
        finally:
            self.watch = None
