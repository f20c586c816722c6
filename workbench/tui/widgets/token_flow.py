"""An answer as its tokens: a bar and a colour for how likely each was, one of them pointed at."""

from dataclasses import dataclass

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from workbench.tui.widgets.spark import BLOCKS

# name of a style, and the probability from which on it is used
BANDS = (("sure", 0.5), ("likely", 0.1), ("unlikely", 0.01), ("rare", 0.0))


@dataclass(frozen=True)
class FlowToken:
    """One token.

    Args:
        text: for the eye, on one line.
        probability: None where nothing was chosen.
        breaks: the line ends behind it.
    """

    text: str
    probability: float | None
    breaks: bool = False


Piece = tuple[int, str, str]
"""Number of the token, its bar (or nothing, where it goes on from the line before), its text."""


class TokenFlow(ScrollView, can_focus=True, inherit_bindings=False):
    """Tokens in lines; only those in view are drawn."""

    COMPONENT_CLASSES = {"flow--sure", "flow--likely", "flow--unlikely", "flow--rare", "flow--none", "flow--here"}
    DEFAULT_CSS = """
    TokenFlow { height: 1fr; overflow-x: hidden; }
    TokenFlow > .flow--sure { color: $foreground; }
    TokenFlow > .flow--likely { color: $primary; }
    TokenFlow > .flow--unlikely { color: $accent; }
    TokenFlow > .flow--rare { color: $accent; text-style: bold underline; }
    TokenFlow > .flow--none { color: $foreground 60%; text-style: italic; }
    TokenFlow > .flow--here { text-style: bold reverse; }
    """

    class Pointed(Message):
        """Somebody clicked a token."""

        def __init__(self, number: int) -> None:
            super().__init__()
            self.number = number

    def __init__(self, *, id: str) -> None:  # noqa: A002
        super().__init__(id=id, classes="pane")
        self.tokens: list[FlowToken] = []
        self.at = 0
        self._lines: list[list[Piece]] = []
        self._line_of: list[int] = []

    def show(self, tokens: list[FlowToken], at: int = 0) -> None:
        """Show these tokens, and point at one."""
        self.tokens = tokens
        self._lay_out()
        self.point_to(at)

    def point_to(self, at: int) -> None:
        """Point at another token."""
        self.at = max(0, min(len(self.tokens) - 1, at))
        if self._line_of:
            line = Region(0, self._line_of[self.at], 1, 1)
            self.scroll_to_region(line, animate=False, force=True, immediate=True)
        self.refresh()

    def on_resize(self) -> None:
        """Other lines."""
        self._lay_out()
        if self.tokens:
            self.point_to(self.at)

    def on_click(self, event: events.Click) -> None:
        """Point where somebody clicks."""
        offset = event.get_content_offset(self)
        if offset is None:
            return
        line, column = self.scroll_offset.y + offset.y, 0
        for number, bar, text in self._lines[line] if line < len(self._lines) else ():
            column += cell_len(bar) + cell_len(text)
            if offset.x < column:
                self.post_message(self.Pointed(number))
                return

    def render_line(self, y: int) -> Strip:
        """The tokens of line `y` of the view."""
        number, width, base = self.scroll_offset.y + y, self.size.width, self.rich_style
        if number >= len(self._lines):
            return Strip.blank(width, base)
        segments = [segment for piece in self._lines[number] for segment in self._segments(piece, base)]
        return Strip(segments).adjust_cell_length(width, base)

    def _segments(self, piece: Piece, base: Style) -> list[Segment]:
        number, bar, text = piece
        style = base + self.get_component_rich_style(f"flow--{band(self.tokens[number].probability)}", partial=True)
        here = self.get_component_rich_style("flow--here", partial=True) if number == self.at else Style()
        return [Segment(bar, style + Style(underline=False, reverse=False)), Segment(text, style + here)]

    def _lay_out(self) -> None:
        """Break the tokens into lines; one that is longer than a line is cut."""
        width = max(4, self.size.width)
        self._lines, self._line_of, used = [[]], [], 0
        for number, token in enumerate(self.tokens):
            bar = level(token.probability)
            if used and used + 1 + cell_len(token.text) > width:
                self._lines.append([])
                used = 0
            self._line_of.append(len(self._lines) - 1)
            for part in _cut(token.text, width - used - 1, width):
                if used and used + cell_len(bar) + cell_len(part) > width:
                    self._lines.append([])
                    used = 0
                self._lines[-1].append((number, bar, part))
                used += cell_len(bar) + cell_len(part)
                bar = ""
            if token.breaks and number + 1 < len(self.tokens):
                self._lines.append([])
                used = 0
        self.virtual_size = Size(width, len(self._lines))


def band(probability: float | None) -> str:
    """How likely a token was, as the name of a style."""
    if probability is None:
        return "none"
    return next(name for name, least in BANDS if probability >= least)


def level(probability: float | None) -> str:
    """The same as a bar of one cell, which tells it without any colour."""
    return "·" if probability is None else BLOCKS[min(len(BLOCKS) - 1, int(probability * len(BLOCKS)))]


def _cut(text: str, first: int, width: int) -> list[str]:
    """The text in parts that fit: the first into what is left of a line, the others into whole ones."""
    parts, part, room = [], "", max(1, first)
    for character in text:
        if cell_len(part + character) > room and part:
            parts.append(part)
            part, room = "", width
        part += character
    return [*parts, part]
