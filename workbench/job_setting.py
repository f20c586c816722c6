"""What the stages of a run share, and what each starts from."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from workbench import events
from workbench.config import Profile, StageSettings
from workbench.control import Control
from workbench.job_data import purpose
from workbench.runs.store import RunDirectory
from workbench.tokenizer.tokenizer import Tokenizer
from workbench.training.distributed import Spread
from workbench.training.ranks import Ranks


@dataclass(frozen=True)
class Parent:
    """What a stage starts from.

    Args:
        directory: a model directory; None starts from random weights.
        fingerprint: of all that it was made from.
        stages: of every stage so far, what `lineage_entry` tells.
        base: where the first weights came from; None when they were random.
        scores: of the parent, to compare with.
    """

    directory: Path | None
    fingerprint: str
    stages: tuple[dict[str, str], ...]
    base: str | None
    scores: dict[str, float]


@dataclass(frozen=True)
class Setting:
    """What every stage of a run shares.

    Args:
        spread: the processes that do it together.
    """

    profile: Profile
    run: RunDirectory
    tokenizer: Tokenizer
    device: torch.device
    precision: Any
    compile: bool
    emitter: events.Emitter
    control: Control
    should_stop: Callable[[], bool]
    spread: Spread

    @property
    def ranks(self) -> Ranks:
        """Which of how many processes this one is."""
        return self.spread.ranks


def lineage_entry(stage: StageSettings) -> dict[str, str]:
    """Name and kind of a stage, as a model's lineage keeps them; of distill also how it reads its data."""
    taught = {"learns": purpose(stage)} if stage.kind == "distill" else {}
    return {"name": stage.name, "kind": stage.kind, **taught}
