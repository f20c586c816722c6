"""One of several things."""

from collections.abc import Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from workbench.language import tr
from workbench.tui.modals.base import WorkbenchModal
from workbench.tui.widgets.list_view import KeyList


class ChoiceModal(WorkbenchModal[int]):
    """Lists things to choose from; the answer is the number of one.

    Args:
        title: plain text; subtitle: what stands below beside the keys.
        lines: what each looks like.
        at: the number the cursor stands on at first.
        topics: what Learn explains of them.
    """

    BINDINGS: ClassVar[list[BindingType]] = [Binding("enter", "choose", "Choose", id="choice.take")]

    def __init__(
        self,
        title: str,
        lines: Sequence[Content],
        at: int = 0,
        subtitle: str = "",
        topics: tuple[str, ...] = (),
    ) -> None:
        super().__init__()
        self.topics = topics
        self.heading, self.lines, self.at, self.subtitle = title, lines, at, subtitle

    def compose(self) -> ComposeResult:
        """A line each."""
        with Vertical(classes="box -choice") as box:
            box.border_title = self.heading.replace("[", r"\[")
            box.border_subtitle = f"{self.subtitle}   {tr('enter choose   esc close')}".strip()
            yield KeyList(*(Option(line) for line in self.lines))

    def on_mount(self) -> None:
        """The cursor stands where it was."""
        rows = self.query_one(KeyList)
        rows.highlighted = min(self.at, len(self.lines) - 1) if self.lines else None
        rows.focus()

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """A click chooses."""
        self.dismiss(event.option_index)

    def action_choose(self) -> None:
        """Answer with the one under the cursor."""
        rows = self.query_one(KeyList)
        if rows.highlighted is not None:
            self.dismiss(rows.highlighted)
