"""Prompts for a model to answer: the user's turns of a conversation, or a text.

Read are conversations in any of the shapes that fine-tuning reads, with or without answers, which are left out; objects
with a "prompt", "question", "query", "instruction", "input" or "text"; and plain texts.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from workbench.data.conversations import ROLES, TURN_KEYS, alpaca_prompt, to_messages
from workbench.data.rows import BadRow, Row, check_text, type_name
from workbench.data.sources import read_lines, read_rows, resolve_format
from workbench.tokenizer.chat_template import Message

TEXT_KEYS = ("prompt", "question", "query", "input", "text")
EXPECTED = f"expected turns or one of {', '.join(TEXT_KEYS)}"


@dataclass(frozen=True)
class Prompt:
    """What a user says, turn by turn.

    Args:
        system: a system message before the first turn; None without one.
        turns: each to be answered before the next is said.
    """

    system: str | None
    turns: tuple[str, ...]


class Asked(NamedTuple):
    """A prompt and its place."""

    file: str
    line: int
    prompt: Prompt


def to_prompt(value: object) -> Prompt:
    """The prompt of a row.

    Raises:
        ValueError: why the row cannot be used.
    """
    if isinstance(value, str):
        return Prompt(None, (_said(value),))
    if not isinstance(value, Mapping):
        raise ValueError(f"wrong type: found {type_name(value)}, expected an object")
    system = value.get("system")
    if system is not None and not isinstance(system, str):
        raise ValueError(f"wrong type: the system prompt is {type_name(system)}, expected text")
    for key in TURN_KEYS:
        if isinstance(turns := value.get(key), list | str):
            return _of_turns(turns, system, bool(value.get("tools")))
    if isinstance(value.get("prompt"), list):
        return _of_turns(value["prompt"], system, bool(value.get("tools")))
    if "instruction" in value:
        return Prompt(system or None, (_said(alpaca_prompt(value)),))
    for key in TEXT_KEYS:
        if key in value:
            return Prompt(system or None, (_said(value[key]),))
    names = ", ".join(str(key) for key in list(value)[:8]) or "none"
    raise ValueError(f"unknown keys: found {names}; {EXPECTED}")


def read_prompts(path: Path, format_name: str = "auto") -> Iterator[Asked | BadRow]:
    """The prompts of a file, and the rows that hold none; of a plain text each line is one.

    Raises:
        DataError: the file is missing, or cannot be read at all.
    """
    plain = resolve_format(path, format_name) == "text"
    for row in read_lines(path) if plain else read_rows(path, format_name):
        if isinstance(row, Row) and plain and not str(row.value).strip():
            continue
        yield row if isinstance(row, BadRow) else _of_row(row)


def _of_row(row: Row) -> Asked | BadRow:
    try:
        return Asked(row.file, row.line, to_prompt(row.value))
    except ValueError as error:
        return BadRow(row.file, row.line, str(error), row.end)


def _of_turns(turns: Any, system: str | None, tools: bool) -> Prompt:
    if isinstance(turns, list):  # answers are made anew; an empty one, which awaits that, would be refused
        turns = [turn for turn in turns if _role(turn) != "assistant"]
        tools = tools or any(isinstance(turn, Mapping) and turn.get("tools") for turn in turns)
        if not turns:
            raise ValueError("no question: there is no turn of the user")
    messages: list[Message] = to_messages(turns)
    if tools or any(message["role"] == "tool" for message in messages):
        raise ValueError("tools: nobody is here to carry out what the model calls")
    asked = tuple(message["content"] for message in messages if message["role"] == "user")
    if not asked or not all(text.strip() for text in asked):
        raise ValueError("no question: a turn of the user is missing or empty")
    told = [message["content"] for message in messages if message["role"] == "system"]
    return Prompt("\n".join(told) or system or None, asked)


def _role(turn: object) -> str | None:
    given = (turn.get("role") or turn.get("from")) if isinstance(turn, Mapping) else None
    return ROLES.get(given) if isinstance(given, str) else None


def _said(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"wrong type: the prompt is {type_name(value)}, expected text")
    check_text(value, "the prompt")
    if not value.strip():
        raise ValueError("empty prompt")
    return value
