"""Learning from preferences: of two answers to one question, the better becomes likelier than the worse.

The losses are pure functions of log-probabilities, a number for each pair. Names and values are those of TRL.

Sources: DPO, Rafailov et al. 2023, arXiv:2305.18290; IPO, Azar et al. 2023, arXiv:2310.12036; SimPO, Meng et al. 2024,
arXiv:2405.14734; ORPO, Hong et al. 2024, arXiv:2403.07691; fine-tuning beside them, Pang et al. 2024, arXiv:2404.19733.
"""

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from workbench.config import PreferenceSettings
from workbench.data.loader import IGNORED, Batch
from workbench.model.lora import lora_layers, without_lora
from workbench.model.transformer import Transformer

_SHORT_OF_CERTAIN = -1e-7  # the odds of an answer that is certain are infinite
_TIE = 1e-4  # nats: what sums in another order make of equal log-probabilities


@dataclass(frozen=True)
class PairLogps:
    """Log-probabilities of the answers of some pairs, each (pairs,) float32.

    Args:
        chosen, rejected: summed over the answer's tokens.
        reference_chosen, reference_rejected: likewise under the frozen reference; zeros for losses without one.
        chosen_tokens, rejected_tokens: how many tokens the answers have.
    """

    chosen: Tensor
    rejected: Tensor
    reference_chosen: Tensor
    reference_rejected: Tensor
    chosen_tokens: Tensor
    rejected_tokens: Tensor

    @property
    def chosen_ratio(self) -> Tensor:
        """By how much the chosen answers became likelier."""
        return self.chosen - self.reference_chosen

    @property
    def rejected_ratio(self) -> Tensor:
        """By how much the rejected answers did."""
        return self.rejected - self.reference_rejected

    @property
    def mean_chosen(self) -> Tensor:
        """By token."""
        return self.chosen / self.chosen_tokens

    @property
    def mean_rejected(self) -> Tensor:
        """By token."""
        return self.rejected / self.rejected_tokens


def sigmoid_loss(pairs: PairLogps, beta: float, label_smoothing: float = 0.0) -> Tensor:
    """DPO: the chosen answer should have gained more on the reference than the rejected one."""
    return _smoothed(beta * (pairs.chosen_ratio - pairs.rejected_ratio), label_smoothing)


def ipo_loss(pairs: PairLogps, beta: float) -> Tensor:
    """IPO: it should have gained 1 / (2 beta) more by token, and no more than that."""
    gained = pairs.chosen_ratio / pairs.chosen_tokens - pairs.rejected_ratio / pairs.rejected_tokens
    return (gained - 1 / (2 * beta)) ** 2


def simpo_loss(pairs: PairLogps, beta: float, gamma: float, label_smoothing: float = 0.0) -> Tensor:
    """SimPO: it should be likelier by token, by gamma / beta."""
    return _smoothed(beta * (pairs.mean_chosen - pairs.mean_rejected) - gamma, label_smoothing)


def odds_ratio_loss(pairs: PairLogps, beta: float) -> Tensor:
    """The part of ORPO that compares: the odds of the chosen answer against those of the rejected one, by token."""
    return -beta * F.logsigmoid(_log_odds(pairs.mean_chosen) - _log_odds(pairs.mean_rejected))


def _smoothed(margin: Tensor, label_smoothing: float) -> Tensor:
    return -(1 - label_smoothing) * F.logsigmoid(margin) - label_smoothing * F.logsigmoid(-margin)


def _log_odds(logp: Tensor) -> Tensor:
    """log(p / (1 - p))."""
    logp = logp.clamp(max=_SHORT_OF_CERTAIN)
    return logp - torch.log(-torch.expm1(logp))


