"""Signs in ASCII: nothing moves, letters stay, and no sign that the workbench draws is left over."""

import io
import re
from pathlib import Path

import pytest

import workbench
from workbench.ascii_signs import in_ascii, write_in_ascii
from workbench.cells import width

SOURCES = Path(workbench.__file__).parent


def test_every_sign_takes_the_room_it_took() -> None:
    signs = "".join(map(chr, (*range(0x2010, 0x2060), *range(0x2190, 0x2460), *range(0x2500, 0x2C00))))
    plain = in_ascii(signs)
    assert len(plain) == len(signs) and [width(each) for each in plain] == [width(each) for each in signs]
    assert all(new.isascii() for old, new in zip(signs, plain, strict=True) if width(old) == 1)


def test_letters_of_every_language_stay() -> None:
    text = "naïve 从前 Übung здравствуй 日本語 한국어 é ñ 👩"
    assert in_ascii(text) == text


def test_a_boxs_corners_and_heavier_borders_can_be_told_apart() -> None:
    assert in_ascii("╭─ Runs ─╮ ┏━ Runs ━┓ │┃") == "+- Runs -+ #= Runs =# ||"


@pytest.mark.parametrize("ramp", ["▁▂▃▄▅▆▇█", " ·░▒▓█"])
def test_steps_of_a_ramp_stay_apart(ramp: str) -> None:
    assert len(set(in_ascii(ramp))) == len(ramp)


def test_dots_stay_high_low_and_in_between() -> None:
    assert in_ascii("⠁⠉⠒⠤⣀⣿⠀") == "''-._# "


def test_no_sign_of_the_sources_is_without_a_character() -> None:
    drawn = {each for path in SOURCES.rglob("*.py") for each in path.read_text(encoding="utf-8") if ord(each) > 0x2000}
    signs = {each for each in drawn if re.match(r"[\u2010-\u205f\u2190-\u2bff]", each) and width(each) == 1}
    left = {each for each in signs if in_ascii(each) in ("?", each)}
    assert len(signs) > 40 and not left, left


@pytest.mark.parametrize("encoding", ["utf-8", "gbk", "latin-1"])
def test_a_stream_writes_signs_in_ascii_and_letters_as_before(encoding: str) -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding=encoding)
    write_in_ascii(stream)
    stream.write("✓ 完成 ━━╸ 50 %…\n")
    stream.flush()
    letters = "完成".encode(encoding, "backslashreplace")
    assert raw.getvalue() == b"v " + letters + b" === 50 %.\n"
