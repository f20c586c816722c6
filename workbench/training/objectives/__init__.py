"""What a stage minimises: one function of a model and a batch for each kind of stage."""

from collections.abc import Callable

from torch import Tensor

from workbench.data.loader import Batch
from workbench.model.transformer import Transformer
from workbench.training.objectives import next_token

Objective = Callable[[Transformer, Batch], Tensor]
"""Gives the loss summed over a micro-batch's units, a float32 scalar with a gradient."""

OBJECTIVES: dict[str, Objective] = {
    "pretrain": next_token.loss_sum,
    "sft": next_token.loss_sum,  # the labels say which tokens are the assistant's
}
