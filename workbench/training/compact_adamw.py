"""AdamW whose memories are kept in bfloat16 or int8; the arithmetic of a step is float32.

Source: Loshchilov and Hutter 2019, arXiv:1711.05101.
"""

from typing import Any

import torch
from torch import Tensor

from workbench.training.state_formats import StateFormat, StateFormatter


class CompactAdamW(torch.optim.AdamW):
    """`torch.optim.AdamW` with a format for its state.

    Parameters are moved one by one, each with its memories unfolded only meanwhile: slower than the fused kernel by a
    few operations a parameter, for a quarter or half of the memory.

    Args:
        groups: parameter groups.
        state_format: of both memories; see `state_formats`.
    """

    def __init__(self, groups: list[dict[str, Any]], *, state_format: StateFormat = "fp32", **settings: Any) -> None:
        super().__init__(groups, **settings)
        self.formatter = StateFormatter(state_format)

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Move every parameter by its gradient; with state in float32 by torch's own kernel."""
        if self.formatter.format == "fp32":
            super().step()
            return
        place = 0
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._move(parameter, group, place)
                place += 1

    def _move(self, parameter: Tensor, group: dict[str, Any], place: int) -> None:
        state, grad = self.state[parameter], parameter.grad
        assert grad is not None, "step looks at that"
        state["step"] = state["step"].cpu() + 1 if state else torch.ones(())  # on the CPU: it is read at every step
        step, (beta1, beta2) = int(state["step"]), group["betas"]
        mean = self.formatter.read(state, "exp_avg", parameter)
        square = self.formatter.read(state, "exp_avg_sq", parameter)
        mean.lerp_(grad, 1 - beta1)
        square.mul_(beta2).addcmul_(grad, grad, value=1 - beta2)
        spread = (square / (1 - beta2**step)).sqrt_().add_(group["eps"])
        parameter.mul_(1 - group["lr"] * group["weight_decay"])
        parameter.addcdiv_(mean, spread, value=-group["lr"] / (1 - beta1**step))
        self.formatter.write(state, "exp_avg", mean, (step, place), square=False)
        self.formatter.write(state, "exp_avg_sq", square, (step, place), square=True)
