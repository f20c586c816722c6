"""How wide text is on a terminal, where Chinese characters take two columns; and text in lines of so many columns."""

import unicodedata
from collections.abc import Iterator

HARMLESS_INVISIBLE = "\u200c\u200d"
"""Of invisible characters only these two: joiners that emoji and some scripts need. Others may reorder or hide text."""
NO_START = "，。；：！？、）》」』”’…%)]},.;:!?"
"""What must not begin a line."""
NO_END = "（《「『“‘([{"
"""What must not end one."""
_CHINESE_FROM = "\u2e80"


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


def wrap(text: str, columns: int) -> list[str]:
    """`text` in lines of at most so many columns: broken at spaces, and between Chinese characters.

    Its own line breaks stay; spaces where a line breaks go.
    """
    return [line for part in text.splitlines() for line in _wrap_line(part, max(2, columns))]


def _wrap_line(text: str, columns: int) -> Iterator[str]:
    line = ""
    for piece in _pieces(text):
        if width(line) + width(piece.rstrip()) <= columns:
            line += piece
            continue
        if line:
            yield line.rstrip()
        line = piece.lstrip()
        while width(line.rstrip()) > columns:  # a word longer than a line
            cut = next(at for at in range(len(line), 0, -1) if width(line[:at]) <= columns)
            yield line[:cut]
            line = line[cut:]
    yield line.rstrip()


def _pieces(text: str) -> Iterator[str]:
    """What is not broken: words with the spaces behind them, and Chinese characters with their punctuation."""
    piece = ""
    for place, character in enumerate(text):
        piece += character
        after = text[place + 1 : place + 2]
        if not after:
            break
        breakable = character == " " or character >= _CHINESE_FROM or after >= _CHINESE_FROM
        if breakable and after != " " and after not in NO_START and character not in NO_END:
            yield piece
            piece = ""
    yield piece
