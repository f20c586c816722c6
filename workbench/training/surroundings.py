"""What a trainer is given beside its model and data: how the machine computes, and where checkpoints go."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from workbench.model.precision import Precision
from workbench.training.checkpoint import Adaptation
from workbench.training.distributed import Spread


@dataclass(frozen=True)
class Machine:
    """How this machine computes, decided before the stage began.

    Args:
        micro_batch_size: rows, or pairs of them, computed at once.
        spread: the ranks that train together.
    """

    precision: Precision
    micro_batch_size: int
    compile: bool = False
    spread: Spread = field(default_factory=Spread)


@dataclass(frozen=True)
class Shelf:
    """Where checkpoints go.

    Args:
        lineage: what the model was made from; travels with the weights.
        path: the directory for a step.
        tidy: called after a checkpoint is complete and measured; removes those no longer kept.
        adaptation: of a model that is trained by LoRA.
    """

    lineage: dict[str, Any]
    path: Callable[[int], Path]
    tidy: Callable[[], None]
    adaptation: Adaptation | None = None
