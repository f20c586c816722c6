"""Rows of tables: CSV (and TSV) and Parquet."""

import csv
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from workbench.data.rows import LONGEST_ROW_BYTES, START, BadRow, Mark, Row, check_text
from workbench.errors import DataError, MissingExtraError

BOM = b"\xef\xbb\xbf"


class _Lines:
    """The decoded lines of a file, and where the last one ended. Broken bytes come as lone surrogates."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.mark = START

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        raw = self._file.readline(LONGEST_ROW_BYTES)
        if not raw:
            raise StopIteration
        text = raw.removeprefix(BOM) if self.mark == START else raw
        self.mark = Mark(self.mark.byte + len(raw), self.mark.line + 1)
        return text.decode("utf-8", errors="surrogateescape")

    def seek(self, mark: Mark) -> None:
        self._file.seek(mark.byte)
        self.mark = mark


def csv_rows(path: Path, begin: Mark = START) -> Iterator[Row | BadRow]:
    """The rows of a CSV file (tabs in .tsv) as objects keyed by its first line."""
    csv.field_size_limit(LONGEST_ROW_BYTES)  # the default of 128 KiB is shorter than many a document
    with path.open("rb") as file:
        lines = _Lines(file)
        reader = csv.reader(lines, delimiter="\t" if path.suffix.lower() == ".tsv" else ",", strict=True)
        header = _header(path, reader)
        if begin != START:
            lines.seek(begin)
        while True:
            line = lines.mark.line
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield BadRow(str(path), line, f"broken CSV: {error}", lines.mark)
                continue
            if cells:
                yield _csv_row(str(path), line, header, cells, lines.mark)


def _header(path: Path, reader: Any) -> list[str]:
    try:
        header: list[str] = next(reader, [])
        for name in header:
            check_text(name, "the column names")
    except (csv.Error, ValueError) as error:
        raise DataError(f"{path}, line 1", f"column names cannot be read: {error}", "is it a CSV file?") from None
    _refuse_twins(f"{path}, line 1", header)
    return header


def _refuse_twins(where: str, names: Sequence[str]) -> None:
    """Columns of one name: all but the last would be lost. Unnamed ones are nobody's loss."""
    for name, count in Counter(names).items():
        if name and count > 1:
            raise DataError(where, f"{count} columns are called {name!r}", "rename all but one of them")


def _csv_row(file: str, line: int, header: list[str], cells: list[str], end: Mark) -> Row | BadRow:
    if len(cells) != len(header):
        return BadRow(file, line, f"wrong number of cells: {len(cells)}, with {len(header)} columns", end)
    if any("\udc80" <= character <= "\udcff" for cell in cells if not cell.isascii() for character in cell):
        return BadRow(file, line, "not UTF-8: in this row", end)
    return Row(file, line, dict(zip(header, cells, strict=True)), end)


def parquet_rows(path: Path, begin: Mark = START) -> Iterator[Row | BadRow]:
    """The rows of a Parquet file as objects keyed by column; their `line` is the row's number."""
    with open_parquet(path) as table:
        _refuse_twins(str(path), table.schema_arrow.names)
        total, size_bytes = table.metadata.num_rows, path.stat().st_size
        line = 1
        for group in range(table.metadata.num_row_groups):
            count = table.metadata.row_group(group).num_rows
            if line + count <= begin.line:
                line += count
                continue
            for batch in table.iter_batches(batch_size=256, row_groups=[group]):
                skipped = min(max(begin.line - line, 0), batch.num_rows)
                line += skipped
                for value in batch.slice(skipped).to_pylist():
                    yield Row(str(path), line, value, Mark(size_bytes * line // total, line + 1))
                    line += 1


def open_parquet(path: Path) -> Any:
    """The open file, as pyarrow's ParquetFile."""
    try:
        import pyarrow.lib  # an optional package
        import pyarrow.parquet
    except ImportError:
        raise MissingExtraError(str(path), "pyarrow", "parquet") from None
    try:
        return pyarrow.parquet.ParquetFile(path)
    except pyarrow.lib.ArrowException as error:
        raise DataError(str(path), f"is not a Parquet file: {error}", "check the file or its format") from None
