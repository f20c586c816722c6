"""What a stage minimises: of each kind of stage one function of a model and a batch."""

from collections.abc import Callable
from typing import Protocol

from torch import Tensor

from workbench.config import StageSettings
from workbench.data.loader import Batch
from workbench.model.transformer import Transformer
from workbench.training.objectives.dpo import PreferenceObjective
from workbench.training.objectives.next_token import NextToken

# What the call of an objective is, compiled or not: see `Objective.__call__`.
Compute = Callable[[Transformer, Batch], tuple[dict[str, Tensor], dict[str, Tensor]]]


class Objective(Protocol):
    """A loss that is a mean over units: over the target tokens of a step, say, or over its pairs.

    The trainer divides each sum by the total of the whole step, so that the split into micro-batches changes nothing.
    """

    def totals(self, batch: Batch) -> dict[str, int]:
        """How many units of each kind a batch has; the first kind is what measures are taken over."""
        ...

    def prepare(self, model: Transformer, batch: Batch) -> Batch:
        """A micro-batch with what is computed without gradient, and never compiled."""
        ...

    def __call__(self, model: Transformer, batch: Batch) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """For each kind of unit the loss summed over a micro-batch, float32 scalars with a gradient; and measures, each
        summed over the units of the first kind, without one."""
        ...


def build_objective(settings: StageSettings) -> Objective:
    """The objective of a stage; that of distillation is given by whoever has the teacher."""
    assert settings.kind != "distill", "it needs its teacher"
    if settings.kind == "dpo":
        assert settings.dpo is not None, "filled in where it is absent"
        return PreferenceObjective(settings.dpo)
    return NextToken()  # of pretrain and sft: the labels say which tokens are targets
