"""Next-token prediction, the objective of pretraining and of supervised fine-tuning.

The two differ in the labels alone: pretraining targets every token, fine-tuning only the assistant's.
"""

import torch
from torch import Tensor

from workbench.data.loader import Batch
from workbench.model.transformer import Transformer


class NextToken:
    """The negative log-likelihood of a micro-batch's targets, in nats."""

    def totals(self, batch: Batch) -> dict[str, int]:
        """The target tokens: neither padding nor the prompt is one."""
        return {"targets": int((batch.labels >= 0).sum())}

    def prepare(self, model: Transformer, batch: Batch) -> Batch:
        """The batch as it is."""
        return batch

    def __call__(self, model: Transformer, batch: Batch) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """The loss summed over the targets; there is nothing else to measure."""
        device = model.device
        starts = batch.document_starts
        total, _ = model.loss(
            torch.from_numpy(batch.input_ids).to(device),
            torch.from_numpy(batch.labels).to(device),
            document_starts=None if starts is None else torch.from_numpy(starts).to(device),
        )
        return {"targets": total}, {}
