"""Dynamic loss scaling: float16 holds no gradient below 6e-8, so the loss is made large before the backward pass.

Source: Micikevicius et al. 2018, arXiv:1710.03740, section 3.2.
"""

import math

import torch
from torch import Tensor

FIRST_SCALE = 2.0**16
LARGEST_SCALE = 2.0**24  # beyond, the loss itself would leave float32 in rare sums; gradients gain nothing there
SMALLEST_SCALE = 2.0**-10  # below, overflow comes from the model and not from the scale
STEPS_TO_GROW = 2000  # in a row without overflow, until a scale of twice the size is tried


class LossScale:
    """The factor on the loss: halved when gradients overflow, doubled after many steps without.

    Args:
        value: to begin with.
        good_steps: taken since the last change; both are part of a checkpoint.
    """

    def __init__(self, value: float = FIRST_SCALE, good_steps: int = 0) -> None:
        self.value, self.good_steps = value, good_steps

    @property
    def state(self) -> tuple[float, int]:
        """What `LossScale(*state)` goes on from."""
        return self.value, self.good_steps

    @property
    def exhausted(self) -> bool:
        """Whether halving no longer helps."""
        return self.value < SMALLEST_SCALE

    def unscale(self, gradients: list[Tensor]) -> None:
        """Divide the gradients by the scale, in place."""
        if gradients:
            torch._foreach_mul_(gradients, 1.0 / self.value)

    def update(self, grad_norm: float) -> bool:
        """Take note of a step's gradient norm; False where the step must be skipped, as it is not finite."""
        if not math.isfinite(grad_norm):
            self.value, self.good_steps = self.value / 2, 0
            return False
        self.good_steps += 1
        if self.good_steps >= STEPS_TO_GROW:
            self.value, self.good_steps = min(self.value * 2, LARGEST_SCALE), 0
        return True
