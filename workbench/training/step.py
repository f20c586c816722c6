"""The passes of an optimizer step: forward and backward over its batch, in as many parts as memory asks for."""

from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor

from workbench.data.loader import Batch
from workbench.model.precision import autocast
from workbench.model.transformer import Transformer
from workbench.training.balance import ExpertBalance
from workbench.training.compiling import compiled
from workbench.training.loss_scale import LossScale
from workbench.training.objectives import Compute, Objective
from workbench.training.surroundings import Machine


class StepPasses:
    """Leaves the gradient of a step in the parameters of a model.

    Attributes:
        experts: what keeps them busy, and how busy they were in the last step.
    """

    def __init__(self, model: Transformer, objective: Objective, machine: Machine) -> None:
        self.experts = ExpertBalance(model, machine.spread)
        self._model, self._objective, self._machine = model, objective, machine
        self._compute: Compute = objective.__call__
        self._train = machine.spread.train_pass(model, self._computed)

    def compile(self, batch: Batch, on_failure: Callable[[str], None]) -> None:
        """Compile what trains, on trial with a part of `batch`; looking at the model goes its own way."""
        part = self._prepared(next(micro_batches(batch, self._machine.micro_batch_size)))
        with self.experts.watching():  # as in a step: what is compiled for is what is done
            self._compute = compiled(self._compute, self._model, part, self._machine.precision, on_failure)

    def take(self, batch: Batch, loss_scale: LossScale | None = None) -> tuple[float, dict[str, float]]:
        """Leave the gradient of the step's mean loss in the parameters; the mean itself, and those of its measures.

        What keeps experts busy is part of the gradient, and not of the mean.

        Args:
            batch: of the whole step, of which each rank computes its part.
            loss_scale: what the gradient is then multiplied by.
        """
        ranks, size = self._machine.spread.ranks, self._machine.micro_batch_size
        totals = self._objective.totals(batch)
        units = max(next(iter(totals.values())), 1)

        def mean_loss(part: Batch) -> tuple[Tensor, dict[str, Tensor]]:
            with autocast(self._model.device, self._machine.precision):
                sums, seen = self._train(self._model, part)
                # divided by the units of the whole step: the split into parts, or among ranks, changes nothing
                return torch.stack([total / max(totals[kind], 1) for kind, total in sums.items()]).sum(), seen

        # prepared before anything is watched: the experts that a reference visits are not kept busy by this step
        parts = [self._prepared(part) for part in micro_batches(ranks.part(batch), size)]
        passes = [partial(mean_loss, part) for part in parts]
        self.experts.begin_step(passes, ranks.most_parts(batch.units, size))
        loss, measures = 0.0, dict[str, float]()
        for place, forward in enumerate(passes, 1):
            with self.experts.watching(), self._train.adding_up(last=place == len(passes)):
                mean, seen = forward()
                whole = mean + self.experts.loss()
                (whole if loss_scale is None else whole * loss_scale.value).backward()
            loss += float(mean.detach())
            for name, value in seen.items():
                measures[name] = measures.get(name, 0.0) + float(value) / units
        self.experts.end_step()
        loss, *others = ranks.summed([loss, *measures.values()])
        return loss, dict(zip(measures, others, strict=True))

    def _computed(self, model: Transformer, part: Batch) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        return self._compute(model, part)  # which compiling replaces

    def compute(self, part: Batch, model: Transformer | None = None) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """The sums and measures of some rows, computed as in a step, by the model in training or a copy of it."""
        model = model or self._model
        prepared = self._prepared(part, model)
        with autocast(model.device, self._machine.precision):
            return self._compute(model, prepared)

    def _prepared(self, part: Batch, model: Transformer | None = None) -> Batch:
        with autocast(self._model.device, self._machine.precision):
            return self._objective.prepare(model or self._model, part)


def micro_batches(batch: Batch, size: int) -> Iterator[Batch]:
    """`batch` in parts of at most `size` rows, or pairs; the last, shorter one is not dropped."""
    for start in range(0, batch.units, size):
        yield batch.part(start, start + size)
