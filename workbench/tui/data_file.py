"""A data file that is looked at: rows by number while it is still being scanned, search, a survey of its head."""

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from workbench.data.purpose import Purpose
from workbench.data.row_index import RowReader
from workbench.data.rows import BadRow, Row
from workbench.data.sources import read_lines, read_rows
from workbench.data.statistics import Statistics, Tally, kind_of
from workbench.errors import TokenizerError
from workbench.tokenizer.tokenizer import Tokenizer
from workbench.tui.row_views import Decoded, token_count

SLICE_SECONDS = 0.05
MATCHES_KEPT = 100_000
SURVEY_ROWS = 20_000
MEASURED_ROWS = 1_000  # of them are counted in tokens: the mean is steady by then


@dataclass(frozen=True)
class Survey:
    """What the first rows of a file are like.

    Args:
        rows: that were looked at; bad: of them cannot be used.
        lengths: in tokens, of the first rows; empty without a tokenizer.
        kind: what the file is for, by its first usable row; None where there is none.
        statistics: what was counted of those rows.
    """

    rows: int
    bad: int
    lengths: tuple[int, ...]
    kind: Purpose | None
    complete: bool
    statistics: Statistics


class DataFile:
    """A file and its reader; any thread may ask for rows.

    Raises:
        DataError: the file is missing, or cannot hold data.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.reader = RowReader(path)
        self.size_bytes = path.stat().st_size
        self.problem = ""
        """Why the scan ended early."""
        self._lock = threading.Lock()

    @property
    def rows_known(self) -> int:
        """Rows that can be asked for by now."""
        return self.reader.rows_known

    @property
    def complete(self) -> bool:
        """Whether all of the file was seen."""
        return self.reader.complete

    def scan(self, should_stop: Callable[[], bool]) -> None:
        """Look through the whole file, in slices."""
        while not should_stop() and not self.reader.scan(SLICE_SECONDS):
            threading.Event().wait(0.001)  # lets the screen's thread have its turn

    def row(self, number: int) -> Row | BadRow:
        """The row of that number, counted from 0.

        Raises:
            IndexError: it is not known, or not known yet.
        """
        with self._lock:
            return self.reader.row(number)

    def row_at_line(self, line: int) -> int | None:
        """The last row that begins at or before a line; None where none is known."""
        low, high = 0, self.rows_known
        while low < high:
            middle = (low + high) // 2
            if self.row(middle).line <= line:
                low = middle + 1
            else:
                high = middle
        return low - 1 if low else None

    def rows(self) -> Iterator[Row | BadRow]:
        """All rows in order, numbered as `row` numbers them."""
        return read_lines(self.path) if self.reader.format == "text" else read_rows(self.path, self.reader.format)

    def search(self, text: str, found: Callable[[int], None], should_stop: Callable[[], bool]) -> int:
        """Call `found` with each row that contains `text`, in any case; returns the rows that were looked at."""
        wanted, matches, number = text.casefold(), 0, -1
        for number, row in enumerate(self.rows()):
            if should_stop() or matches >= MATCHES_KEPT:
                return number
            if wanted in searchable(row).casefold():
                matches += 1
                found(number)
        return number + 1

    def survey(self, tokenizer: Tokenizer | None, should_stop: Callable[[], bool]) -> Survey:
        """Look at the first rows closely."""
        rows = bad = 0
        lengths: list[int] = []
        tally = Tally()
        kind: Purpose | None = None
        for row in islice(self.rows(), SURVEY_ROWS):
            if should_stop():
                break
            rows += 1
            if self.reader.format == "text" and isinstance(row, Row) and not str(row.value).strip():
                continue  # an empty line is nothing to count
            content = tally.add(row)
            if content is None:
                bad += 1
                continue
            decoded = Decoded(kind_of(content), content)
            kind = kind or decoded.kind
            if tokenizer is not None and len(lengths) < MEASURED_ROWS:
                try:
                    lengths.append(token_count(decoded, tokenizer))
                except TokenizerError:
                    bad += 1
        complete = rows < SURVEY_ROWS
        return Survey(rows, bad, tuple(lengths), kind, complete, tally.statistics(complete))

    def close(self) -> None:
        """Close the file; only once nobody scans it any more."""
        self.reader.close()


def searchable(row: Row | BadRow) -> str:
    """What a search looks through."""
    if isinstance(row, BadRow):
        return row.reason
    return row.value if isinstance(row.value, str) else json.dumps(row.value, ensure_ascii=False)
