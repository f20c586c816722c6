"""Where a model directory's weights come from, as its `lineage.json` tells."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from workbench.errors import ModelError

LINEAGE_FILE = "lineage.json"


def only_pretrained(directory: Path) -> bool:
    """True for weights made here from scratch by pretraining alone: they go on with text but answer nobody.

    Without a `lineage.json` the model came from elsewhere, and its chat template is taken at its word.

    Raises:
        ModelError: the file is there and is not what we write.
    """
    path = directory / LINEAGE_FILE
    if not path.is_file():
        return False
    try:
        lineage = json.loads(path.read_text(encoding="utf-8"))
        return lineage["base"] is None and only_text(lineage["stages"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(str(path), f"cannot be read ({error!r})", "remove it to go by the chat template") from error


def only_text(stages: Iterable[Mapping[str, str]]) -> bool:
    """Whether every one of the stages learned from texts, and none from conversations."""
    return all(stage.get("learns", stage["kind"]) == "pretrain" for stage in stages)
