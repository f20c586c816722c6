"""What a data file is for, by what stands in it."""

import contextlib
from itertools import islice
from pathlib import Path
from typing import Literal

from workbench.data.conversations import to_conversation, to_text
from workbench.data.rows import Row
from workbench.data.sources import read_rows

Purpose = Literal["pretrain", "sft", "dpo"]
_ROWS_LOOKED_AT = 1000


def purpose_of(path: Path) -> Purpose:
    """What a file is for, by the first row that can be used for anything; of none, pretraining.

    Raises:
        DataError: the file is missing or cannot be read at all.
    """
    for row in islice(read_rows(path), _ROWS_LOOKED_AT):
        if not isinstance(row, Row):
            continue
        if isinstance(row.value, dict) and "chosen" in row.value:
            return "dpo"
        with contextlib.suppress(ValueError):
            to_text(row.value)
            return "pretrain"
        with contextlib.suppress(ValueError):
            to_conversation(row.value)
            return "sft"
    return "pretrain"
