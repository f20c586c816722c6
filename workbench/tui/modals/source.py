"""A file of the project's source, to be read where something is computed."""

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.widgets import TextArea

from workbench.language import tr
from workbench.learn.sources import Place
from workbench.tui.modals.base import WorkbenchModal


class SourceModal(WorkbenchModal[None]):
    """The file, its definition marked; it can be scrolled and not be changed."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q,o,w,f10", "close", "Close", show=False),
        Binding("y", "copy", "Copy", id="source.copy"),
    ]

    def __init__(self, place: Place) -> None:
        super().__init__()
        self.place = place

    def compose(self) -> ComposeResult:
        """The text, with line numbers."""
        with Vertical(classes="box -source") as box:
            box.border_title = str(self.place).replace("[", "\\[")
            box.border_subtitle = tr("y copy the path   esc close")
            text = self.place.path.read_text(encoding="utf-8")
            yield TextArea.code_editor(text, language="python", read_only=True, soft_wrap=False, compact=True)

    def on_mount(self) -> None:
        """Go to the definition."""
        area = self.query_one(TextArea)
        area.focus()
        area.move_cursor((self.place.last_line, 0))
        self.call_after_refresh(area.move_cursor, (self.place.first_line - 1, 0), center=True)

    def action_copy(self) -> None:
        """Copy where the file is."""
        self.app.copy_to_clipboard(f"{self.place.path}:{self.place.first_line}")
        self.notify(tr("Copied"), timeout=2)
