"""Rows of data files in every format, read one after the other in bounded memory."""

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

from workbench.data.json_array import array_elements
from workbench.data.rows import (
    FORMATS,
    LONGEST_ROW_BYTES,
    START,
    BadRow,
    Format,
    Mark,
    RawRow,
    Row,
    Value,
    check_text,
    decode,
    parse_json_row,
)
from workbench.data.tables import csv_rows, parquet_rows
from workbench.data.text_pieces import text_pieces
from workbench.errors import DataError

__all__ = ["BadRow", "Format", "Mark", "Row", "Value", "detect_format", "raw_lines", "read_lines", "read_rows"]

SUFFIXES: dict[str, Format] = {
    ".txt": "text",
    ".text": "text",
    ".md": "text",
    ".csv": "csv",
    ".tsv": "csv",
    ".parquet": "parquet",
    ".ndjson": "jsonl",
}
BOM = b"\xef\xbb\xbf"
UNREADABLE = {
    b"\xff\xfe": ("is UTF-16, not UTF-8", "convert it to UTF-8"),
    b"\xfe\xff": ("is UTF-16, not UTF-8", "convert it to UTF-8"),
    b"\x1f\x8b": ("is compressed", "unpack it with gunzip"),
    b"PK\x03\x04": ("is a zip archive", "unpack it"),
    b"\x28\xb5\x2f\xfd": ("is compressed", "unpack it with zstd -d"),
}


def detect_format(path: Path) -> Format:
    """How the file is to be read, by its name and its first bytes.

    Raises:
        DataError: there is no such file, or it cannot hold training data.
    """
    head = _head(path).removeprefix(BOM).lstrip()
    suffix = path.suffix.lower()
    if head.startswith(b"PAR1"):
        return "parquet"
    if suffix in SUFFIXES:
        return SUFFIXES[suffix]
    if head.startswith(b"["):
        one_a_line = suffix == ".jsonl" and head.split(b"\n")[0].rstrip().endswith(b"]")
        return "jsonl" if one_a_line else "json"
    if suffix in (".json", ".jsonl") or head.startswith(b"{"):
        one_a_line = suffix == ".jsonl" or head.split(b"\n")[0].rstrip().endswith(b"}")
        return "jsonl" if one_a_line or len(head.split(b"\n")) == 1 else "json"
    if b"\0" in head:
        raise DataError(str(path), "is a binary file of an unknown kind", f"usable are {', '.join(FORMATS)}")
    return "text"


def _head(path: Path) -> bytes:
    if path.is_dir():
        raise DataError(str(path), "is a folder", "name the files in it")
    try:
        with path.open("rb") as file:
            head = file.read(1 << 14)
    except FileNotFoundError:
        raise DataError(str(path), "no such file", "check the path") from None
    except OSError as error:
        raise DataError(str(path), f"cannot be read: {error.strerror}", "check its permissions") from None
    for magic, (problem, remedy) in UNREADABLE.items():
        if head.startswith(magic):
            raise DataError(str(path), problem, remedy)
    return head


def resolve_format(path: Path, given: str) -> Format:
    """The format that was asked for, after a look at the file; "auto" asks for the detected one."""
    detected = detect_format(path)
    if given == "auto":
        return detected
    if given not in FORMATS:
        raise DataError(str(path), f"unknown format {given!r}", f"choose auto, {', '.join(FORMATS)}")
    return cast(Format, given)


def read_rows(path: Path, format: str = "auto", begin: Mark = START) -> Iterator[Row | BadRow]:  # noqa: A002
    """The rows of a file from `begin` on, each with file and line; those that cannot be read come as `BadRow`.

    A plain text is one document: its rows are consecutive pieces of it.

    Raises:
        DataError: the file is missing, or not of its format at all.
        MissingExtraError: a Parquet file, without the package that reads it.
    """
    match resolve_format(path, format):
        case "jsonl":
            with path.open("rb") as file:
                for raw in raw_lines(file, begin):
                    yield parse_json_row(str(path), raw)
        case "json":
            with path.open("rb") as file:
                for raw in array_elements(file, begin):
                    yield parse_json_row(str(path), raw)
        case "text":
            yield from text_pieces(path, begin)
        case "csv":
            yield from csv_rows(path, begin)
        case "parquet":
            yield from parquet_rows(path, begin)


def raw_lines(file: BinaryIO, begin: Mark = START, *, blank: bool = False) -> Iterator[RawRow]:
    """The lines from `begin` on without their ends; blank ones only where `blank` says so.

    A line past `LONGEST_ROW_BYTES` is cut there and the rest of it skipped.
    """
    file.seek(begin.byte)
    mark = begin
    while raw := file.readline(LONGEST_ROW_BYTES):
        size = len(raw)
        if too_long := size == LONGEST_ROW_BYTES:
            while (more := file.readline(LONGEST_ROW_BYTES)) and not more.endswith(b"\n"):
                size += len(more)
            size += len(more)
        line, mark = mark.line, Mark(mark.byte + size, mark.line + 1)
        if line == 1:
            raw = raw.removeprefix(BOM)
        if blank or not raw.isspace():
            yield RawRow(line, raw.rstrip(b"\r\n"), mark, too_long)


def read_lines(path: Path, begin: Mark = START) -> Iterator[Row | BadRow]:
    """The lines of a plain text as rows, blank ones too: for looking at it, not for training on it."""
    with path.open("rb") as file:
        for raw in raw_lines(file, begin, blank=True):
            try:
                text = decode(raw.raw)
                check_text(text, "this line")
            except ValueError as error:
                yield BadRow(str(path), raw.line, str(error), raw.end)
            else:
                yield Row(str(path), raw.line, text, raw.end)
