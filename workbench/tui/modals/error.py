"""An error that deserves more than a toast: what happened, what to do, where the details are."""

from pathlib import Path
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.widgets import Static

from workbench.language import tr
from workbench.tui.modals.base import WorkbenchModal


class ErrorModal(WorkbenchModal[None]):
    """Shows an error that can be scrolled and copied.

    Args:
        title: what failed, in a few words.
        message: what a person needs to know; data, never markup.
        log: the file with the traceback.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y,c", "copy", "Copy", id="error.copy"),
        Binding("enter,q", "close", "Close", show=False),
    ]

    def __init__(self, title: str, message: str, log: Path | str | None = None) -> None:
        super().__init__()
        self.heading, self.message, self.log_path = title, message, log

    def compose(self) -> ComposeResult:
        """The message in a box that scrolls."""
        with Vertical(classes="box -error") as box:
            box.border_title = f"✗ {self.heading}".replace("[", "\\[")
            box.border_subtitle = tr("y copy   esc close")
            with VerticalScroll():
                yield Static(self.message, markup=False)
            if self.log_path:
                yield Static(tr("Details: {path}", path=self.log_path), classes="detail", markup=False)

    def action_copy(self) -> None:
        """Copy the message to the clipboard of the terminal."""
        details = f"\n{self.log_path}" if self.log_path else ""
        self.app.copy_to_clipboard(f"{self.heading}: {self.message}{details}")
        self.notify(tr("Copied"), timeout=2)
