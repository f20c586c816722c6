"""Every format gives the same rows, and a broken row is told of with its place."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.data.sources import BadRow, Row, detect_format, read_lines, read_rows
from workbench.errors import DataError, MissingExtraError

ROWS = [{"text": "one"}, {"text": 'two\n"quoted", [brackets] {and} \\ more'}, {"text": "春眠不覺曉 😀"}] * 40
MEMBERS = st.dictionaries(st.text(max_size=5), st.text(max_size=9) | st.integers() | st.lists(st.text(max_size=3)))


def write(path: Path, rows: list[dict[str, object]]) -> Path:
    """The rows in the format of the path's name."""
    match path.suffix:
        case ".jsonl":
            path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
        case ".json":
            path.write_text(json.dumps(rows, ensure_ascii=False, indent=2), encoding="utf-8")
        case ".csv":
            cells = ['"' + str(row["text"]).replace('"', '""') + '"' for row in rows]
            path.write_text("text\n" + "\n".join(cells) + "\n", encoding="utf-8")
        case ".parquet":
            import pyarrow
            import pyarrow.parquet

            pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path, row_group_size=50)
    return path


FORMATS = ["rows.jsonl", "rows.json", "rows.csv", "rows.parquet"]


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_gives_the_same_rows(tmp_path: Path, name: str) -> None:
    found = list(read_rows(write(tmp_path / name, ROWS)))
    assert [row.value for row in found if isinstance(row, Row)] == ROWS


@pytest.mark.parametrize("name", FORMATS)
def test_reading_goes_on_behind_any_row(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name, ROWS)
    found = list(read_rows(path))
    for number in (0, 1, 63, len(found) - 1):
        assert list(read_rows(path, begin=found[number].end)) == found[number + 1 :]


