"""The weights' exponential moving average, which wavers less than the weights themselves.

Source: Polyak and Juditsky 1992; the slow start of the average that of Tan and Le 2019, arXiv:1905.11946, whose code
takes min(decay, (1 + step) / (10 + step)).
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from workbench.training.sharded import cut_like, is_sharded, own_part, whole


class MovingAverage:
    """A second copy of the trained parameters that follows them, in float32 on their device.

    Args:
        decay: share of the average that each step keeps; fewer in the first steps, so that the initial weights fade.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self._trained = {name: each for name, each in model.named_parameters() if each.requires_grad}
        self._averages = {name: own_part(each.detach()).clone() for name, each in self._trained.items()}

    @torch.no_grad()
    def follow(self, step: int) -> None:
        """Move the average towards the weights after optimizer step number `step` (from 1)."""
        share = 1 - min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(list(self._averages.values()), [own_part(each) for each in self._trained.values()], share)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Inside, the model computes with the average; afterwards its own weights are back, untouched."""
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    def settle(self) -> None:
        """Leave the average in the model: training is over."""
        self._exchange()

    def trained_tensors(self, keep: bool = True) -> dict[str, Tensor]:
        """The weights in training by parameter name, which a checkpoint holds beside the average.

        Args:
            keep: False gives nothing, at a rank that only takes part where they are gathered.
        """
        kept: dict[str, Tensor] = {}
        for name, each in self._trained.items():
            full = whole(each.detach())
            if keep:
                kept[name] = full.cpu() if is_sharded(each) else full
        return kept

    @torch.no_grad()
    def restore(self, trained: dict[str, Tensor]) -> None:
        """Take the model's present weights for the average, and `trained` for the weights in training.

        Raises:
            KeyError: a parameter is missing.
        """
        for name, parameter in self._trained.items():
            self._averages[name].copy_(own_part(parameter))
            parameter.copy_(cut_like(trained[name], parameter))

    @torch.no_grad()
    def _exchange(self) -> None:
        for name, parameter in self._trained.items():
            if is_sharded(parameter):  # whose memory is not ours to replace
                kept = own_part(parameter).clone()
                own_part(parameter).copy_(self._averages[name])
                self._averages[name].copy_(kept)
            else:
                parameter.data, self._averages[name] = self._averages[name], parameter.data
