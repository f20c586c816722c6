"""What a file is like as a whole: every count against one made by hand."""

import json
from pathlib import Path

import pytest

from workbench.cli.main import main
from workbench.data.statistics import file_statistics, script_of

ASK, ANSWER = {"role": "user", "content": "Hello there"}, {"role": "assistant", "content": "Hi"}


class Words:
    """A tokenizer of words."""

    def encode_batch(self, texts: list[str]) -> list[list[int]]:
        return [[len(word) for word in text.split()] for text in texts]


def written(path: Path, rows: list[object]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def test_every_count_of_conversations(tmp_path: Path) -> None:
    rows = [
        {"messages": [ASK, ANSWER]},
        {"messages": [ANSWER | {"content": "你好，世界"}, ASK | {"content": "再见"}, ANSWER | {"content": "嗯"}]},
        {"messages": [ASK, ANSWER | {"content": " "}]},
        {"messages": [ASK, ANSWER]},
        {"messages": [ASK]},
        {"messages": [ASK, {"role": "assistant", "content": "", "tool_calls": [{"name": "f"}]}]},
        "just a text",
    ]
    found = file_statistics(written(tmp_path / "a.jsonl", rows), Words())
    assert (found.rows, found.bad, found.complete) == (7, 2, True)
    assert found.problems == {"empty answer": 1, "no assistant turn": 1}
    assert found.kinds == {"sft": 4, "pretrain": 1} and found.duplicates == 1
    assert found.turns == {"assistant": 5, "user": 4}
    assert found.scripts == {"Latin": 4, "Chinese": 1}
    assert found.characters is not None and found.characters.longest == len("Hello thereHi")
    assert found.tokens is not None and found.tokens.total == 3 + 3 + 3 + 2 + 3


def test_pairs_whose_answers_are_the_same_are_bad(tmp_path: Path) -> None:
    other = {**ANSWER, "content": "Go away"}
    rows = [{"chosen": [ASK, ANSWER], "rejected": [ASK, other]}, {"chosen": [ASK, ANSWER], "rejected": [ASK, ANSWER]}]
    found = file_statistics(written(tmp_path / "a.jsonl", rows))
    assert found.kinds == {"dpo": 1} and found.bad == 1 and found.tokens is None


def test_lengths_are_those_of_a_sorted_list(tmp_path: Path) -> None:
    found = file_statistics(written(tmp_path / "a.jsonl", [{"text": "x" * n} for n in range(1, 201)])).characters
    assert found is not None
    assert (found.total, found.mean, found.longest) == (20100, 100.5, 200)
    assert (found.median, found.p90, found.p99) == (101, 181, 199)


@pytest.mark.parametrize(
    ("text", "script"),
    [
        ("Grüße aus Köln", "Latin"),
        ("床前明月光", "Chinese"),
        ("今日はとても暑いですね", "Japanese"),
        ("안녕하세요 세계", "Korean"),
        ("Привет, мир", "Cyrillic"),
        ("مرحبا", "Arabic"),
        ("hello 你好世界啊", "mixed"),
        ("1 + 1 = 2", "no letters"),
    ],
)
def test_scripts(text: str, script: str) -> None:
    assert script_of(text) == script


def test_a_limit_and_a_stop_say_that_there_is_more(tmp_path: Path) -> None:
    path = written(tmp_path / "a.jsonl", [{"text": f"row {n}"} for n in range(5000)])
    assert (file_statistics(path, limit=10).rows, file_statistics(path, limit=10).complete) == (10, False)
    assert file_statistics(path, limit=5000).complete
    told: list[int] = []
    stopped = file_statistics(path, on_progress=told.append, should_stop=lambda: bool(told))
    assert told == [1000] and (stopped.rows, stopped.complete) == (1000, False)


def test_blank_lines_of_a_text_are_no_rows(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one\n\n  \ntwo\n", encoding="utf-8")
    assert file_statistics(tmp_path / "a.txt").rows == 2


def test_the_command_prints_a_table_or_an_object(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = written(tmp_path / "a.jsonl", [{"messages": [ASK, ANSWER]}] * 3)
    assert main(["data", "stats", str(path)]) == 0
    out = capsys.readouterr().out
    assert "3 usable, 0 bad" in out and "duplicates  2" in out
    assert main(["data", "stats", str(path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[str(path)]["turns"] == {"user": 3, "assistant": 3}
    assert main(["data", "stats", str(tmp_path / "missing.jsonl")]) == 2
