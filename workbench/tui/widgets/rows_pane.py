"""The rows of one data file: scanned on a thread, read as they come into view, searched."""

import logging
from bisect import bisect_left, bisect_right
from pathlib import Path

from textual import work
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.message import Message
from textual.widgets import Input, Static
from textual.worker import get_current_worker

from workbench.errors import WorkbenchError
from workbench.language import retell, tr
from workbench.tokenizer.tokenizer import Tokenizer
from workbench.tui.data_file import DataFile
from workbench.tui.row_views import RowPreview, preview
from workbench.tui.widgets.row_list import RowList
from workbench.tui.words import say

logger = logging.getLogger(__name__)

LOOK_SECONDS = 0.25


class RowsPane(Vertical):
    """A list of rows with a search field; what a broken file has instead is its problem."""

    DEFAULT_CSS = """
    RowsPane #search { display: none; height: 1; background: $surface; }
    RowsPane.-searching #search { display: block; }
    RowsPane #message { display: none; height: 1fr; padding: 1 2; color: $error; }
    RowsPane.-broken #message { display: block; }
    RowsPane.-broken RowList { display: none; }
    """

    class Grew(Message):
        """More of the file was seen, or it turned out to be broken."""

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id, classes="pane")
        self.file: DataFile | None = None
        self.tokenizer: Tokenizer | None = None
        self.matches: list[int] = []
        self._wanted = ""
        self._searching = False
        self._awaited: int | None = None

    def compose(self) -> ComposeResult:
        """Rows, the problem in their place, the search field."""
        yield RowList()
        yield Static(id="message", markup=False)
        yield (field := Input(id="search", compact=True))
        say(field, placeholder="find in every row; enter searches, esc ends")

    def on_mount(self) -> None:
        """Follow the scan four times a second."""
        self.set_interval(LOOK_SECONDS, self._follow_scan)

    @property
    def rows(self) -> RowList:
        """The lines."""
        return self.query_one(RowList)

    # --- the file ---------------------------------------------------------------------------------------------------

    def open(self, path: Path) -> None:
        """Begin with another file; a broken one is a message in place of its rows."""
        self.workers.cancel_node(self)
        self._awaited = None
        self.end_search()
        self.rows.begin()
        self.border_title = path.name.replace("[", r"\[")
        self.border_subtitle = tr("looking…")
        try:
            self.file = DataFile(path)
        except (WorkbenchError, OSError) as error:
            self.file = None
            self._break(str(error))
            return
        self.remove_class("-broken")
        self._scan(self.file)

    def use(self, tokenizer: Tokenizer) -> None:
        """Count tokens with another tokenizer."""
        self.tokenizer = tokenizer
        self.rows.forget()

    def go_when_known(self, number: int) -> None:
        """Put the cursor on a row as soon as the scan has come to it, unless somebody moved it by then."""
        self._awaited = number

    def go_to_line(self, line: int) -> None:
        """Put the cursor on the row that begins at a line of the file."""
        number = self.file.row_at_line(line) if self.file is not None else None
        if number is not None:
            self.rows.go_to(number)

    def _break(self, problem: str) -> None:
        self.query_one("#message", Static).update(f"✗ {retell(problem)}")
        self.add_class("-broken")
        self.border_subtitle = ""
        self.post_message(self.Grew())

    @work(thread=True, exclusive=True, exit_on_error=False, group="scan")
    def _scan(self, file: DataFile) -> None:
        worker = get_current_worker()
        try:
            file.scan(lambda: worker.is_cancelled)
        except (WorkbenchError, OSError, ValueError) as error:
            logger.exception("%s could not be scanned", file.path)
            file.problem = str(error)
        if worker.is_cancelled:
            file.close()

    def _follow_scan(self) -> None:
        file, rows = self.file, self.rows
        if file is None or self.has_class("-broken") or (rows.total == file.rows_known and rows.total):
            return
        begins = rows.total == 0
        rows.grow(file.rows_known)
        if file.problem:
            self._break(file.problem)
        elif file.complete and not file.rows_known:
            self._break(tr("{file} holds no rows: it is empty", file=file.path.name))
        elif begins and rows.total:
            rows.cursor = 0
        if self._awaited is not None and (self._awaited < rows.total or file.complete):
            if rows.cursor == 0:
                rows.go_to(self._awaited)
            self._awaited = None
        self.show_place()
        self.post_message(self.Grew())

    # --- rows -------------------------------------------------------------------------------------------------------

    def on_row_list_wanted(self, message: RowList.Wanted) -> None:
        """Read rows for the list."""
        message.stop()
        if self.file is not None:
            self._read(self.file, message.first, message.count)

    def on_row_list_pointed(self, message: RowList.Pointed) -> None:
        """Say where the cursor is; the screen hears of it too."""
        self.show_place()

    @work(thread=True, exclusive=True, exit_on_error=False, group="read")
    def _read(self, file: DataFile, first: int, count: int) -> None:
        worker, found = get_current_worker(), list[RowPreview]()
        for number in range(first, min(first + count, file.rows_known)):
            if worker.is_cancelled:
                return
            found.append(preview(number, file.row(number), self.tokenizer))
        self.app.call_later(self._show, file, found)

    def _show(self, file: DataFile, previews: list[RowPreview]) -> None:
        if self.is_attached and file is self.file:
            self.rows.show(previews)

    def show_place(self) -> None:
        """Row, rows, matches, under the list."""
        rows, file = self.rows, self.file
        if file is None or self.has_class("-broken"):
            return
        place = {"row": rows.cursor, "last": rows.total - 1}
        if not rows.total:
            where = tr("looking…")
        elif file.complete:
            where = tr("row {row:,} of 0-{last:,}", **place)
        else:
            where = tr("row {row:,} of 0-{last:,} so far", **place)
        going = "…" if self._searching else ""
        found = f"  {tr('{count:,} found', count=len(self.matches))}{going}  n N" if self._wanted else ""
        self.border_subtitle = f"{where}{found}"

    # --- searching --------------------------------------------------------------------------------------------------

    def begin_search(self) -> None:
        """Open the field."""
        self.add_class("-searching")
        self.query_one(Input).focus()

    def end_search(self) -> bool:
        """Close the field and forget what was found; False where there was no search."""
        searching = self.has_class("-searching") or bool(self._wanted)
        self.workers.cancel_group(self, "search")
        self.remove_class("-searching")
        self.matches, self._wanted, self._searching = [], "", False
        self.rows.matches = frozenset()
        self.rows.refresh()
        self.show_place()
        return searching

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Search, and go back to the rows."""
        event.stop()
        wanted = event.value.strip()
        self.end_search()
        self.rows.focus()
        if wanted and self.file is not None:
            self._wanted, self._searching = wanted, True
            self._search(self.file, wanted, self.rows.cursor)
            self.show_place()

    @work(thread=True, exclusive=True, exit_on_error=False, group="search")
    def _search(self, file: DataFile, wanted: str, start: int) -> None:
        worker = get_current_worker()
        fresh: list[int] = []

        def found(number: int) -> None:
            fresh.append(number)
            if len(fresh) >= 200 or not self.matches:
                self.app.call_later(self._found, file, wanted, start, fresh.copy())
                fresh.clear()

        try:
            file.search(wanted, found, lambda: worker.is_cancelled)
        except (WorkbenchError, OSError, ValueError):
            logger.exception("%s could not be searched", file.path)
        if not worker.is_cancelled:
            self.app.call_later(self._found, file, wanted, start, fresh, True)

    def _found(self, file: DataFile, wanted: str, start: int, numbers: list[int], over: bool = False) -> None:
        """Take in rows that were found; the cursor goes to the first behind where the search began."""
        if not self.is_attached or file is not self.file or wanted != self._wanted:
            return
        before = bisect_left(self.matches, start) < len(self.matches)
        self.matches += numbers
        self._searching = not over
        self.rows.matches = frozenset(self.matches)
        place = bisect_left(self.matches, start)
        if not before and place < len(self.matches):
            self.rows.go_to(self.matches[place])
        elif over and not before and self.matches:
            self.rows.go_to(self.matches[0])
        if over and not self.matches:
            self.notify(tr("{text} stands in no row", text=wanted), markup=False)
        self.rows.refresh()
        self.show_place()

    def next_match(self, step: int) -> None:
        """The next row that was found, or the one before; round the end."""
        if not self.matches:
            self.notify(tr("Nothing was found.") if self._wanted else tr("Nothing was searched for; / begins."))
            return
        here = self.rows.cursor
        place = bisect_right(self.matches, here) if step > 0 else bisect_left(self.matches, here) - 1
        self.rows.go_to(self.matches[place % len(self.matches)])
