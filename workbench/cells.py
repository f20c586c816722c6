"""How wide text is on a terminal, where Chinese characters take two columns."""

import unicodedata

HARMLESS_INVISIBLE = "\u200c\u200d"
"""Of invisible characters only these two: joiners that emoji and some scripts need. Others may reorder or hide text."""


def width(text: str) -> int:
    """Columns that `text` takes."""
    return len(text) if text.isascii() else sum(map(character_width, text))


def padded(text: str, columns: int) -> str:
    """`text` with spaces behind it, up to so many columns."""
    return text + " " * (columns - width(text))


def character_width(character: str) -> int:
    """Columns of one character."""
    if unicodedata.combining(character) or character in HARMLESS_INVISIBLE:
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1
