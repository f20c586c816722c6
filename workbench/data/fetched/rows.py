"""Writing what was fetched in the formats of this project."""

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from workbench.data.fetched.progress import Progress

TELL_EVERY = 2000  # rows: often enough for a bar, too seldom to cost anything


def write_jsonl(path: Path, rows: Iterable[Mapping[str, Any]], progress: Progress) -> int:
    """Write one JSON object a line; the number of lines."""
    count = 0
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
            count += 1
            if count % TELL_EVERY == 0:
                progress.tell(f"writing {path.name}: rows", count)
        file.flush()
        os.fsync(file.fileno())
    progress.tell(f"writing {path.name}: rows", count, count)
    return count


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8 with plain newlines."""
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def conversation(turns: Iterable[str]) -> dict[str, list[dict[str, str]]] | None:
    """Turns of two speakers as {"conversations"}: the first is the user, the last an assistant's answer.

    A last turn of the user is left out, as there is nothing to learn from it; None when no answer remains or a turn
    is empty.
    """
    said = [turn.strip() for turn in turns]
    said = said[: len(said) // 2 * 2]
    if not said or not all(said):
        return None
    roles = ("user", "assistant")
    return {"conversations": [{"role": roles[i % 2], "content": turn} for i, turn in enumerate(said)]}
