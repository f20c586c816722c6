"""`data lint`: what the command adds to the findings."""

import json
from pathlib import Path

import pytest

from workbench.cli.main import main
from workbench.config import TokenizerSettings
from workbench.tokenizer.bpe import train_tokenizer

TALK = {"conversations": [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": "Nobody " * 20}]}


def write_rows(name: str, *rows: object) -> str:
    lines = (row if isinstance(row, str) else json.dumps(row) for row in rows)
    Path(name).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return name


@pytest.mark.parametrize("bad", ['{"text": "a\\u0000b"}', "no JSON", "[1]", '{"other": 1}'])
@pytest.mark.parametrize("good", [{"text": "fine"}, TALK], ids=["pretrain", "sft"])
def test_a_bad_first_row_does_not_hide_what_the_file_is_for(
    bad: str, good: object, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data", "lint", write_rows("rows.jsonl", bad, good)]) == 2
    told = capsys.readouterr()
    assert "rows.jsonl:1: error" in told.out
    assert told.err == "rows.jsonl: 1 error\n"


def test_an_empty_file_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "lint", write_rows("rows.jsonl")]) == 2
    assert "there is no row" in capsys.readouterr().out


def test_several_files_folders_and_patterns_are_looked_at_each_once(capsys: pytest.CaptureFixture[str]) -> None:
    Path("rows").mkdir()
    fine = write_rows("rows/a.jsonl", {"text": "fine"})
    write_rows("rows/b.jsonl", TALK, "no JSON")
    assert main(["data", "lint", "rows", "rows/*.jsonl", "rows/b.jsonl"]) == 2
    told = capsys.readouterr()
    both = [str(Path("rows", name).resolve()) for name in ("a.jsonl", "b.jsonl")]
    assert told.out.startswith(f"{both[1]}:2: error")
    assert told.err.splitlines() == [f"{both[0]}: nothing found", f"{both[1]}: 1 error"]
    assert main(["data", "lint", fine]) == 0
    assert main(["data", "lint", "rows/*.csv"]) == 2
    assert "rows/*.csv: no such file" in capsys.readouterr().err


def test_a_file_that_cannot_be_read_at_all_hides_no_other(capsys: pytest.CaptureFixture[str]) -> None:
    Path("a.csv").write_text("text,text\none,two\n", encoding="utf-8")
    assert main(["data", "lint", "a.csv", write_rows("b.jsonl", {"text": ""})]) == 2
    assert capsys.readouterr().out.splitlines() == [
        "a.csv:1: error: 2 columns are called 'text'; rename all but one of them",
        "b.jsonl:1: error: empty text",
    ]


def test_findings_for_programs_are_one_json_array(capsys: pytest.CaptureFixture[str]) -> None:
    twice = '{"text": "a", "text": "b"}'
    files = [write_rows("a.jsonl", twice), write_rows("b.jsonl", {"text": "\ufffd"})]
    assert main(["data", "lint", "--json", *files]) == 2
    first, second = json.loads(capsys.readouterr().out)
    message = 'duplicate key: "text" stands twice in one object'
    assert first == {"file": "a.jsonl", "line": 1, "severity": "error", "message": message}
    assert (second["file"], second["severity"]) == ("b.jsonl", "warning")
    assert main(["data", "lint", "--json", write_rows("c.jsonl", {"text": "fine"})]) == 0
    assert json.loads(capsys.readouterr().out) == []


def test_a_tokenizer_tells_of_conversations_that_are_too_long(capsys: pytest.CaptureFixture[str]) -> None:
    tokenizer = train_tokenizer(
        TokenizerSettings(kind="bytes"), [], on_progress=lambda *_: None, should_stop=lambda: False
    )
    tokenizer.save(Path("tokenizer"))
    arguments = ["data", "lint", write_rows("rows.jsonl", TALK), "--tokenizer", "tokenizer"]
    assert main([*arguments, "--sequence-length", "64"]) == 0
    assert "longer than a row of 64" in capsys.readouterr().out
    assert main(arguments) == 0
    assert capsys.readouterr().out == ""


def test_a_length_without_a_tokenizer_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "lint", write_rows("rows.jsonl", TALK), "--sequence-length", "9"]) == 2
    assert "--tokenizer" in capsys.readouterr().err
