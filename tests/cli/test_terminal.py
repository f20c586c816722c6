"""Text on a terminal: nothing in it is obeyed, and columns line up."""

import io
import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.cli.terminal import clipped, forgive_encoding, one_line, printable, table, width


@given(st.text())
def test_no_control_character_reaches_the_terminal(text: str) -> None:
    shown = printable(text)
    assert not [sign for sign in shown if unicodedata.category(sign) in ("Cc", "Cs") and sign not in "\n\t"]
    assert "\n" not in one_line(text)


def test_escape_sequences_are_spelled_out() -> None:
    assert printable("\x1b[2J\x07\r\x9b\u202e\x7f") == "\\x1b[2J\\x07\\x0d\\x9b\\u202e\\x7f"


def test_text_of_every_script_is_left_alone() -> None:
    text = "春眠不覺曉，\u3000處處聞啼鳥。 naïve\tعربي 👩\u200d🚀\n[/INST]"
    assert printable(text) == text


@given(st.text(), st.integers(min_value=1, max_value=30))
def test_clipped_text_fits_and_begins_like_the_whole(text: str, columns: int) -> None:
    shown = clipped(text, columns)
    assert width(shown) <= columns
    assert shown == text or text.startswith(shown.removesuffix("…"))


def test_tables_align_chinese_and_english() -> None:
    lines = table([("春眠", "1"), ("abc", "23")], right=(1,)).splitlines()
    assert lines == ["春眠   1", "abc   23"]


def test_input_in_an_unknown_encoding_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"a\xff\n"), encoding="utf-8", errors="strict"))
    forgive_encoding()
    assert sys.stdin.readline() == "a\N{REPLACEMENT CHARACTER}\n"
