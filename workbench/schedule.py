"""The course of the learning rate."""

import math
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Schedule:
    """Learning rate by step: a rise from zero, then a fall to a share of the peak.

    Args:
        peak: learning rate at the end of the warmup.
        warmup: steps of the rise; the first step already takes `peak / warmup`, as a step at zero would be wasted.
        steps: of the whole stage; the last step takes `peak * final_ratio`, but for "constant".
        decay_fraction: share of the steps, at their end, over which "wsd" falls (warmup, stable, decay).
    Source: wsd, Hu et al. 2024, arXiv:2404.06395; its fall, Hägele et al. 2024, arXiv:2405.18392.
    """

    kind: Literal["cosine", "linear", "wsd", "constant"]
    peak: float
    warmup: int
    steps: int
    final_ratio: float
    decay_fraction: float = 0.2

    def learning_rate(self, step: int) -> float:
        """The rate that step number `step` (from 0) is taken with."""
        if step < self.warmup:
            return self.peak * (step + 1) / self.warmup
        if self.kind == "constant":
            return self.peak
        return self.peak * (self.final_ratio + (1 - self.final_ratio) * self._height(step))

    def _height(self, step: int) -> float:
        """From 1 at the peak to 0 at the last step."""
        last = self.steps - 1
        start = self.warmup
        if self.kind == "wsd":
            start = max(start, last - math.ceil(self.steps * self.decay_fraction))
        progress = min(max(step - start, 0) / max(last - start, 1), 1.0)
        if self.kind == "cosine":
            return 0.5 * (1 + math.cos(math.pi * progress))
        return 1 - (math.sqrt(progress) if self.kind == "wsd" else progress)
