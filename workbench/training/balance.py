"""The losses that keep experts busy, taken over all the tokens of an optimizer step, however it is split: into parts,
and among ranks.

The balance loss of a layer is E * sum over its E experts of (share of the visits) * (mean probability): 1 where all are
equally busy, E / visited where the same few do everything. The z-loss is the mean square of the log-sum-exp of a
router's logits. Both are means over layers, and padding counts in neither.
Source: Fedus et al. 2021, arXiv:2101.03961, equations 4 to 6, with visits for tokens where a token visits several;
over the whole step, Qiu et al. 2025, arXiv:2501.11873; the z-loss, Zoph et al. 2022, arXiv:2202.08906, equation 5.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from workbench.model.routing import RoutingSums
from workbench.model.transformer import Transformer
from workbench.training.distributed import Spread
from workbench.training.random_numbers import same_random_numbers

_DIGITS = 5  # of a share: a step has some ten thousand visits, and every report is kept


@dataclass(frozen=True)
class RoutingFigures:
    """What a step's routing was like, as plain numbers.

    Args:
        balance_loss: without its coefficient, 1 where all experts are equally busy; router_z_loss: likewise.
        expert_load: for each layer, each expert's share of the visits.
    """

    balance_loss: float
    router_z_loss: float
    expert_load: tuple[tuple[float, ...], ...]


class ExpertBalance:
    """Both losses of a model's routers; a model without experts has none, and pays nothing.

    Args:
        spread: the ranks that compute a step together.
    """

    def __init__(self, model: Transformer, spread: Spread | None = None) -> None:
        self._routing, self._device = model.routing, model.device
        self._spread = spread or Spread()
        self._coefficients = (model.config.router_aux_loss_coef, model.config.router_z_loss_coef)
        self._whole: RoutingSums | None = None  # of a step in several parts, as counted beforehand
        self._step: RoutingSums | None = None  # of the step's parts so far, without gradient

    def begin_step(self, passes: Sequence[Callable[[], object]], most: int = 0) -> None:
        """A step begins that consists of these forward passes.

        How often an expert is visited in the whole step must be known before the first part can be differentiated:
        a step in several parts is read once more, without gradient.

        Args:
            most: how many passes the rank with the most of them makes.
        """
        self._whole = self._step = None
        if self._routing is None or max(len(passes), most) < 2 or not any(self._coefficients):
            return
        # the same random numbers, so that dropout sends no token elsewhere than in the pass that counts
        with torch.no_grad(), same_random_numbers(self._device), self._routing.watching() as watch:
            for forward in passes:
                forward()
        self._whole = self._spread.added_up(watch.sums)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Inside, one of the step's passes runs, once, and then its backward pass.

        The watch lasts so long because a pass that is made again for the backward one must be made the same way.
        """
        if self._routing is None:
            yield
        else:
            with self._routing.watching():
                yield

    def loss(self) -> Tensor | float:
        """The part of both losses that belongs to the pass just made; the parts of a step add up to its losses."""
        if self._routing is None:
            return 0.0
        assert self._routing.watch is not None, "a pass is made while it is watched"
        part = self._routing.watch.sums
        done = part.detach()
        self._step = done if self._step is None else self._step + done
        if not any(self._coefficients):
            return 0.0
        # without a reading beforehand each rank has one part, and all have just made it
        balance, squares = _losses(part, self._whole or self._spread.added_up(done))
        return self._coefficients[0] * balance + self._coefficients[1] * squares

    def end_step(self) -> None:
        """All passes of the step were made, by every rank."""
        if self._step is not None:
            self._step = self._spread.added_up(self._step)

    def figures(self) -> RoutingFigures | None:
        """What the step was like, after its end; None for a model without experts."""
        if self._step is None:
            return None
        balance, squares = _losses(self._step, self._step)
        load = tuple(tuple(round(share, _DIGITS) for share in layer) for layer in _shares(self._step).tolist())
        return RoutingFigures(float(balance), float(squares), load)


def _losses(part: RoutingSums, whole: RoutingSums) -> tuple[Tensor, Tensor]:
    """What `part` contributes to the balance loss and to the z-loss of `whole`, without coefficients."""
    tokens, experts = whole.tokens.clamp_min(1), whole.counts.shape[1]
    balance = experts * (_shares(whole) * part.probabilities).sum(dim=1).mean() / tokens
    return balance, part.squared_logits.mean() / tokens


def _shares(sums: RoutingSums) -> Tensor:
    return sums.counts / sums.counts.sum(dim=1, keepdim=True).clamp_min(1)
