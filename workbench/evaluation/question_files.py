"""Files of questions: one JSON object a line, all that is wrong with one told together."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from workbench.errors import DataError

# Broken lines told one by one in a message; the rest are counted.
TOLD_PROBLEMS = 5

Entry = TypeVar("Entry")


def read_entries(path: Path, parse: Callable[[Any], Entry], form: str) -> list[Entry]:
    """What `parse` makes of each line of a JSONL file.

    Args:
        parse: raises ValueError, with what is wrong, for a value that is no entry.
        form: of a line, for people.
    Raises:
        DataError: the file cannot be read, holds no entry, or has broken lines; all of them in one message.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")  # a text may hold other line separators
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(str(path), f"cannot be read ({error})", "give a JSONL file of questions in UTF-8") from error
    entries, problems = [], []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            entries.append(parse(json.loads(line)))
        except ValueError as error:
            problems.append(f"line {number}: {error}")
    if problems:
        more = f"; and {len(problems) - TOLD_PROBLEMS} more" if len(problems) > TOLD_PROBLEMS else ""
        raise DataError(str(path), "; ".join(problems[:TOLD_PROBLEMS]) + more, "correct these lines")
    if not entries:
        raise DataError(str(path), "there is no question in it", f"write lines of {form}")
    return entries


def text_of(row: dict[str, Any], key: str) -> str:
    """The text under a key.

    Raises:
        ValueError: it is missing, empty or no text.
    """
    value = row.get(key)
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f'"{key}" is missing, empty or no text')
    return value
