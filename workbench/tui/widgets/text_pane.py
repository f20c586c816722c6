"""A pane of text or tables that can be scrolled."""

from rich.console import RenderableType
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import VerticalScroll
from textual.widgets import Static

from workbench.tui.words import say


class TextPane(VerticalScroll, can_focus=True, inherit_bindings=False):
    """Shows what it is given; text in it is data, never markup. Left and right are the screen's: nothing is wider.

    Args:
        heading: the title, marked for `tr`.
    """

    BINDINGS = [
        Binding("up", "scroll_up", show=False),
        Binding("down", "scroll_down", show=False),
        Binding("home", "scroll_home", show=False),
        Binding("end", "scroll_end", show=False),
        Binding("pageup", "page_up", show=False),
        Binding("pagedown", "page_down", show=False),
    ]

    def __init__(self, heading: str, *, id: str) -> None:  # noqa: A002
        super().__init__(id=id, classes="pane")
        say(self, border_title=heading)

    def compose(self) -> ComposeResult:
        """The text."""
        yield Static(markup=False)

    def show(self, content: RenderableType) -> None:
        """Draw this."""
        self.query_one(Static).update(content)
