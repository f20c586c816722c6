"""What a data file is made of: rows that could be read, and rows that could not, each with its place."""

import hashlib
import json
from typing import Any, Literal, NamedTuple, get_args

Format = Literal["jsonl", "json", "text", "csv", "parquet"]
FORMATS: tuple[str, ...] = get_args(Format)
Value = str | dict[str, Any]

LONGEST_ROW_BYTES = 64 << 20  # a longer one is a broken file, and would take the memory with it


class Mark(NamedTuple):
    """A place between two rows of a file, from which reading can go on.

    Args:
        byte: bytes before it; an estimate in Parquet files, which are found by `line`.
        line: the line, counted from 1, that follows; in Parquet files the row.
    """

    byte: int
    line: int


START = Mark(0, 1)


class Row(NamedTuple):
    """A row that could be read: a text, or an object with its keys."""

    file: str
    line: int
    value: Value
    end: Mark = START


def fingerprint(row: Row) -> int:
    """A number of 64 bits that rows with the same content share, and hardly ever others."""
    content = json.dumps(row.value, sort_keys=True).encode("ascii")
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "little")


class BadRow(NamedTuple):
    """A row that cannot be used.

    Args:
        reason: the kind of problem, which is what gets counted; what follows its first colon is the detail.
    """

    file: str
    line: int
    reason: str
    end: Mark = START


class RawRow(NamedTuple):
    """The bytes of a row before anything was made of them; only some of them where it is `too_long` to be used."""

    line: int
    raw: bytes
    end: Mark
    too_long: bool = False


def parse_json_row(file: str, row: RawRow) -> Row | BadRow:
    """The JSON value of a row; only an object or a string can be one."""
    if row.too_long:
        return BadRow(file, row.line, f"too long: more than {LONGEST_ROW_BYTES >> 20} MiB", row.end)
    try:
        value = _DECODER.decode(decode(row.raw))
    except RecursionError:
        return BadRow(file, row.line, "broken JSON: nested too deeply", row.end)
    except json.JSONDecodeError as error:
        place = f"column {error.colno}" if error.lineno == 1 else f"line {row.line + error.lineno - 1}"
        return BadRow(file, row.line, f"broken JSON: {error.msg.removesuffix(' at')} at {place}", row.end)
    except ValueError as error:
        reason = str(error)
        told = reason.startswith(("not UTF-8", "duplicate key"))
        return BadRow(file, row.line, reason if told else f"broken JSON: {reason}", row.end)
    if not isinstance(value, str | dict):
        return BadRow(file, row.line, f"wrong type: found {type_name(value)}, expected an object", row.end)
    return Row(file, row.line, value, row.end)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        twice = next(key for place, (key, _) in enumerate(pairs) if key in [each for each, _ in pairs[:place]])
        raise ValueError(f'duplicate key: "{twice}" stands twice in one object')
    return value


_DECODER = json.JSONDecoder(object_pairs_hook=_object)  # Python's own would let the last of two values win in silence


def decode(raw: bytes) -> str:
    """The text of UTF-8 bytes; a ValueError says where they are broken."""
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        byte = f"byte 0x{raw[error.start]:02x} at column {error.start + 1}"
        raise ValueError(f"not UTF-8: {byte}") from None


def type_name(value: object) -> str:
    """The type of a JSON value, for people."""
    names = {dict: "an object", list: "a list", str: "a string", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")


def check_text(text: str, what: str) -> None:
    """Raise ValueError where `text` cannot be tokenised: NUL characters, or half a surrogate pair."""
    if "\0" in text:
        raise ValueError(f"NUL character: in {what}; is the file binary?")
    if not text.isascii():
        try:
            text.encode("utf-8")
        except UnicodeEncodeError:
            raise ValueError(f"half a character: a broken \\u escape in {what}") from None
