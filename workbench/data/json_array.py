"""The elements of a JSON array of any size, one after the other, without loading the file."""

import re
from collections.abc import Iterator
from typing import BinaryIO

from workbench.data.rows import LONGEST_ROW_BYTES, START, Mark, RawRow

CHUNK_BYTES = 1 << 18
BOM = b"\xef\xbb\xbf"
SEPARATORS = b" \t\r\n,"
# A whole string, the opening quote of one that the buffer cuts off, or a bracket.
TOKEN = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|["\[\]{}]', re.DOTALL)
OPENING, CLOSING, QUOTE = frozenset(b"[{"), frozenset(b"]}"), ord('"')


def array_elements(file: BinaryIO, begin: Mark = START) -> Iterator[RawRow]:
    """The elements from `begin` on; only brackets and strings are looked at, so a broken element harms no other.

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
    """Follows strings and brackets through the chunks of a file."""

    def __init__(self, begin: Mark, depth: int) -> None:
        self.rest = b""  # what was read and not yet given out
        self.finished = False
        self._mark = begin  # where `rest` begins
        self._seen = 0  # bytes of `rest` that were looked at
        self._depth = depth

    def feed(self, chunk: bytes) -> Iterator[RawRow]:
        """The elements that are complete with `chunk`."""
        self.rest += chunk
        given = 0
        for token in TOKEN.finditer(self.rest, self._seen):
            kind, size = self.rest[token.start()], token.end() - token.start()
            if kind == QUOTE and size == 1:
                break  # look again when the rest of the string is here
            self._seen = token.end()
            self._depth += (kind in OPENING) - (kind in CLOSING)
            if self._depth == 1 and kind not in OPENING:
                yield self.element(self.rest[given : self._seen])
                given = self._seen
            elif self._depth == 1 and kind in OPENING:  # the array's own bracket
                self._advance(self.rest[given : self._seen])
                given = self._seen
            elif self._depth <= 0:
                yield from self._end(self.rest[given : self._seen - 1])
                given = self._seen
                break
        else:
            self._seen = len(self.rest)
        self.rest, self._seen = self.rest[given:], self._seen - given
        self.finished = self.finished or len(self.rest) > LONGEST_ROW_BYTES

    def element(self, raw: bytes) -> RawRow:
        """`raw` as a row, without the separators around it."""
        leading = raw[: len(raw) - len(raw.lstrip(SEPARATORS))]
        line = self._mark.line + leading.count(b"\n")
        self._advance(raw)
        return RawRow(line, raw.strip(SEPARATORS), self._mark)

    def _end(self, last: bytes) -> Iterator[RawRow]:
        self.finished = True
        if last.strip(SEPARATORS):
            yield self.element(last)
        self._advance(b"]")

    def _advance(self, raw: bytes) -> None:
        self._mark = Mark(self._mark.byte + len(raw), self._mark.line + raw.count(b"\n"))
