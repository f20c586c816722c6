"""A plain text in pieces is the text, and tokenises as the text."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.config import TokenizerSettings
from workbench.data.rows import BadRow, Row
from workbench.data.text_pieces import char_border, text_pieces
from workbench.tokenizer.bpe import train_tokenizer

SMALL, LARGE = 48, 160
TEXT = st.text(st.sampled_from("ab 1\n\n\r\té春。　'"), max_size=600)


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workbench.data.text_pieces.PIECE_BYTES", SMALL)
    monkeypatch.setattr("workbench.data.text_pieces.LONGEST_PIECE_BYTES", LARGE)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("texts")


def unix(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


@given(text=TEXT)
def test_the_pieces_are_the_text(folder: Path, text: str) -> None:
    path = folder / "a.txt"
    path.write_bytes(text.encode("utf-8"))
    pieces = [str(row.value) for row in text_pieces(path) if isinstance(row, Row)]
    # A carriage return cut from its line feed may leave one line end more; seams avoid that, hard cuts seek line ends.
    assert "".join(pieces).replace("\n", "") == unix(text).replace("\n", "")
    if "\r" not in text:
        assert "".join(pieces) == text
    assert all(len(piece.encode("utf-8")) <= LARGE + SMALL for piece in pieces)


@given(text=TEXT)
def test_pieces_behind_a_place_do_not_depend_on_how_it_was_reached(folder: Path, text: str) -> None:
    path = folder / "b.txt"
    path.write_bytes(text.encode("utf-8"))
    pieces = list(text_pieces(path))
    for number, piece in enumerate(pieces):
        assert list(text_pieces(path, piece.end)) == pieces[number + 1 :]


@given(text=TEXT, share=st.floats(0, 1))
def test_a_border_ends_a_piece_and_splits_no_character(folder: Path, text: str, share: float) -> None:
    path = folder / "c.txt"
    content = text.encode("utf-8")
    path.write_bytes(content)
    border = char_border(path, int(len(content) * share))
    content[:border].decode("utf-8")
    assert content[border - 1 : border + 1] != b"\r\n"
    pieces = [row for row in text_pieces(path, border=border) if isinstance(row, Row)]
    before = "".join(str(row.value) for row in pieces if row.end.byte <= border)
    assert before.replace("\n", "") == unix(content[:border].decode("utf-8")).replace("\n", "")


@pytest.mark.parametrize("pre_tokenizer", ["gpt-2", "smollm", "qwen2", "llama-bpe"])
def test_pieces_tokenise_as_the_whole_does(tmp_path: Path, pre_tokenizer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    verses = "It's 1999.\n\n  春眠不覺曉，\r\n處處聞啼鳥。\n　夜來風雨聲\nthe end \n of 'it'\n\n\nyes\n" * 20
    settings = TokenizerSettings(vocab_size=400, pre_tokenizer=pre_tokenizer)
    tokenizer = train_tokenizer(settings, [verses], on_progress=lambda *_: None, should_stop=lambda: False)
    assert tokenizer is not None
    path = tmp_path / "verses.txt"
    path.write_bytes(verses.encode("utf-8"))
    pieces = [str(row.value) for row in text_pieces(path) if isinstance(row, Row)]
    assert len(pieces) > 20
    assert [token for piece in pieces for token in tokenizer.encode(piece)] == tokenizer.encode(unix(verses))


def test_a_broken_line_is_left_out_and_told(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"\xef\xbb\xbfone\n" + b"filler line\n" * 9 + b"br\xffken\nnul\0\nlast")
    found = list(text_pieces(path))
    bad = [(row.line, row.reason) for row in found if isinstance(row, BadRow)]
    assert bad == [
        (11, "not UTF-8: byte 0xff at column 3"),
        (12, "NUL character: in this line; is the file binary?"),
    ]
    assert "".join(str(row.value) for row in found if isinstance(row, Row)) == "one\n" + "filler line\n" * 9 + "last"
