"""What was changed in a text."""

import difflib
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.widgets import Static

from workbench.language import tr
from workbench.tui.modals.base import WorkbenchModal

STYLES = {"+": "$success", "-": "$error", "@": "$primary"}


class DiffModal(WorkbenchModal[None]):
    """Two texts against each other, line by line, signs beside colours."""

    topics = ("settings_that_differ",)
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "copy", "Copy", id="diff.copy"),
        Binding("q,f6,enter", "close", "Close", show=False),
    ]

    def __init__(self, title: str, before: str, after: str) -> None:
        super().__init__()
        self.heading = title
        lines = difflib.unified_diff(before.splitlines(), after.splitlines(), "as saved", "as edited", lineterm="", n=2)
        self.lines = list(lines)[2:]

    def compose(self) -> ComposeResult:
        """The lines that differ and their neighbours."""
        with Vertical(classes="box -diff") as box:
            box.border_title = self.heading.replace("[", r"\[")
            box.border_subtitle = tr("y copy   esc close")
            with VerticalScroll():
                yield Static(Content("\n").join(Content.styled(line, STYLES.get(line[:1], "")) for line in self.lines))

    def on_mount(self) -> None:
        """The lines can be scrolled at once."""
        self.query_one(VerticalScroll).focus()

    def action_copy(self) -> None:
        """Copy the lines."""
        self.app.copy_to_clipboard("\n".join(self.lines))
        self.notify(tr("Copied"), timeout=2)
