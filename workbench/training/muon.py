"""Muon: momentum whose matrices are made orthogonal, so that rare directions move as far as common ones.

Only the matrices between hidden states are moved that way; embeddings, the output matrix and vectors go by AdamW.
Source: Jordan et al. 2024, kellerjordan.github.io/posts/muon; the length of the update, which lets both share a
learning rate, Liu et al. 2025, arXiv:2502.16982. Why facts that are told rarely profit, arXiv:2509.26030.
"""

from collections import defaultdict
from typing import Any

import torch
from torch import Tensor

from workbench.training.compact_adamw import CompactAdamW
from workbench.training.sharded import cut_like, whole

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of a polynomial that takes singular values anywhere in 0 to 1 close to 1 in five rounds."""
ROUNDS = 5
RMS_OF_ADAMW = 0.2  # of AdamW's updates, as a rule


class Muon(CompactAdamW):
    """AdamW whose groups with `muon=True` are moved by Muon; one state and one learning rate for all.

    Args:
        groups: parameter groups with `muon`, and for those with it `momentum`.
        state_format: of all memories, as for `CompactAdamW`.
    """

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Move every parameter by its gradient."""
        groups = self.param_groups
        for group in groups:
            if group["muon"]:
                self._move_matrices(group)
        self.param_groups = [group for group in groups if not group["muon"]]
        try:
            super().step()
        finally:
            self.param_groups = groups

    def _move_matrices(self, group: dict[str, Any]) -> None:
        by_shape: dict[tuple[int, ...], list[Any]] = defaultdict(list)
        for parameter in group["params"]:
            if parameter.grad is not None:
                by_shape[parameter.shape].append(parameter)
        decay = 1 - group["lr"] * group["weight_decay"]
        for (*stacked, rows, columns), parameters in by_shape.items():  # the matrices of experts are stacked
            momentum = group["momentum"]
            # whole matrices: of sharded ones each rank gathers all and does the same work
            directions = torch.stack(
                [whole(self._direction(each, each.grad, momentum, place)) for place, each in enumerate(parameters)]
            )
            updates = orthogonal(directions.view(-1, rows, columns)).view(-1, *stacked, rows, columns)
            length = RMS_OF_ADAMW * max(rows, columns) ** 0.5
            for parameter, update in zip(parameters, updates, strict=True):
                parameter.mul_(decay).add_(cut_like(update, parameter), alpha=-group["lr"] * length)

    def _direction(self, parameter: Tensor, grad: Tensor, momentum: float, place: int) -> Tensor:
        """The gradient's running mean, a step ahead (Nesterov)."""
        state = self.state[parameter]
        if not self.formatter.shortens(parameter):
            if not state:
                state["momentum"] = torch.zeros_like(parameter)
            state["momentum"].lerp_(grad, 1 - momentum)
            return grad.lerp(state["momentum"], momentum)
        state["step"] = state["step"].cpu() + 1 if state else torch.ones(())
        mean = self.formatter.read(state, "momentum", parameter).lerp_(grad, 1 - momentum)
        self.formatter.write(state, "momentum", mean, (int(state["step"]), place), square=False)
        return grad.lerp(mean, momentum)


def orthogonal(matrices: Tensor) -> Tensor:
    """Each matrix with its singular values brought close to 1, by a Newton-Schulz iteration.

    Args:
        matrices: (count, rows, columns).
    """
    wide = matrices.mT if matrices.shape[1] > matrices.shape[2] else matrices  # the smaller square is the cheaper
    # bf16 is enough (the polynomial corrects itself), where it is fast: on GPUs
    x = wide.bfloat16() if wide.is_cuda else wide
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp_min(1e-7)
    a, b, c = COEFFICIENTS
    for _ in range(ROUNDS):
        square = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(square, square, square, beta=b, alpha=c), x, beta=a)
    x = x.to(matrices.dtype)
    return x.mT if matrices.shape[1] > matrices.shape[2] else x
