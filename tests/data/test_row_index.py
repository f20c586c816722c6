"""Any row by its number, the same as reading in order."""

import json
import random
import tracemalloc
from pathlib import Path

import pytest

from workbench.data.row_index import RowReader
from workbench.data.sources import BadRow, read_lines, read_rows
from workbench.errors import DataError

COUNT = 500


@pytest.fixture(params=["jsonl", "json", "csv", "parquet", "txt"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A file of each format, with rows of several lines and a broken one where the format has them."""
    path = tmp_path / f"rows.{request.param}"
    rows = [{"text": f"row {number} é" + "\nmore" * (number % 3)} for number in range(COUNT)]
    match request.param:
        case "jsonl":
            lines = [json.dumps(row) for row in rows]
            path.write_text("\n".join([*lines[:100], "", "{broken", *lines[100:]]), encoding="utf-8-sig")
        case "json":
            path.write_text(json.dumps(rows, indent=1).replace('"row 7 ', "7 "), encoding="utf-8")
        case "csv":
            path.write_text("text\n" + "".join(f'"{row["text"]}"\n' for row in rows), encoding="utf-8")
        case "parquet":
            import pyarrow
            import pyarrow.parquet

            pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path, row_group_size=150)
        case "txt":
            path.write_text("".join(row["text"] + "\n\n" for row in rows), encoding="utf-8")
    return path


def test_rows_by_number_are_the_rows_in_order(path: Path) -> None:
    expected = list(read_lines(path) if path.suffix == ".txt" else read_rows(path))
    reader = RowReader(path)
    while not reader.scan(10.0):
        pass
    assert len(reader) == len(expected)
    numbers = list(range(len(expected)))
    random.Random(1).shuffle(numbers)
    assert all(reader.row(number) == expected[number] for number in numbers)


def test_rows_can_be_read_while_the_scan_goes_on(path: Path) -> None:
    expected = list(read_lines(path) if path.suffix == ".txt" else read_rows(path))
    reader = RowReader(path)
    while not reader.complete:
        reader.scan(0.0)
        for number in (0, reader.rows_known // 2, reader.rows_known - 1):
            assert reader.row(number) == expected[number]
    assert reader.scan(0.0)


def test_unknown_rows_are_refused(path: Path) -> None:
    reader = RowReader(path)
    if path.suffix != ".parquet":
        with pytest.raises(IndexError):
            reader.row(0)
    while not reader.scan(1.0):
        pass
    for number in (-1, reader.rows_known):
        with pytest.raises(IndexError):
            reader.row(number)


def test_the_index_is_small(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    with path.open("w", encoding="utf-8") as file:
        file.writelines(f'{{"text": "{number}"}}\n' for number in range(100_000))
    tracemalloc.start()
    reader = RowReader(path)
    while not reader.scan(1.0):
        pass
    for number in range(0, 100_000, 1000):
        assert reader.row(number).value == {"text": str(number)}
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert reader.rows_known == 100_000
    assert peak < 1_000_000


def test_a_file_that_shrank_gives_a_bad_row(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"text": "x"}\n' * 200, encoding="utf-8")
    reader = RowReader(path)
    while not reader.scan(1.0):
        pass
    path.write_text('{"text": "x"}\n', encoding="utf-8")
    assert isinstance(reader.row(150), BadRow)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"absent\.jsonl"):
        RowReader(tmp_path / "absent.jsonl")
