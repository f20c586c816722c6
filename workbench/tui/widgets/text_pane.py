"""A pane of text or tables that can be scrolled."""

from rich.console import RenderableType
from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.widgets import Static

from workbench.tui.words import say


class TextPane(VerticalScroll, can_focus=True):
    """Shows what it is given; text in it is data, never markup.

    Args:
        heading: the title, marked for `tr`.
    """

    def __init__(self, heading: str, *, id: str) -> None:  # noqa: A002
        super().__init__(id=id, classes="pane")
        say(self, border_title=heading)

    def compose(self) -> ComposeResult:
        """The text."""
        yield Static(markup=False)

    def show(self, content: RenderableType) -> None:
        """Draw this."""
        self.query_one(Static).update(content)
