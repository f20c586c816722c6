"""Help and refused command lines in every language: translated, and as wide as the terminal."""

import argparse
import re
from collections.abc import Iterator

import pytest

from workbench import language
from workbench.cells import width, wrap
from workbench.cli.arguments import build_parser
from workbench.cli.main import main
from workbench.cli.parser import language_on

COLUMNS = 80
ENGLISH = re.compile(r"\b[a-z]{2,} [a-z]{2,}\b")
"""Two words in a row; values are listed with commas."""
KEPT = ("--profile quickstart", "llm-workbench chat", "learning-rate", "PEFT", "Hugging Face")


@pytest.fixture
def chinese(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Speak Chinese on a terminal of 80 columns for one test."""
    monkeypatch.setenv("COLUMNS", str(COLUMNS))
    language.use_language("zh")
    yield
    language.use_language("en")


def parsers(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """A parser and those of its commands."""
    yield parser
    for action in parser._actions:
        for other in action.choices.values() if isinstance(action.choices, dict) else ():
            yield from parsers(other)


def test_the_help_of_every_command_is_chinese_and_fits(chinese: None) -> None:
    found = list(parsers(build_parser()))
    assert len(found) > 30
    for parser in found:
        usage, _, told = parser.format_help().partition("\n\n")
        assert usage.startswith("用法：llm-workbench")
        lines = told.splitlines()
        assert [line for line in lines + usage.splitlines() if width(line) > COLUMNS] == [], parser.prog
        for line in lines:
            words = line.strip()
            for kept in KEPT:
                words = words.replace(kept, "")
            assert not ENGLISH.search(words), f"{parser.prog}: {line!r}"
            assert not re.search(r"[\u4e00-\u9fff]:", line), "a colon of English behind Chinese"


def test_explanations_stand_in_one_column(chinese: None) -> None:
    for parser in parsers(build_parser()):
        lines = parser.format_help().splitlines()
        heads = [found.group() for line in lines if (found := re.match(r"  -.*?\S  +(?=\S)", line))]
        assert len({width(head) for head in heads}) == 1, parser.prog


def test_the_language_may_stand_behind_every_command(chinese: None) -> None:
    assert all("--lang {en,zh}" in parser.format_help() for parser in parsers(build_parser()))


def test_help_speaks_english_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(COLUMNS))
    told = build_parser().format_help()
    assert told.startswith("usage: llm-workbench [-h]")
    assert "\noptions:\n  -h, --help           show this help message and exit\n" in told
    assert [line for line in told.splitlines() if width(line) > COLUMNS] == []


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--sideways"], "llm-workbench：错误：无法识别的参数：--sideways"),
        (["levitate"], "参数 COMMAND：不能是 'levitate'"),
        (["--json"], "没有 --profile 时，--json 不起作用"),
        (["--name", "x", "runs"], "--name 属于 --profile；命令的选项请写在命令之后"),
        (["--profile", "quickstart", "runs"], "--profile 自成一个命令；请去掉另一个命令"),
        (["resume"], "llm-workbench resume：错误：缺少必需的参数：RUN"),
        (["resume", "tiny", "--steps", "0"], "参数 --steps：'0' 不是大于 0 的整数"),
        (["resume", "tiny", "--steps"], "参数 --steps：需要一个值"),
        (["resume", "tiny", "--learning-rate", "7"], "'7' 不是大于 0 且不超过 1 的数"),
        (["chat", "--temperature", "a; b"], "参数 --temperature：'a; b' 不是数字"),
        (["chat", "--top-k", "x"], "参数 --top-k：'x' 不是整数"),
        (["runs", "--json=3"], "参数 --json：不接受值 '3'"),
        (["bench", "ui", "tea"], "参数 PART：'tea' 不在 start, idle, keys, speed, memory 之中"),
        (["model", "sizes", "many"], "'many' 不是参数量；请写成 30M、1.1B 或 500k"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_command_line_is_refused_in_chinese(
    arguments: list[str], told: str, chinese: None, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        main(["--lang=zh", *arguments])
    assert end.value.code == 2
    said = capsys.readouterr().err
    assert told in said
    assert said.startswith("用法：")


@pytest.mark.parametrize(
    ("argv", "wish"),
    [
        (["--lang", "zh", "runs"], "zh"),
        (["runs", "--help", "--lang=zh"], "zh"),
        (["--lang", "zh", "runs", "--lang", "en"], "en"),
        (["--lang"], None),
        (["chat", "--", "--lang", "zh"], None),
        ([], None),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_the_language_is_known_before_the_command_line_is_understood(argv: list[str], wish: str | None) -> None:
    assert language_on(argv) == wish


def test_lines_break_between_chinese_characters_and_not_before_their_punctuation() -> None:
    assert wrap("训练一个小模型，然后对话。", 14) == ["训练一个小模", "型，然后对话。"]
    assert wrap("用 --lang 选择语言", 10) == ["用 --lang", "选择语言"]
    assert all(width(line) <= 9 for line in wrap("检查点、学习率与 validation 损失", 9))
