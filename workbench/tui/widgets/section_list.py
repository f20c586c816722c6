"""The parts of a profile: a column where there is room, one line of tabs where there is not."""

from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len, set_cell_size
from textual import events
from textual.app import RenderResult
from textual.binding import Binding
from textual.content import Content
from textual.message import Message
from textual.widget import Widget

from workbench.tui.words import say

SOUND, BROKEN, UNKNOWN = "✓", "!", "?"


@dataclass(frozen=True)
class SectionEntry:
    """A part in the list: its title, how many problems it has, and whether that is known."""

    title: str
    problems: int = 0
    known: bool = True


class SectionList(Widget, can_focus=True):
    """Parts with a sign each; another one under the cursor posts `Chosen`."""

    BINDINGS = [
        Binding("down,j,right,l", "move(1)", "Next part", show=False),
        Binding("up,k,left,h", "move(-1)", "Part before", show=False),
        Binding("home", "move(-99)", "First part", show=False),
        Binding("end,G", "move(99)", "Last part", show=False),
        Binding("enter", "enter", "Edit", show=False),
    ]
    DEFAULT_CSS = "SectionList { text-wrap: nowrap; }"

    class Chosen(Message):
        """Another part is to be shown; `enter` where its first field is to have the focus."""

        def __init__(self, number: int, enter: bool = False) -> None:
            super().__init__()
            self.number, self.enter = number, enter

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id, classes="pane")
        say(self, border_title="Parts")
        self.entries: Sequence[SectionEntry] = ()
        self.current = 0

    def show(self, entries: Sequence[SectionEntry], current: int) -> None:
        """List these, the current one marked."""
        if (entries, current) != (self.entries, self.current):
            self.entries, self.current = entries, current
            self.refresh()

    def render(self) -> RenderResult:
        """A line a part, or all of them on one line."""
        if self.size.height > 1:
            width = self.content_size.width - 4
            lines = [self._entry(number, f"{set_cell_size(entry.title, width)} ") for number, entry in self._numbered()]
            return Content("\n").join(lines)
        return Content(" ").join(self._entry(number, f"{entry.title} ") for number, entry in self._tabs())

    def on_click(self, event: events.Click) -> None:
        """Show the part that was clicked."""
        offset = event.get_content_offset(self)
        if offset is None:
            return
        number = offset.y
        if self.size.height == 1:
            places = [(number, cell_len(entry.title) + 5) for number, entry in self._tabs()]
            x = 0
            number = -1
            for place, width in places:
                if x <= offset.x < x + width:
                    number = place
                x += width
        if 0 <= number < len(self.entries):
            self.post_message(self.Chosen(number))

    def action_move(self, step: int) -> None:
        """Another part."""
        number = max(0, min(len(self.entries) - 1, self.current + step))
        if number != self.current:
            self.current = number  # now: the next key may come before the screen has answered
            self.refresh()
            self.post_message(self.Chosen(number))

    def action_enter(self) -> None:
        """Go to the fields of the part."""
        self.post_message(self.Chosen(self.current, enter=True))

    def _numbered(self) -> list[tuple[int, SectionEntry]]:
        return list(enumerate(self.entries))

    def _tabs(self) -> list[tuple[int, SectionEntry]]:
        """The parts that one line has room for, the current one among them."""
        shown = self._numbered()
        while len(shown) > 1 and sum(cell_len(entry.title) + 5 for _, entry in shown) > self.content_size.width:
            shown.pop(0 if shown[0][0] < self.current else -1)
        return shown

    def _entry(self, number: int, title: str) -> Content:
        entry = self.entries[number]
        here = number == self.current
        sound = (SOUND, "$success") if entry.known else (UNKNOWN, "$foreground 60%")
        sign = (BROKEN, "bold $error") if entry.problems else sound
        style = "bold $primary" if here else ""
        return Content.assemble(("▸ " if here else "  ", style), (title, style), sign)
