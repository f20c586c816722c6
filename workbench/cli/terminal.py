"""Text on a terminal: made harmless, measured in columns, set in tables and in colour."""

import io
import os
import sys
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from workbench.cells import HARMLESS_INVISIBLE, character_width
from workbench.cells import width as width

_COLOURS = {"plain": "", "good": "32", "warning": "33", "error": "31", "quiet": "2", "strong": "1"}


def printable(text: str) -> str:
    """`text` with all that a terminal would obey instead of show spelled out: what a model writes is data."""
    return "".join(character if _harmless(character) else _spelled(character) for character in text)


def one_line(text: str) -> str:
    """`text` made harmless, with its line breaks shown as signs."""
    return printable(text.replace("\n", "⏎ ").replace("\t", " "))


def clipped(text: str, columns: int) -> str:
    """The beginning of `text` that fits into `columns`, with a sign where something is missing."""
    if width(text) <= columns:
        return text
    taken, kept = 0, []
    for character in text:
        taken += character_width(character)
        if taken > columns - 1:
            break
        kept.append(character)
    return "".join(kept) + "…"


def table(rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> str:
    """`rows` with their columns aligned; those whose numbers are in `right` to the right."""
    widths = [max(width(cell) for cell in column) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = []
        for index, (cell, columns) in enumerate(zip(row, widths, strict=True)):
            space = " " * (columns - width(cell))
            cells.append(space + cell if index in right else cell + space)
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def coloured(text: str, tone: str, stream: TextIO) -> str:
    """`text` in the colour of `tone`, where `stream` is a terminal that shows colours and nobody asked for none."""
    code = _COLOURS[tone]
    return f"\x1b[{code}m{text}\x1b[0m" if code and shows_colours(stream) else text


def shows_colours(stream: TextIO) -> bool:
    """Whether escape sequences may be sent."""
    return stream.isatty() and os.environ.get("TERM") != "dumb" and not os.environ.get("NO_COLOR")


def open_missing_streams() -> None:
    """Give a program that was started with closed streams empty ones: nobody reads them, and it goes on."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115  open until the end


def forgive_encoding() -> None:
    """Let a terminal that cannot show a character show its number, and input in no encoding be read, in some way."""
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="replace")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _harmless(character: str) -> bool:
    if character in "\n\t" or character in HARMLESS_INVISIBLE:
        return True
    # isprintable refuses every space but one; the Chinese full-width one is a space too.
    return character.isprintable() or unicodedata.category(character) == "Zs"


def _spelled(character: str) -> str:
    number = ord(character)
    if number < 0x100:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"
