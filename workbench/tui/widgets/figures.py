"""A pane of figures: names, values, and where it helps a small curve."""

from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len, set_cell_size
from textual.app import RenderResult
from textual.content import Content
from textual.widget import Widget

from workbench.tui.words import say


@dataclass(frozen=True)
class Figure:
    """One line of the pane.

    Args:
        name: what is measured; empty for a line that is only a value.
        value: for people.
        picture: blocks drawn after the value, in the colour named.
        note: what stands last, fainter.
        tone: the colour of the value, where it is not that of text.
    """

    name: str
    value: str
    picture: str = ""
    colour: str = "primary"
    note: str = ""
    tone: str = ""


class Figures(Widget, can_focus=True):
    """Names at the left, values in one column beside them.

    Args:
        heading: the title, marked for `tr`.
    """

    DEFAULT_CSS = "Figures { height: auto; text-wrap: nowrap; text-overflow: ellipsis; }"

    def __init__(self, heading: str, *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id, classes="pane")
        say(self, border_title=heading)
        self.figures: Sequence[Figure] = ()

    def show(self, figures: Sequence[Figure]) -> None:
        """Draw these; nothing happens where they are the ones shown."""
        if figures != self.figures:
            grown = len(figures) != len(self.figures)
            self.figures = figures
            self.refresh(layout=grown)

    @property
    def plain(self) -> str:
        """The figures as text, to copy."""
        return "\n".join(f"{figure.name}\t{figure.value}" for figure in self.figures)

    def render(self) -> RenderResult:
        """One line for each figure."""
        names = max((cell_len(figure.name) for figure in self.figures), default=0)
        values = max((cell_len(figure.value) for figure in self.figures if figure.picture), default=0)
        return Content("\n").join(self._line(figure, names, values) for figure in self.figures)

    def _line(self, figure: Figure, names: int, values: int) -> Content:
        return Content.assemble(
            (f"{set_cell_size(figure.name, names)}  " if figure.name else "", "$foreground 60%"),
            (
                set_cell_size(figure.value, values) if figure.picture else figure.value,
                f"${figure.tone}" if figure.tone else "",
            ),
            (f"  {figure.picture}" if figure.picture else "", f"${figure.colour}"),
            (f"  {figure.note}" if figure.note else "", "$foreground 60%"),
        )
