"""The elements of a JSON array of any size, one after the other, without loading the file."""

import re
from collections.abc import Iterator
from typing import BinaryIO

from workbench.data.rows import LONGEST_ROW_BYTES, START, Mark, RawRow

CHUNK_BYTES = 1 << 18
BOM = b"\xef\xbb\xbf"
SEPARATORS = b" \t\r\n,"
# A whole string, the opening quote of one that the buffer cuts off, a bracket, or a comma.
TOKEN = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|["\[\]{},]', re.DOTALL)
OPENING, CLOSING, QUOTE, COMMA = frozenset(b"[{"), frozenset(b"]}"), ord('"'), ord(",")


def array_elements(file: BinaryIO, begin: Mark = START) -> Iterator[RawRow]:
    """The elements from `begin` on; an element that is broken, but closes its brackets and strings, harms no other.

    A file of objects without an array around them is read too, over several lines each or not. What stands behind
    the array's end, or is cut off by the file's end, comes as one last (unparsable) element.
    """
    file.seek(0)
    head = file.read(CHUNK_BYTES)
    if begin == START and head.startswith(BOM):
        begin = Mark(len(BOM), 1)
    in_array = head.removeprefix(BOM).lstrip().startswith(b"[")
    scanner = _Scanner(begin, depth=0 if in_array and begin.byte <= len(BOM) else 1)
    file.seek(begin.byte)
    while not scanner.finished and (chunk := file.read(CHUNK_BYTES)):
        yield from scanner.feed(chunk)
    rest = scanner.rest + file.read(CHUNK_BYTES)
    if rest.strip(SEPARATORS) or (in_array and not scanner.finished):
        yield scanner.element(rest or b"[")


class _Scanner:
    """Follows strings, brackets and commas through the chunks of a file."""

    def __init__(self, begin: Mark, depth: int) -> None:
        self.rest = b""  # what was read and not yet given out
        self.finished = False
        self._mark = begin  # where `rest` begins
        self._seen = 0  # bytes of `rest` that were looked at
        self._depth = depth
        self._long_line = 0  # where the element begins whose first part was dropped from `rest`; 0 for none

    def feed(self, chunk: bytes) -> Iterator[RawRow]:
        """The elements that are complete with `chunk`."""
        self.rest += chunk
        given, in_string = 0, False
        for token in TOKEN.finditer(self.rest, self._seen):
            sign, begin, end = self.rest[token.start()], token.start(), token.end()
            if in_string := sign == QUOTE and end - begin == 1:
                break  # look again when the rest of the string is here
            self._seen = end
            if self._depth == 1 and (sign in OPENING or sign == QUOTE) and self.rest[given:begin].strip(SEPARATORS):
                yield self.element(self.rest[given:begin])  # a comma is missing
                given = begin
            self._depth += (sign in OPENING) - (sign in CLOSING)
            if self._depth == 1 and sign in OPENING:  # the array's own bracket
                self._advance(self.rest[given:end])
                given = end
            elif self._depth == 1 and (sign != COMMA or self._pending(self.rest[given:end])):
                yield self.element(self.rest[given:end])
                given = end
            elif self._depth <= 0:
                yield from self._end(self.rest[given : end - 1])
                given = end
                break
        else:
            self._seen = len(self.rest)
        self.rest, self._seen = self.rest[given:], self._seen - given
        if len(self.rest) > LONGEST_ROW_BYTES and not self.finished:
            self._drop(in_string)

    def element(self, raw: bytes) -> RawRow:
        """`raw` as a row, without the separators around it."""
        leading = raw[: len(raw) - len(raw.lstrip(SEPARATORS))]
        line = self._long_line or self._mark.line + leading.count(b"\n")
        too_long = self._long_line > 0 or len(raw) > LONGEST_ROW_BYTES
        self._long_line = 0
        self._advance(raw)
        return RawRow(line, raw.strip(SEPARATORS), self._mark, too_long)

    def _pending(self, raw: bytes) -> bool:
        """Whether there is an element before a comma."""
        return self._long_line > 0 or bool(raw.strip(SEPARATORS))

    def _drop(self, in_string: bool) -> None:
        """Forget what was read of an element that is too long, but for how it goes on."""
        escapes = len(self.rest) - len(self.rest.rstrip(b"\\"))
        kept = (b'"\\' if escapes % 2 else b'"') if in_string else b""
        leading = self.rest[: len(self.rest) - len(self.rest.lstrip(SEPARATORS))]
        self._long_line = self._long_line or self._mark.line + leading.count(b"\n")
        self._advance(self.rest[: len(self.rest) - len(kept)])
        self.rest, self._seen = kept, 0

    def _end(self, last: bytes) -> Iterator[RawRow]:
        self.finished = True
        if self._pending(last):
            yield self.element(last)
        self._advance(b"]")

    def _advance(self, raw: bytes) -> None:
        self._mark = Mark(self._mark.byte + len(raw), self._mark.line + raw.count(b"\n"))