class PreferenceObjective:
    """The objective of a `dpo` stage, over batches of pairs.

    A model with adapters is its own reference, with them switched off; another's reference comes with the batch.
    """

    def __init__(self, settings: PreferenceSettings) -> None:
        self.settings = settings

    def totals(self, batch: Batch) -> dict[str, int]:
        """Pairs, and where the chosen answers are imitated as well, their tokens."""
        totals = {"pairs": batch.units}
        if self.settings.imitation:
            totals["chosen_tokens"] = int((batch.labels[::2] != IGNORED).sum())
        return totals

    def prepare(self, model: Transformer, batch: Batch) -> Batch:
        """The batch with what the reference says of it, where that is the model itself with its adapters off."""
        if batch.reference is not None or not self.settings.has_reference:
            return batch
        assert lora_layers(model), "without adapters to switch off, the reference comes with the batch"
        labels = torch.from_numpy(batch.labels).to(model.device)
        input_ids = torch.from_numpy(batch.input_ids).to(model.device)
        with torch.no_grad(), without_lora(model):  # no dropout either: an adapter that is off has none
            logps = -model.token_losses(input_ids, labels)
        return replace(batch, reference=logps.float().cpu().numpy())

    def __call__(self, model: Transformer, batch: Batch) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """The loss summed over each kind of unit, and measures summed over pairs."""
        labels = torch.from_numpy(batch.labels).to(model.device)
        input_ids = torch.from_numpy(batch.input_ids).to(model.device)
        logps = -model.token_losses(input_ids, labels)  # (2 * pairs, seq), 0 where nothing is to be learnt
        reference = self._reference(batch, labels)
        pairs = _pairs(logps, reference, labels)
        sums = {"pairs": self.losses(pairs).sum()}
        if self.settings.imitation:
            sums["chosen_tokens"] = -self.settings.imitation * pairs.chosen.sum()
        return sums, self._measures(pairs, logps.detach(), reference)

    def losses(self, pairs: PairLogps) -> Tensor:
        """The loss of each pair, (pairs,), without what only imitates the better answer."""
        settings = self.settings
        match settings.loss:
            case "sigmoid":
                return sigmoid_loss(pairs, settings.beta, settings.label_smoothing)
            case "ipo":
                return ipo_loss(pairs, settings.beta)
            case "simpo":
                return simpo_loss(pairs, settings.beta, settings.gamma, settings.label_smoothing)
            case "orpo":
                return odds_ratio_loss(pairs, settings.beta)

    def _reference(self, batch: Batch, labels: Tensor) -> Tensor | None:
        if not self.settings.has_reference:
            return None
        assert batch.reference is not None, "prepare comes first"
        return torch.from_numpy(batch.reference).to(labels.device).masked_fill(labels == IGNORED, 0.0)

    @torch.no_grad()
    def _measures(self, pairs: PairLogps, logps: Tensor, reference: Tensor | None) -> dict[str, Tensor]:
        """What is told of a step beside its loss, each summed over the pairs."""
        rewards = pairs.chosen_ratio, pairs.rejected_ratio
        if not self.settings.has_reference:
            rewards = pairs.mean_chosen, pairs.mean_rejected
        margin = self.settings.beta * (rewards[0] - rewards[1])
        measures = {
            "reward_margin": margin.sum(),
            "reward_accuracy": _won(margin),
            "chosen_likelier": _won(pairs.chosen - pairs.rejected),
            "chosen_logp": pairs.chosen.sum(),
            "rejected_logp": pairs.rejected.sum(),
        }
        if reference is not None:
            measures["kl"] = _divergence(logps[::2], reference[::2], pairs.chosen_tokens)
        return measures


def _pairs(logps: Tensor, reference: Tensor | None, labels: Tensor) -> PairLogps:
    sums, counts = logps.sum(dim=1), (labels != IGNORED).sum(dim=1)
    frozen = torch.zeros_like(sums) if reference is None else reference.sum(dim=1)
    return PairLogps(sums[::2], sums[1::2], frozen[::2], frozen[1::2], counts[::2], counts[1::2])


def _won(margin: Tensor) -> Tensor:
    """How many margins are above zero; of those that are zero, as good as, half."""
    return (margin > _TIE).sum() + (margin.abs() <= _TIE).sum() / 2


def _divergence(logps: Tensor, reference: Tensor, tokens: Tensor) -> Tensor:
    """An estimate of how far the model has drifted from its reference, in nats by token, summed over answers.

    The mean of exp(d) - 1 - d with d the reference's log-probability less the model's: never negative, 0 at the start.
    It is taken on the chosen answers, which stand in for samples of the model's own.
    Source: John Schulman 2020, joschu.net/blog/kl-approx.html.
    """
    d = reference - logps
    return ((torch.expm1(d) - d).sum(dim=1) / tokens).sum()