@given(rows=st.lists(MEMBERS, max_size=8), indent=st.sampled_from([None, 0, 3]), chunk=st.integers(1, 40))
def test_a_json_array_is_cut_into_its_elements(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, object]], indent: int | None, chunk: int
) -> None:
    path = tmp_path_factory.mktemp("array") / "rows.json"
    path.write_text(json.dumps(rows, indent=indent, ensure_ascii=len(rows) % 2 == 0), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("workbench.data.json_array.CHUNK_BYTES", chunk)
        assert [row.value for row in read_rows(path, "json") if isinstance(row, Row)] == rows


def test_objects_over_several_lines_without_an_array_are_rows(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    path.write_text("\n".join(json.dumps(row, indent=2) for row in ROWS[:3]), encoding="utf-8-sig")
    assert [row.value for row in read_rows(path) if isinstance(row, Row)] == ROWS[:3]


def test_broken_lines_are_told_with_line_and_reason(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(
        b'\xef\xbb\xbf{"text": "fine"}\r\n'
        b"\r\n"
        b'{"text": "no end\r\n'
        b'{"text": "caf\xe9"}\r\n'
        b"[1, 2]\r\n" + b"[" * 100_000 + b'\r\n{"text": "last"}'
    )
    found = list(read_rows(path))
    assert [row.line for row in found] == [1, 3, 4, 5, 6, 7]
    assert [row.value for row in found if isinstance(row, Row)] == [{"text": "fine"}, {"text": "last"}]
    assert [row.reason for row in found if isinstance(row, BadRow)] == [
        "broken JSON: Unterminated string starting at column 10",
        "not UTF-8: byte 0xe9 at column 14",
        "wrong type: found a list, expected an object",
        "broken JSON: nested too deeply",
    ]


def test_a_broken_element_harms_no_other(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    path.write_text('[{"a": 1},\n{"a": },\n{"a": 3}, 7,\n"text"]', encoding="utf-8")
    found = list(read_rows(path))
    assert [(row.line, row.value if isinstance(row, Row) else "bad") for row in found] == [
        (1, {"a": 1}),
        (2, "bad"),
        (3, {"a": 3}),
        (3, "bad"),
        (4, "text"),
    ]


def test_what_is_no_object_takes_no_neighbour_with_it(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    path.write_text(
        '[null, {"text": "one, [two]"}, 5, {"text": "two"}\n{"text": "comma missing"} nonsense {"text": "four"}, true]',
        encoding="utf-8",
    )
    found = list(read_rows(path))
    good = [(row.line, row.value["text"]) for row in found if isinstance(row, Row) and isinstance(row.value, dict)]
    assert good == [(1, "one, [two]"), (1, "two"), (2, "comma missing"), (2, "four")]
    reasons = [row.reason.partition(",")[0] for row in found if isinstance(row, BadRow)]
    assert reasons == [
        "wrong type: found null",
        "wrong type: found a number",
        "broken JSON: Expecting value at column 1",
        "wrong type: found true or false",
    ]
    for number, row in enumerate(found):
        assert list(read_rows(path, begin=row.end)) == found[number + 1 :]


@given(texts=st.lists(st.text(alphabet='ab"\\\n,]}', max_size=60), max_size=6), chunk=st.integers(1, 40))
def test_an_element_too_long_for_memory_is_told_and_skipped(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], chunk: int
) -> None:
    path = tmp_path_factory.mktemp("array") / "rows.json"
    elements = [json.dumps({"n": number, "text": text}, indent=1) for number, text in enumerate(texts)]
    path.write_text("[" + ", ".join(elements) + "]", encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("workbench.data.json_array.CHUNK_BYTES", chunk)
        patch.setattr("workbench.data.json_array.LONGEST_ROW_BYTES", 60)
        found = list(read_rows(path, "json"))
    lines = [1 + sum(element.count("\n") for element in elements[:number]) for number in range(len(elements))]
    assert [row.line for row in found] == lines
    for row, element in zip(found, elements, strict=True):
        if isinstance(row, Row):
            assert row.value == json.loads(element)
        else:
            assert row.reason.startswith("too long")
            assert len(element) > 55
        assert isinstance(row, BadRow) or len(element) <= 60


@pytest.mark.parametrize("text", ['[{"a": 1}', '[{"a": 1},', '[{"a": 1}, {"b"', '[{"a": 1}] {', '[{"a": 1}, "b'])
def test_what_is_cut_off_at_the_end_of_an_array_is_told(tmp_path: Path, text: str) -> None:
    path = tmp_path / "rows.json"
    path.write_text(text, encoding="utf-8")
    found = list(read_rows(path, "json"))
    assert found[0].line == 1
    assert isinstance(found[0], Row)
    assert [type(row) for row in found[1:]] == [BadRow]


def test_broken_table_rows_are_told_with_line_and_reason(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(
        b'\xef\xbb\xbftext,n\r\n"two\r\nlines",1\r\nshort\r\n"bro"ken,2\r\ncaf\xe9,3\r\nfine,4\r\n"no end,5\r\n'
    )
    found = list(read_rows(path))
    assert [row.line for row in found] == [2, 4, 5, 6, 7, 8]
    assert [row.value for row in found if isinstance(row, Row)] == [
        {"text": "two\r\nlines", "n": "1"},
        {"text": "fine", "n": "4"},
    ]
    kinds = [row.reason.partition(":")[0] for row in found if isinstance(row, BadRow)]
    assert kinds == ["wrong number of cells", "broken CSV", "not UTF-8", "broken CSV"]


def test_tabs_part_the_cells_of_tsv(tmp_path: Path) -> None:
    path = tmp_path / "rows.tsv"
    path.write_text("a\tb\n1,5\t2\n", encoding="utf-8")
    assert [row.value for row in read_rows(path) if isinstance(row, Row)] == [{"a": "1,5", "b": "2"}]


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.txt", b"[not json", "text"),
        ("a.json", b' \n[{"text": "x"}]', "json"),
        ("a.json", b'{"text": "x"}\n{"text": "y"}\n', "jsonl"),
        ("a.json", b'{\n"text": "x"}\n', "json"),
        ("a.jsonl", b'\xef\xbb\xbf{"text": "x"}\n', "jsonl"),
        ("a.jsonl", b'[\n{"text": "x"}\n]', "json"),
        ("a.tsv", b"a\tb\n", "csv"),
        ("a.data", b'{"text": "x"}\n', "jsonl"),
        ("a.data", "Ein Satz mit Umläuten: äöü\n".encode(), "text"),
        ("README", b"words", "text"),
    ],
)
def test_formats_are_told_by_name_and_content(tmp_path: Path, name: str, content: bytes, expected: str) -> None:
    (tmp_path / name).write_bytes(content)
    assert detect_format(tmp_path / name) == expected


@pytest.mark.parametrize("content", ["text".encode("utf-16"), b"\x1f\x8b\x08\0", b"PK\x03\x04", b"\x7fELF\0\0"])
def test_files_that_are_no_data_are_refused_by_name(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "strange.bin"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"strange\.bin"):
        detect_format(path)


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"absent\.jsonl: no such file"):
        list(read_rows(tmp_path / "absent.jsonl"))
    with pytest.raises(DataError, match="is a folder"):
        list(read_rows(tmp_path))


def test_a_file_that_only_calls_itself_parquet_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"no table")
    with pytest.raises(DataError, match="not a Parquet file"):
        list(read_rows(tmp_path / "a.parquet"))


def test_parquet_without_its_package_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "rows.parquet", ROWS)
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(MissingExtraError, match=r"\[parquet\]"):
        list(read_rows(path))


def test_lines_of_a_text_are_shown_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"one\r\n\r\nbr\xffken\nlast")
    found = [row.value if isinstance(row, Row) else row.reason for row in read_lines(path)]
    assert found == ["one", "", "not UTF-8: byte 0xff at column 3", "last"]


def test_a_line_too_long_for_memory_is_told_and_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workbench.data.sources.LONGEST_ROW_BYTES", 100)
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "' + "x" * 1000 + '"}\n{"text": "short"}\n', encoding="utf-8")
    first, second = read_rows(path)
    assert isinstance(first, BadRow)
    assert first.reason.startswith("too long")
    assert (second.line, second.value) == (2, {"text": "short"})


@pytest.mark.parametrize("name", ["a.jsonl", "a.json"])
def test_a_key_that_stands_twice_is_told(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    twice = '{"messages": [{"role": "user", "content": "a", "content": "b"}]}'
    path.write_text(f'{twice}\n{{"text": "fine"}}\n', encoding="utf-8")
    bad, good = read_rows(path)
    assert (bad.line, bad.reason) == (1, 'duplicate key: "content" stands twice in one object')
    assert good.value == {"text": "fine"}


def test_columns_of_one_name_are_refused_unless_they_have_none(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("text,n,text\none,1,two\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"a\.csv, line 1: 2 columns are called 'text'; rename all but one"):
        list(read_rows(path))
    path.write_text("text,,\none,,\n", encoding="utf-8")
    assert [row.value["text"] for row in read_rows(path)] == ["one"]


def test_parquet_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow.parquet")
    import pyarrow as arrow

    path = tmp_path / "a.parquet"
    table = arrow.Table.from_arrays([arrow.array(["one"]), arrow.array(["two"])], names=["text", "text"])
    pyarrow.write_table(table, path)
    with pytest.raises(DataError, match="2 columns are called 'text'"):
        list(read_rows(path))
