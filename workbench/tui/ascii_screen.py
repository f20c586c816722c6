"""The screens in ASCII: what is drawn is exchanged sign by sign, and keys have names in place of pictures."""

from rich.segment import Segment
from textual.color import Color
from textual.filter import LineFilter

from workbench.ascii_signs import in_ascii

KEY_NAMES = {
    "⏎": "enter",
    "↑": "up",
    "↓": "down",
    "←": "left",
    "→": "right",
    "⌫": "backspace",
    "⭾": "tab",
    "⇧": "shift+",
}


class AsciiFilter(LineFilter):
    """Draws every sign as a character of ASCII."""

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        """The same line; styles and widths stay."""
        return [
            segment if segment.text.isascii() else Segment(in_ascii(segment.text), segment.style, segment.control)
            for segment in segments
        ]


def spelled(key: str) -> str:
    """A key as it is shown, in letters."""
    for sign, name in KEY_NAMES.items():
        key = key.replace(sign, name)
    return key
