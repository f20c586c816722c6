"""What a trainer is given beside its model and data: how the machine computes, and where checkpoints go."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench.model.precision import Precision


@dataclass(frozen=True)
class Machine:
    """How this machine computes, decided before the stage began.

    Args:
        micro_batch_size: rows computed at once.
    """

    precision: Precision
    micro_batch_size: int
    compile: bool = False


@dataclass(frozen=True)
class Shelf:
    """Where checkpoints go.

    Args:
        lineage: what the model was made from; travels with the weights.
        path: the directory for a step.
        tidy: called after a checkpoint is complete and measured; removes those no longer kept.
    """

    lineage: dict[str, Any]
    path: Callable[[int], Path]
    tidy: Callable[[], None]
