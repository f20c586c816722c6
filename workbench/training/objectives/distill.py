"""Distillation: of each next token, the student learns how likely its teacher finds all the others, too.

Source: Hinton et al. 2015, arXiv:1503.02531; the reverse direction, Gu et al. 2023, arXiv:2306.08543.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from workbench.config import DistillSettings
from workbench.data.loader import IGNORED, Batch
from workbench.model.output import Direction, divergences, likeliest, token_losses
from workbench.model.transformer import Transformer
from workbench.training.objectives.top_k import TopK, TopKSource, top_k_divergence, top_k_targets


@dataclass(frozen=True)
class TaughtBatch(Batch):
    """A batch with what its teacher says of it, in one form or the other.

    Args:
        teacher_hidden: (batch, seq, teacher_hidden_size), the teacher's hidden states after its last norm.
        top_k: the likeliest tokens of every target, from the cache on the disk.
    """

    teacher_hidden: Tensor | None = None
    top_k: TopK | None = None


class DistillObjective:
    """The objective of a `distill` stage: alpha * cross-entropy + (1 - alpha) * temperature^2 * divergence.

    A mean over the target tokens, whatever they are: all of a text, or the assistant's.

    Args:
        teacher: frozen, and never the student itself; None where `source` has what it says.
        source: the teacher's likeliest tokens, row by row of the data.
    """

    def __init__(
        self, settings: DistillSettings, teacher: Transformer | None = None, source: TopKSource | None = None
    ) -> None:
        assert teacher is not None or source is not None, "somebody must teach"
        self.settings = settings
        self._source, self._teacher = source, teacher
        self._teacher_head = None if teacher is None else teacher.head_weight.detach()
        if teacher is not None:
            teacher.eval().requires_grad_(False)

    def totals(self, batch: Batch) -> dict[str, int]:
        """The target tokens."""
        return {"targets": int((batch.labels != IGNORED).sum())}

    def prepare(self, model: Transformer, batch: Batch) -> Batch:
        """The batch with what the teacher says of it, where the loss goes by that."""
        return batch if self.settings.alpha == 1 else self.taught(batch)

    @torch.no_grad()
    def taught(self, batch: Batch) -> TaughtBatch:
        """The batch with what the teacher says of it."""
        if self._source is not None:
            return TaughtBatch(**vars(batch), top_k=self._source.read(batch))
        assert self._teacher is not None, "one of the two teaches"
        input_ids, _, starts = _on(batch, self._teacher.device)
        return TaughtBatch(**vars(batch), teacher_hidden=self._teacher.hidden_states(input_ids, document_starts=starts))

    def __call__(self, model: Transformer, batch: Batch) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """The loss summed over the targets; and the two parts of it, without their weights, as `kl` and
        `cross_entropy`. A part whose weight is zero is not computed."""
        alpha, squared = self.settings.alpha, self.settings.temperature**2
        input_ids, labels, starts = _on(batch, model.device)

        def losses(hidden: Tensor, head: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
            total, measures = torch.zeros((), device=hidden.device), dict[str, Tensor]()
            if alpha > 0:
                nll = token_losses(hidden, head, labels).sum()
                total, measures["cross_entropy"] = total + alpha * nll, nll.detach()
            if alpha < 1:
                divergence = self._divergence(hidden, head, labels, batch).sum()
                total, measures["kl"] = total + (1 - alpha) * squared * divergence, divergence.detach()
            return total, measures

        total, measures = model.with_output(input_ids, starts, losses)
        return {"targets": total}, measures

    @torch.no_grad()
    def measure(self, model: Transformer, batch: Batch) -> dict[str, float]:
        """What validation tells of a batch, each summed over its targets.

        Returns:
            `targets`, how many there are; `nats`, their surprise; `teacher_nats`, the teacher's own; `divergence`, as
            the loss has it; `kl`, forward and at a temperature of 1, whatever the settings; `agreement`, how many
            likeliest tokens are the teacher's.
        """
        taught = self.taught(batch)
        input_ids, labels, starts = _on(batch, model.device)
        hidden, head = model.hidden_states(input_ids, document_starts=starts), model.head_weight
        plain = (self.settings.temperature, self.settings.direction) == (1, "forward")
        divergence = self._divergence(hidden, head, labels, taught).sum()
        kl = divergence if plain else self._divergence(hidden, head, labels, taught, plain=True).sum()
        kept = (labels != IGNORED).view(-1)
        own = likeliest(hidden.flatten(0, 1)[kept], head[: self._shared(head)])
        if taught.top_k is not None:
            theirs, teacher_nats = taught.top_k.ids[:, 0], -taught.top_k.label_logps.sum()
        else:
            assert taught.teacher_hidden is not None and self._teacher_head is not None, "the teacher spoke"
            said = taught.teacher_hidden
            theirs = likeliest(said.flatten(0, 1)[kept], self._teacher_head[: self._shared(head)])
            teacher_nats = token_losses(said, self._teacher_head, labels).sum()
        return {
            "targets": float(kept.sum()),
            "nats": float(token_losses(hidden, head, labels).sum()),
            "teacher_nats": float(teacher_nats),
            "divergence": float(divergence),
            "kl": float(kl),
            "agreement": float((own == theirs).sum()),
        }

    def _shared(self, head: Tensor) -> int:
        """The tokens that both know: an output matrix may be padded beyond its vocabulary."""
        theirs = self._source.vocab_size if self._source is not None else len(self._known_head())
        return min(len(head), theirs)

    def _known_head(self) -> Tensor:
        assert self._teacher_head is not None, "without a cache there is a teacher"
        return self._teacher_head

    def _divergence(self, hidden: Tensor, head: Tensor, labels: Tensor, batch: Batch, plain: bool = False) -> Tensor:
        """Of each target from the teacher's distribution, float32, 0 where there is nothing to learn.

        Args:
            plain: forward, and at a temperature of 1.
        """
        assert isinstance(batch, TaughtBatch), "prepare comes first"
        temperature = 1.0 if plain else self.settings.temperature
        direction: Direction = "forward" if plain else self.settings.direction
        shared = self._shared(head)
        head = head if shared == len(head) else head[:shared]
        if batch.top_k is not None:
            rows = top_k_targets(hidden, batch.top_k)
            return top_k_divergence(rows, head, batch.top_k, temperature, direction)
        assert batch.teacher_hidden is not None, "the teacher spoke"
        said = self._known_head()[:shared]
        return divergences(hidden, head, batch.teacher_hidden, said, labels, temperature, direction)


def _on(batch: Batch, device: torch.device) -> tuple[Tensor, Tensor, Tensor | None]:
    starts = batch.document_starts
    return (
        torch.from_numpy(batch.input_ids).to(device),
        torch.from_numpy(batch.labels).to(device),
        None if starts is None else torch.from_numpy(starts).to(device),
    )
