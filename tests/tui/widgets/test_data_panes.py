"""The figures beside a data file: aligned, named as they read, and counted once."""

from pathlib import Path

import pytest
from textual.app import App, ComposeResult

from workbench.config import TokenizerSettings
from workbench.data import statistics
from workbench.tokenizer.bpe import train_tokenizer
from workbench.tokenizer.tokenizer import Tokenizer
from workbench.tui.data_file import DataFile
from workbench.tui.row_views import CHARACTERS_SHOWN
from workbench.tui.widgets.length_pane import _bins
from workbench.tui.widgets.statistics_pane import StatisticsPane


@pytest.fixture(scope="module")
def byte_tokenizer() -> Tokenizer:
    """One token a byte."""
    settings = TokenizerSettings(kind="bytes")
    tokenizer = train_tokenizer(settings, [], on_progress=lambda *_: None, should_stop=lambda: False)
    assert tokenizer is not None
    return tokenizer


def data_file(path: Path, text: str) -> DataFile:
    """A scanned file of that text."""
    path.write_text(text, encoding="utf-8")
    file = DataFile(path)
    file.scan(lambda: False)
    return file


async def test_every_script_stands_in_the_column_of_values(tmp_path: Path) -> None:
    file = data_file(tmp_path / "a.jsonl", '{"text": "words"}\n{"text": "从前有一只龙"}\n')
    survey = file.survey(None, lambda: False)

    class Host(App[None]):
        def compose(self) -> ComposeResult:
            yield StatisticsPane(id="statistics")

    async with Host().run_test(size=(60, 20)) as pilot:
        pane = pilot.app.query_one(StatisticsPane)
        pane.show_statistics(file, survey, None, None)
        lines = str(pane.render()).splitlines()
        first = next(line for line in lines if line.startswith("written in"))
        second = lines[lines.index(first) + 1]
        assert first.index("50%") == second.index("50%") > 0


def test_a_bar_of_one_length_has_one_number() -> None:
    names = [figure.name for figure in _bins([2, 3, 3])]
    assert names[:4] == ["0", "1", "2", "3"]
    assert [figure.name for figure in _bins([5, 60])][:2] == ["0-19", "20-39"]


def test_a_text_too_long_to_be_read_counts_for_its_length(tmp_path: Path, byte_tokenizer: Tokenizer) -> None:
    long = CHARACTERS_SHOWN * 5
    file = data_file(tmp_path / "a.jsonl", f'{{"text": "{"x" * long}"}}\n{{"text": "short"}}\n')
    lengths = file.survey(byte_tokenizer, lambda: False).lengths
    assert lengths[1] == 6 and abs(lengths[0] - long) < 20


def test_a_row_is_decoded_once_for_the_survey(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded, once = [], statistics.content_of
    monkeypatch.setattr(statistics, "content_of", lambda row: decoded.append(row) or once(row))
    text = '{"text": "a"}\n{"nope": 1}\n{"messages": [{"role": "user", "content": "q"}]}\nbroken\n'
    survey = data_file(tmp_path / "a.jsonl", text).survey(None, lambda: False)
    assert len(decoded) == survey.rows == 4
    assert (survey.bad, survey.statistics.bad, survey.kind) == (3, 3, "pretrain")


def test_empty_lines_of_a_plain_text_are_neither_rows_nor_bad(tmp_path: Path) -> None:
    survey = data_file(tmp_path / "a.txt", "one\n\n\ntwo\n").survey(None, lambda: False)
    assert (survey.rows, survey.bad, survey.statistics.rows) == (4, 0, 2)
