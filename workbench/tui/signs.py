"""The last look at what goes to the terminal: characters that it would obey instead of show never reach it."""

import re

from rich.segment import Segment
from textual.color import Color
from textual.filter import LineFilter

OBEYED = re.compile(r"[\x00-\x1f\x7f-\x9f]")
"""Control characters of ASCII and of ISO 6429: an escape in an answer could clear or recolour everything."""


class Harmless(LineFilter):
    """Leaves control characters out. They have no width, so nothing moves; panes that expect them show signs."""

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        """The segments of one line; nearly always the very same."""
        if not any(OBEYED.search(segment.text) for segment in segments):
            return segments
        return [
            segment if segment.control else Segment(OBEYED.sub("", segment.text), segment.style) for segment in segments
        ]
