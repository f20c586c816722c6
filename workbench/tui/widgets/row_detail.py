"""One row of data, in the view that was chosen."""

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Static


class RowDetail(VerticalScroll, can_focus=True):
    """A row that can be scrolled through."""

    BINDINGS = [
        Binding("j", "scroll_down", "Down", show=False),
        Binding("k", "scroll_up", "Up", show=False),
        Binding("G", "scroll_end", "End", show=False),
    ]
    DEFAULT_CSS = "RowDetail Static { width: 1fr; height: auto; }"

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id, classes="pane")
        self.shown = Content("")

    def compose(self) -> ComposeResult:
        """The row."""
        yield Static()

    def show(self, title: str, content: Content) -> None:
        """Show a row from its beginning."""
        self.border_title = title.replace("[", r"\[")
        self.shown = content
        self.query_one(Static).update(content)
        self.scroll_home(animate=False)
