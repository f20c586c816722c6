"""A plain text of any length, in pieces that tokenise as the whole would."""

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from workbench.data.rows import START, BadRow, Mark, Row, check_text, decode

PIECE_BYTES = 1 << 16
LONGEST_PIECE_BYTES = 1 << 20  # where there is no seam this long, the text is cut anyway
BOM = b"\xef\xbb\xbf"


def text_pieces(path: Path, begin: Mark = START, *, border: int = 0) -> Iterator[Row | BadRow]:
    """The file's text from `begin` on, as consecutive rows of one document; a broken line is left out and told.

    Line ends become "\\n", and a byte order mark at the start is dropped.

    Args:
        border: a place, in bytes, where a piece must end: what lies before and behind it goes different ways.
    """
    with path.open("rb") as file:
        file.seek(begin.byte)
        mark, rest = begin, b""
        while True:
            rest, size = _fill(file, rest)
            if not size:
                return
            if mark.byte < border < mark.byte + size:
                size = border - mark.byte
            end = Mark(mark.byte + size, mark.line + rest.count(b"\n", 0, size))
            yield from _decoded(str(path), rest[:size], mark, end)
            mark, rest = end, rest[size:]


def char_border(path: Path, byte: int) -> int:
    """The first place at or behind `byte` that splits neither a character nor a line's end."""
    with path.open("rb") as file:
        file.seek(max(byte - 1, 0))
        around = file.read(5)
    before, behind = (around[:1], around[1:]) if byte else (b"", around)
    step = 0
    while step < len(behind) and behind[step] & 0xC0 == 0x80:
        step += 1
    if before == b"\r" and behind[:1] == b"\n":
        step = 1
    return byte + step


def _fill(file: BinaryIO, rest: bytes) -> tuple[bytes, int]:
    """`rest`, read on until it holds a piece, and the size of that: it depends on the place in the file alone."""
    wanted = PIECE_BYTES
    while True:
        rest += file.read(max(wanted - len(rest), 0))
        if len(rest) < wanted:  # the file's end
            return rest, len(rest)
        if size := _last_seam(rest):
            return rest, size
        if wanted >= LONGEST_PIECE_BYTES:
            place = max(rest.rfind(b"\n", 0, -1) + 1, rest.rfind(b" "))
            return rest, place if place > 0 else _character_start(rest)
        wanted += PIECE_BYTES


def _last_seam(rest: bytes) -> int:
    """The last place behind a line's end that stands between two visible characters; 0 where there is none.

    No pre-tokenizer that llama.cpp knows joins what stands around such a place.
    """
    place = len(rest) - 4  # a whole character must follow
    while (place := rest.rfind(b"\n", 0, place)) > 0:
        before = rest[max(place - 5, 0) : place].removesuffix(b"\r").decode("utf-8", errors="ignore")
        behind = rest[place + 1 : place + 5].decode("utf-8", errors="ignore")
        if before and behind and not before[-1].isspace() and not behind[0].isspace():
            return place + 1
    return 0


def _character_start(rest: bytes) -> int:
    size = len(rest) - 1
    while size > len(rest) - 4 and rest[size] & 0xC0 == 0x80:
        size -= 1
    return size


def _decoded(file: str, raw: bytes, begin: Mark, end: Mark) -> Iterator[Row | BadRow]:
    if begin.byte == 0:
        raw = raw.removeprefix(BOM)
    try:
        text = _clean(raw)
    except ValueError:
        kept = []
        for line, raw_line in enumerate(raw.splitlines(keepends=True), begin.line):
            try:
                kept.append(_clean(raw_line))
            except ValueError as error:
                yield BadRow(file, line, str(error), begin)
        text = "".join(kept)
    yield Row(file, begin.line, text, end)


def _clean(raw: bytes) -> str:
    text = decode(raw)
    check_text(text, "this line")
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text
