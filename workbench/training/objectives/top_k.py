"""A teacher known by its likeliest tokens: what is kept of it, and the divergence from that.

Of each target the teacher's `k` likeliest tokens are kept, and of all others the mass that they have together. The
divergence is that of two distributions over k + 1 events; with k as large as the vocabulary it is the whole one.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from workbench.data.loader import IGNORED, Batch
from workbench.data.top_k_store import TopKStore

_LOGITS_AT_ONCE = 1 << 23
_FEWEST_ROWS = 256  # however large the vocabulary: the output matrix gets a gradient from each part


@dataclass(frozen=True)
class TopK:
    """What a teacher finds likely at some targets; log-probabilities are those of a temperature of 1.

    Args:
        places: (targets,) int64; where the targets stand in the batch, row after row.
        ids: (targets, k) int64, the likeliest first; logps: (targets, k) float32, theirs.
        rest: (targets,) float32; the logarithm of what all other tokens have together, -inf where there are none.
        tempered_rest: likewise, of their probabilities to the power of 1 / temperature of the stage.
        label_logps: (targets,) float32; the log-probability of the target itself.
        vocab_size: of the teacher's distribution.
    """

    places: Tensor
    ids: Tensor
    logps: Tensor
    rest: Tensor
    tempered_rest: Tensor
    label_logps: Tensor
    vocab_size: int

    def distribution(self, temperature: float) -> Tensor:
        """The log-probabilities of the k tokens and, where there are others, of these; (targets, k or k + 1).

        Args:
            temperature: the stage's, or 1.
        """
        tempered = self.logps / temperature
        if self.ids.shape[1] < self.vocab_size:
            others = self.rest if temperature == 1 else self.tempered_rest
            tempered = torch.cat([tempered, others.unsqueeze(1)], dim=1)
        return tempered.log_softmax(dim=1)


class TopKSource:
    """Gives the batches of a data set what was kept of the teacher.

    Args:
        vocab_size: how many tokens the teacher chose among.
    """

    def __init__(self, store: TopKStore, vocab_size: int, device: torch.device) -> None:
        self.vocab_size = vocab_size
        self._store, self._device = store, device

    def read(self, batch: Batch) -> TopK:
        """What the teacher finds likely at the targets of `batch`."""
        assert batch.rows is not None, "rows that are kept have numbers"
        kept = batch.labels != IGNORED
        ids, logps, sums = self._store.read(batch.rows, kept.sum(axis=1))
        places = torch.from_numpy(kept.reshape(-1).nonzero()[0])
        rest, tempered_rest, label_logps = torch.from_numpy(sums).to(self._device).unbind(dim=1)
        return TopK(
            places.to(self._device),
            torch.from_numpy(ids).to(self._device),
            torch.from_numpy(logps).to(self._device),
            rest,
            tempered_rest,
            label_logps,
            self.vocab_size,
        )


def top_k_targets(hidden: Tensor, top_k: TopK) -> Tensor:
    """The student's hidden states at the targets, (targets, hidden_size); `hidden` is (batch, seq, hidden_size)."""
    return hidden.flatten(0, 1)[top_k.places]


@torch.compiler.disable  # type: ignore[untyped-decorator]  # the number of targets changes from batch to batch
def top_k_divergence(hidden: Tensor, weight: Tensor, top_k: TopK, temperature: float, direction: str) -> Tensor:
    """The divergence of each target from the teacher, over its k tokens and the rest; (targets,) float32.

    Logits are made part by part, and once more on the way back, so that (targets, vocab_size) never exists all at once.

    Args:
        hidden: (targets, hidden_size) of the student.
        weight: (vocab_size, hidden_size), its output matrix.
        temperature: divides the logits of both; the stage's, or 1.
        direction: forward, the teacher's distribution from the student's, or reverse.
    """
    teacher = top_k.distribution(temperature)
    size = max(_FEWEST_ROWS, _LOGITS_AT_ONCE // len(weight))
    found = []
    for start in range(0, len(hidden), size):
        part = slice(start, start + size)
        arguments = (hidden[part], weight, top_k.ids[part], teacher[part], temperature, direction)
        if torch.is_grad_enabled():
            found.append(checkpoint(_divergence, *arguments, use_reentrant=False))
        else:
            found.append(_divergence(*arguments))
    return torch.cat(found) if found else hidden.sum(dim=1).float()


def _divergence(
    hidden: Tensor, weight: Tensor, ids: Tensor, teacher: Tensor, temperature: float, direction: str
) -> Tensor:
    logits = (hidden @ weight.T).float() / temperature
    student = logits.gather(1, ids)
    if teacher.shape[1] > ids.shape[1]:
        others = logits.scatter(1, ids, float("-inf")).logsumexp(dim=1, keepdim=True)
        student = torch.cat([student, others], dim=1)
    student = student.log_softmax(dim=1)
    first, second = (teacher, student) if direction == "forward" else (student, teacher)
    return (first.exp() * (first - second)).sum(dim=1)


@torch.no_grad()
def likeliest_tokens(
    hidden: Tensor, weight: Tensor, labels: Tensor, k: int, temperature: float
) -> tuple[Tensor, Tensor, Tensor]:
    """What is kept of a teacher at some targets: ids (targets, k), their log-probabilities, and sums (targets, 3).

    Args:
        hidden: (targets, hidden_size) of the teacher; weight: its output matrix, (vocab_size, hidden_size).
        labels: (targets,), the targets themselves.
        k: at most vocab_size.
        temperature: of the stage.
    """
    size = max(1, _LOGITS_AT_ONCE // len(weight))
    found = []
    for start in range(0, len(hidden), size):
        part = slice(start, start + size)
        logps = (hidden[part] @ weight.T).float().log_softmax(dim=1)
        values, ids = logps.topk(k, dim=1)
        label = logps.gather(1, labels[part].unsqueeze(1))
        others = logps.scatter_(1, ids, float("-inf"))
        rest = [(others / divisor).logsumexp(dim=1, keepdim=True) for divisor in (1.0, temperature)]
        found.append((ids, values, torch.cat([*rest, label], dim=1)))
    if not found:
        return labels.new_zeros(0, k), hidden.new_zeros(0, k), hidden.new_zeros(0, 3)
    ids, values, sums = (torch.cat(each) for each in zip(*found, strict=True))
    return ids, values, sums
