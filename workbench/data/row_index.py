"""Any row of a file of millions by its number, at once: for looking at data without loading it."""

import time
from array import array
from collections.abc import Generator, Iterator
from itertools import islice
from pathlib import Path

from workbench.data.json_array import array_elements
from workbench.data.rows import BadRow, Mark, Row
from workbench.data.sources import raw_lines, read_lines, read_rows, resolve_format
from workbench.data.tables import open_parquet

STRIDE = 64  # rows by index entry: at ten million rows the index takes 2.5 MB
BLOCKS_KEPT = 8  # blocks of `STRIDE` rows, those a screen scrolls through
CLOCK_EVERY = 256  # rows between looks at the clock


class RowReader:
    """The rows of a file by number, as far as the file was scanned.

    `scan` is called again and again, from one thread, until it says that it is through; `row` may be called from
    another thread meanwhile, for every number below `rows_known`. The rows of a plain text are its lines.

    Raises:
        DataError: the file is missing, or cannot hold data.
    """

    def __init__(self, path: Path, format: str = "auto") -> None:  # noqa: A002
        self.path = path
        self.format = resolve_format(path, format)
        self.rows_known = 0
        self.complete = False
        self._bytes = array("q", [0])  # where the rows 0, STRIDE, 2 * STRIDE ... begin: byte and line
        self._lines = array("q", [1])
        self._ends = self._scan_ends()
        self._blocks: dict[int, list[Row | BadRow]] = {}
        if self.format == "parquet":
            self._index_parquet()

    def __len__(self) -> int:
        return self.rows_known

    def __getitem__(self, number: int) -> Row | BadRow:
        return self.row(number)

    def scan(self, budget_seconds: float) -> bool:
        """Look further into the file for about that long; True once all of it was seen."""
        deadline = time.monotonic() + budget_seconds
        while not self.complete:
            ends = list(islice(self._ends, CLOCK_EVERY))
            for end in ends:
                self.rows_known += 1
                if self.rows_known % STRIDE == 0:
                    self._bytes.append(end.byte)
                    self._lines.append(end.line)
            self.complete = len(ends) < CLOCK_EVERY
            if time.monotonic() >= deadline:
                break
        return self.complete

    def row(self, number: int) -> Row | BadRow:
        """The row of that number, counted from 0.

        Raises:
            IndexError: it is not known, or not known yet.
        """
        if not 0 <= number < self.rows_known:
            raise IndexError(f"row {number} of {self.rows_known}")
        block = number // STRIDE
        rows = self._blocks.pop(block, None)
        if rows is None or len(rows) <= number % STRIDE:
            begin = Mark(self._bytes[block], self._lines[block])
            count = min(STRIDE, self.rows_known - block * STRIDE)
            rows = list(islice(self._rows(begin), count))
        self._blocks[block] = rows  # the latest stand last
        while len(self._blocks) > BLOCKS_KEPT:
            del self._blocks[next(iter(self._blocks))]
        if number % STRIDE >= len(rows):
            return BadRow(str(self.path), self._lines[block], "gone: the file was changed since it was scanned")
        return rows[number % STRIDE]

    def close(self) -> None:
        """Close the file; a scan that is not complete ends here."""
        self._ends.close()

    def _scan_ends(self) -> Generator[Mark, None, None]:
        """Where each row ends, without making anything of it where that can be helped."""
        if self.format == "csv":
            yield from (row.end for row in read_rows(self.path, "csv"))
        elif self.format != "parquet":
            with self.path.open("rb") as file:
                blank = self.format == "text"
                raws = array_elements(file) if self.format == "json" else raw_lines(file, blank=blank)
                yield from (raw.end for raw in raws)

    def _rows(self, begin: Mark) -> Iterator[Row | BadRow]:
        return read_lines(self.path, begin) if self.format == "text" else read_rows(self.path, self.format, begin)

    def _index_parquet(self) -> None:
        with open_parquet(self.path) as table:
            self.rows_known = table.metadata.num_rows
        for first in range(STRIDE, self.rows_known + 1, STRIDE):
            self._bytes.append(0)
            self._lines.append(first + 1)
        self.complete = True
