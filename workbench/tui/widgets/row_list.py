"""Rows of a file of any length: only the lines in view are read and drawn."""

from collections.abc import Iterable

from rich.cells import set_cell_size
from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Region, Size
from textual.message import Message
from textual.reactive import reactive
from textual.scroll_view import ScrollView
from textual.strip import Strip

from workbench.narration import count
from workbench.tui.actions import bindings
from workbench.tui.row_views import RowPreview

TOKEN_CELLS = 6
PREVIEWS_KEPT = 4_000


def _keys() -> list[BindingType]:
    """The keys of every list but `g`, which asks for a row's number here."""
    own = Binding("home", "first", "First", show=False)
    return [own, *(each for each in bindings("list") if not (isinstance(each, Binding) and each.id == "list.first"))]


class RowList(ScrollView, can_focus=True, inherit_bindings=False):
    """A line a row: number, tokens, text; posts `Wanted` for rows it has not got and `Pointed` for the cursor."""

    BINDINGS = _keys()
    COMPONENT_CLASSES = {"row-list--number", "row-list--bad", "row-list--cursor", "row-list--match"}
    DEFAULT_CSS = """
    RowList { height: 1fr; background: $background; scrollbar-size-vertical: 1; scrollbar-color: $border;
        scrollbar-background: $background; overflow-x: hidden; }
    RowList > .row-list--number { color: $foreground 60%; }
    RowList > .row-list--bad { color: $error; text-style: bold; }
    RowList > .row-list--match { color: $accent; text-style: bold; }
    RowList > .row-list--cursor { background: $primary 20%; }
    RowList:focus > .row-list--cursor { background: $primary 40%; }
    RowList:ansi > .row-list--cursor { background: ansi_default; text-style: underline; }
    RowList:ansi:focus > .row-list--cursor { background: ansi_default; text-style: reverse; }
    """
    cursor: reactive[int] = reactive(0, always_update=True)

    class Pointed(Message):
        """Another row is under the cursor."""

        def __init__(self, number: int) -> None:
            super().__init__()
            self.number = number

    class Wanted(Message):
        """Rows in view that are not known here yet."""

        def __init__(self, first: int, count: int) -> None:
            super().__init__()
            self.first, self.count = first, count

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self.total = 0
        self.matches: frozenset[int] = frozenset()
        self._previews: dict[int, RowPreview] = {}
        self._asked: tuple[int, int] | None = None

    def begin(self) -> None:
        """Forget the rows of the file before."""
        self.total, self.matches = 0, frozenset()
        self.forget()
        self.virtual_size = Size(0, 0)
        self.scroll_to(0, 0, animate=False)
        self.set_reactive(RowList.cursor, 0)

    def forget(self) -> None:
        """Ask for the rows in view again."""
        self._previews.clear()
        self._asked = None
        self.refresh()

    def grow(self, total: int) -> None:
        """So many rows are known by now."""
        if total != self.total:
            self.total = total
            self.virtual_size = Size(self.size.width, total)
            self.refresh()

    def show(self, previews: Iterable[RowPreview]) -> None:
        """Draw rows that were asked for."""
        self._previews.update((each.number, each) for each in previews)
        while len(self._previews) > PREVIEWS_KEPT:
            del self._previews[next(iter(self._previews))]
        self._asked = None
        self.refresh()

    def go_to(self, number: int) -> None:
        """Put the cursor on a row, in the middle where it was not in view."""
        if not self.total:
            return
        number = max(0, min(self.total - 1, number))
        top = self.scroll_offset.y
        if not top <= number < top + self.size.height:
            self.scroll_to(y=max(0, number - self.size.height // 2), animate=False, immediate=True)
        self.cursor = number

    def validate_cursor(self, number: int) -> int:
        """Only rows that are known."""
        return max(0, min(max(0, self.total - 1), number))

    def watch_cursor(self, number: int) -> None:
        """Keep the row in view and tell which it is."""
        self.scroll_to_region(Region(0, number, 1, 1), animate=False, force=True, immediate=True)
        self.refresh()
        self.post_message(self.Pointed(number))

    def render_line(self, y: int) -> Strip:
        """The row in line `y` of the view."""
        number = self.scroll_offset.y + y
        width = self.size.width
        base = self.rich_style
        if number >= self.total:
            return Strip.blank(width, base)
        row = self._previews.get(number)
        if row is None:
            self._want()
        here = number == self.cursor
        style = self.get_component_rich_style("row-list--cursor") if here else base
        return Strip(self._segments(number, row, width, style, here)).adjust_cell_length(width, style)

    def _segments(self, number: int, row: RowPreview | None, width: int, style: Style, here: bool) -> list[Segment]:
        numbers = max(5, len(f"{self.total:,}"))
        quiet = style + Style(color=self.get_component_rich_style("row-list--number").color)
        mark = "▸" if here else "•" if number in self.matches else " "
        tokens = "" if row is None or row.tokens is None else _tokens(row.tokens)
        text_style = style + self.get_component_rich_style("row-list--bad", partial=True) if row and row.bad else style
        room = max(0, width - numbers - TOKEN_CELLS - 3)
        marked = style + self.get_component_rich_style("row-list--match", partial=True)
        return [
            Segment(mark, marked if number in self.matches else style),
            Segment(f"{number:>{numbers},}", quiet),
            Segment(f"{tokens:>{TOKEN_CELLS}}  ", quiet),
            Segment(set_cell_size(row.text if row is not None else "…", room), text_style),
        ]

    def _want(self) -> None:
        """Ask for all rows in view at once."""
        first, count = self.scroll_offset.y, self.size.height
        if (first, count) != self._asked:
            self._asked = (first, count)
            self.post_message(self.Wanted(first, count))

    def on_click(self, event: events.Click) -> None:
        """The cursor goes where somebody clicks."""
        self.cursor = self.scroll_offset.y + event.y

    def action_cursor_down(self) -> None:
        """The next row."""
        self.cursor += 1

    def action_cursor_up(self) -> None:
        """The row before."""
        self.cursor -= 1

    def action_page_down(self) -> None:
        """As many rows further as are in view."""
        self.cursor += max(1, self.size.height - 1)

    def action_page_up(self) -> None:
        """As many rows back."""
        self.cursor -= max(1, self.size.height - 1)

    def action_first(self) -> None:
        """The first row."""
        self.go_to(0)

    def action_last(self) -> None:
        """The last row that is known by now."""
        self.go_to(self.total - 1)


def _tokens(number: int) -> str:
    """A count that leaves a gap to the row's number: 9,999, then 10k."""
    return f"{number:,}" if number < 10_000 else count(number)
