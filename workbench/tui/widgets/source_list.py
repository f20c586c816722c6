"""Data files under the headings of where they come from."""

from collections.abc import Sequence
from pathlib import Path

from rich.cells import cell_len, set_cell_size
from textual.binding import Binding
from textual.content import Content
from textual.message import Message
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from workbench.language import mark, tr
from workbench.narration import size
from workbench.tui.data_sources import DataSource
from workbench.tui.widgets.list_view import KeyList
from workbench.tui.words import say

USUAL_WIDTH = 28
GROUPS = {
    "added": mark("added"),
    "bundled": mark("bundled"),
    "fetched": mark("fetched"),
    "profiles": mark("profiles"),
}
"""The headings."""


class SourceList(KeyList):
    """Files in groups; choosing one posts `Chosen`."""

    BINDINGS = [Binding("enter", "select", "Open", show=False)]

    class Chosen(Message):
        """A person wants to look at another file."""

        def __init__(self, source: DataSource) -> None:
            super().__init__()
            self.source = source

    def __init__(self) -> None:
        super().__init__(id="sources", classes="pane")
        say(self, border_title="Sources")
        self.sources: Sequence[DataSource] = ()
        self.current: Path | None = None
        self._shown: list[DataSource | None] = []

    def show(self, sources: Sequence[DataSource], current: Path | None) -> None:
        """List these, the current one marked; the cursor goes to it."""
        self.sources, self.current = sources, current
        self._shown = []
        self.clear_options()
        width = (self.content_size.width or USUAL_WIDTH) - 1  # the scroll bar
        group = ""
        for source in sources:
            if source.group != group:
                group = source.group
                self._shown.append(None)
                self.add_option(Option(Content.styled(tr(GROUPS[group]), "bold $foreground 60%"), disabled=True))
            self._shown.append(source)
            self.add_option(Option(_line(source, source.path == current, width)))
        here = [place for place, line in enumerate(self._shown) if line is not None and line.path == current]
        self.highlighted = here[0] if here else next((n for n, line in enumerate(self._shown) if line), None)
        self.border_subtitle = f"{len(sources)}"

    def speak_again(self) -> None:
        """The headings in another language."""
        here = self._shown[self.highlighted] if self.highlighted is not None else None
        self.show(self.sources, self.current)
        self.highlighted = self._shown.index(here) if here in self._shown else self.highlighted

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Tell the screen."""
        event.stop()
        source = self._shown[event.option_index]
        if source is not None:
            self.post_message(self.Chosen(source))


def _line(source: DataSource, current: bool, width: int) -> Content:
    mark, style = ("▸ ", "bold $primary") if current else ("  ", "")
    bytes_shown = f"  {size(source.size_bytes)}"
    room = max(8, width - len(mark) - len(bytes_shown))
    name = source.name if cell_len(source.name) <= room else f"{set_cell_size(source.name, room - 1)}…"
    return Content.assemble(mark, (name, style), (bytes_shown, "$foreground 60%"))
