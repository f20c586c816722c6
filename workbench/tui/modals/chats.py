"""The list of saved conversations."""

from collections.abc import Sequence
from typing import ClassVar, Literal

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from workbench.language import tr
from workbench.tui.modals.base import WorkbenchModal
from workbench.tui.widgets.list_view import KeyList

Verb = Literal["open", "rename", "export", "delete", "undo"]


class ChatsModal(WorkbenchModal[tuple[Verb, int]]):
    """Lists conversations; the answer is what to do with which.

    Args:
        lines: what each looks like; at: where the cursor stands; folder: where they lie.
    """

    topics = ("chat_template", "context_window", "checkpoint")
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "take('open')", "Open", id="chats.open"),
        Binding("r", "take('rename')", "Rename", id="chats.rename"),
        Binding("e", "take('export')", "Export", id="chats.export"),
        Binding("d", "take('delete')", "Delete", id="chats.delete"),
        Binding("u", "take('undo')", "Undo", id="chats.undo"),
    ]

    def __init__(self, lines: Sequence[Content], at: int, folder: str) -> None:
        super().__init__()
        self.lines, self.at, self.folder = lines, at, folder

    def compose(self) -> ComposeResult:
        """Two lines each."""
        with Vertical(classes="box -choice") as box:
            box.border_title = tr("Conversations")
            box.border_subtitle = tr("enter open   r rename   e export   d delete   u undo   esc close")
            yield KeyList(*(Option(line) for line in self.lines))
            yield Static(self.folder, classes="detail", markup=False)

    def on_mount(self) -> None:
        """The cursor stands where it was."""
        rows = self.query_one(KeyList)
        rows.highlighted = min(self.at, len(self.lines) - 1) if self.lines else None
        rows.focus()

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """A click opens."""
        self.dismiss(("open", event.option_index))

    def action_take(self, verb: Verb) -> None:
        """Answer with the one under the cursor."""
        self.dismiss((verb, self.query_one(KeyList).highlighted or 0))
