"""What is suspicious is found, with its line; what is fine is left alone."""

import json
from pathlib import Path

import pytest

from workbench.data.lint import FINDINGS_KEPT, lint
from workbench.tokenizer.tokenizer import Tokenizer

ASK, ANSWER = {"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi"}
TOOL = {"role": "tool", "content": "2"}


def written(path: Path, rows: list[object]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def found(path: Path, kind: str, **options: object) -> list[tuple[int, str]]:
    return [(finding.line, finding.severity) for finding in lint(path, kind, **options)]


def test_fine_data_has_no_findings(tmp_path: Path) -> None:
    rows = [
        {"messages": [ASK, ANSWER]},
        {"messages": [{"role": "system", "content": "x"}, ASK, ANSWER, {**ASK, "content": "?"}, ANSWER]},
        {"messages": [ASK, {**ANSWER, "tool_calls": [{"name": "f"}]}, TOOL, TOOL, ANSWER]},
    ]
    assert lint(written(tmp_path / "a.jsonl", rows), "sft") == []


@pytest.mark.parametrize(
    ("turns", "message"),
    [
        ([ANSWER], "turn 1 is by assistant, with no turn before it"),
        ([ASK, ASK, ANSWER], "turn 2 is by user, after user"),
        ([ASK, ANSWER, ASK], "the last turn is by user"),
        ([{**ASK, "content": " "}, ANSWER], "turn 1 of the user is empty"),
        ([ASK, {**ANSWER, "content": "\ufffdber"}], "1 replacement characters"),
        ([ASK, {**ANSWER, "content": "Hi<|im_end|>"}], "the control token <|im_end|>"),
        ([ASK, {**ANSWER, "content": "a\x07"}], "control characters: U\\+0007"),
    ],
)
def test_a_suspicious_conversation_is_told(tmp_path: Path, turns: list[object], message: str) -> None:
    rows = [{"messages": [ASK, {**ANSWER, "content": "fine"}]}, {"messages": turns}]
    findings = lint(written(tmp_path / "a.jsonl", rows), "sft")
    assert findings, message
    assert all((finding.line, finding.severity) == (2, "warning") for finding in findings)
    with pytest.raises(AssertionError, match=message):
        raise AssertionError("; ".join(finding.message for finding in findings))


def test_rows_that_cannot_be_used_are_errors(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"messages": []}\n{"x": 1}\n{broken\n\xff\n')
    assert found(path, "sft") == [(1, "error"), (2, "error"), (3, "error"), (4, "error")]
    assert found(path, "dpo") == [(1, "error"), (2, "error"), (3, "error"), (4, "error")]


def test_a_copy_names_the_first_of_its_kind(tmp_path: Path) -> None:
    path = written(tmp_path / "a.jsonl", [{"text": "x"}, {"text": "y"}, {"text": "x"}])
    (finding,) = lint(path, "pretrain")
    assert (finding.file, finding.line, finding.message) == (str(path), 3, "the same as line 1")


def test_preference_pairs_are_looked_at_too(tmp_path: Path) -> None:
    rows = [{"chosen": [ASK, ANSWER], "rejected": [ASK, {**ANSWER, "content": "\ufffd"}]}]
    assert found(written(tmp_path / "a.jsonl", rows), "dpo") == [(1, "warning")]


def test_rows_too_long_are_told_when_they_can_be_measured(tmp_path: Path, byte_tokenizer: Tokenizer) -> None:
    path = written(
        tmp_path / "a.jsonl", [{"messages": [ASK, {**ANSWER, "content": "x" * length}]} for length in (5, 50)]
    )
    assert found(path, "sft", tokenizer=byte_tokenizer, sequence_length=40) == [(2, "note")]
    assert found(path, "sft") == []


def test_lines_of_a_plain_text_are_looked_at(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes("fine\n\nfine\nbroken \ufffd\n".encode() + b"\xff\n")
    assert found(path, "pretrain") == [(4, "warning"), (5, "error")]


def test_findings_end_with_a_word_that_there_may_be_more(tmp_path: Path) -> None:
    findings = lint(written(tmp_path / "a.jsonl", [{"x": 1}] * (FINDINGS_KEPT + 50)), "pretrain")
    assert len(findings) == FINDINGS_KEPT + 1
    assert findings[-1].severity == "note"


def test_a_lint_can_be_stopped(tmp_path: Path) -> None:
    assert lint(written(tmp_path / "a.jsonl", [{"x": 1}] * 5), "pretrain", should_stop=lambda: True) == []
