"""Next-token prediction, the objective of pretraining and of supervised fine-tuning.

The two differ in the labels alone: pretraining targets every token, fine-tuning only the assistant's.
"""

import torch
from torch import Tensor

from workbench.data.loader import Batch
from workbench.model.transformer import Transformer


def loss_sum(model: Transformer, batch: Batch) -> Tensor:
    """The summed negative log-likelihood of a micro-batch's targets, in nats: a float32 scalar.

    The trainer divides it by the targets of the whole step, so that neither padding nor the split into micro-batches
    changes what is learnt.
    """
    device = model.device
    starts = batch.document_starts
    total, _ = model.loss(
        torch.from_numpy(batch.input_ids).to(device),
        torch.from_numpy(batch.labels).to(device),
        document_starts=None if starts is None else torch.from_numpy(starts).to(device),
    )
    return total
