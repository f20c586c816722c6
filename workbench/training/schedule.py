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
        steps: of the whole stage; the last step takes `peak * final_ratio`.
    """

    kind: Literal["cosine", "linear", "constant"]
    peak: float
    warmup: int
    steps: int
    final_ratio: float

    def learning_rate(self, step: int) -> float:
        """The rate that step number `step` (from 0) is taken with."""
        if step < self.warmup:
            return self.peak * (step + 1) / self.warmup
        if self.kind == "constant":
            return self.peak
        span = max(self.steps - 1 - self.warmup, 1)
        progress = min((step - self.warmup) / span, 1.0)
        fall = 0.5 * (1 + math.cos(math.pi * progress)) if self.kind == "cosine" else 1 - progress
        return self.peak * (self.final_ratio + (1 - self.final_ratio) * fall)
