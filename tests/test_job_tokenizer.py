"""The text that a tokenizer learns from."""

from pathlib import Path

import pytest

from workbench.errors import TokenizerError
from workbench.job_tokenizer import Source, tokenizer_texts

TALK = '{"messages": [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": "Nobody"}]}\n'


def sources(tmp_path: Path, kind: str, *contents: str) -> list[Source]:
    files = [tmp_path / f"{number}.jsonl" for number in range(len(contents))]
    for file, content in zip(files, contents, strict=True):
        file.write_text(content, encoding="utf-8")
    return [Source(file, "auto", kind) for file in files]


@pytest.mark.parametrize(
    ("kind", "content", "reason"),
    [
        ("pretrain", TALK, 'unknown keys: found messages; expected "text"'),
        ("sft", '{"text": "a"}\n', "unknown keys: found text; expected "),
        ("", '{"txt": "a"}\n', 'unknown keys: found txt; expected "text"'),
        ("pretrain", "no JSON\n", "broken JSON: "),
    ],
)
def test_where_no_row_can_be_used_the_first_is_told_with_its_reason(
    tmp_path: Path, kind: str, content: str, reason: str
) -> None:
    given = sources(tmp_path, kind, "", "\n" + content, '{"odd": 1}\n')
    with pytest.raises(TokenizerError) as caught:
        list(tokenizer_texts(given, 1))
    assert f"first, {given[1].file} line 2: {reason}" in str(caught.value)


def test_rows_that_cannot_be_used_are_passed_over_where_others_can(tmp_path: Path) -> None:
    assert list(tokenizer_texts(sources(tmp_path, "pretrain", "no JSON\n", '{"text": "a"}\n"b"\n'), 1)) == ["a", "b"]
    assert list(tokenizer_texts(sources(tmp_path, "", "5\n" + TALK + '{"text": "a"}\n'), 1)) == ["Who?", "Nobody", "a"]
    assert list(tokenizer_texts(sources(tmp_path, "sft", TALK), 1)) == ["Who?", "Nobody"]
