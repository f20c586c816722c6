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
        return self.peak * (self.final_ratio + (1 - self.final_ratio) * self.height(step))

    @property
    def decay_start(self) -> int:
        """The step from which the rate falls."""
        if self.kind != "wsd":
            return self.warmup
        return max(self.warmup, self.steps - 1 - math.ceil(self.steps * self.decay_fraction))

    def progress(self, step: int) -> float:
        """How far the fall is at `step`, from 0 to 1."""
        start = self.decay_start
        return min(max(step - start, 0) / max(self.steps - 1 - start, 1), 1.0)

    def height(self, step: int) -> float:
        """How much of the way from the last rate to the peak there is at `step`, from 1 to 0."""
        progress = self.progress(step)
        if self.kind == "cosine":
            return 0.5 * (1 + math.cos(math.pi * progress))
        return 1 - (math.sqrt(progress) if self.kind == "wsd" else progress)
