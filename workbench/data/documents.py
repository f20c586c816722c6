"""Files as documents to tokenise, each on its side: training or validation.

Which side a document is on follows from a hash of its content, so that copies of one text never stand on both.
A single plain text is cut instead: its tail is the validation data.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal, NamedTuple

from workbench.data.conversations import Conversation, to_conversation, to_text
from workbench.data.preferences import Preference, to_preference
from workbench.data.rows import START, BadRow, Format, Mark, Row
from workbench.data.sources import read_rows
from workbench.data.text_pieces import char_border, text_pieces

Side = Literal["train", "validation"]
Kind = Literal["pretrain", "sft", "dpo"]
Content = str | Conversation | Preference
HEAD_DOCUMENTS = 10_000  # a smaller corpus is split exactly; in a larger one chance comes close enough
HASH_RANGE = 1 << 64


@dataclass(frozen=True)
class Source:
    """One file to read."""

    path: Path
    format: Format
    size_bytes: int
    sha256: str
    side: Side | None
    """Where all of it goes; None where the split decides."""


class Document(NamedTuple):
    """Something to tokenise: a whole document, or a piece of a plain text that goes on.

    Args:
        end: where in its file reading can go on behind it.
    """

    side: Side
    content: Content
    line: int
    end: Mark
    whole: bool


class EndOfText(NamedTuple):
    """A plain text is over: what its pieces gave is a document."""

    line: int
    end: Mark


Item = Document | EndOfText | BadRow


@dataclass(frozen=True)
class Split:
    """Decides the side of each document.

    Args:
        below: documents whose hash lies below this are validation data.
        kept_out: hashes of the validation files' documents, which must not be trained on.
        border: the byte at which a single plain text is cut in two; 0 where there is none.
    """

    seed: int
    below: int = 0
    kept_out: frozenset[int] = frozenset()
    border: int = 0

    def side(self, number: int) -> Side | None:
        """The side of the document with that hash; None where it must be left out."""
        if number in self.kept_out:
            return None
        return "validation" if number < self.below else "train"


def read_documents(source: Source, kind: Kind, split: Split, begin: Mark = START) -> Iterator[Item]:
    """The documents of a file from `begin` on, in order, and what had to be rejected."""
    if source.format == "text":
        yield from _read_text(source, split, begin)
        return
    for row in read_rows(source.path, source.format, begin):
        yield row if isinstance(row, BadRow) else _document(source, kind, split, row)


def choose_split(sources: list[Source], kind: Kind, fraction: float, seed: int) -> Split:
    """The split that sets about `fraction` of the documents apart: at least one, if there are two that differ."""
    free = [source for source in sources if source.side is None]
    given = [source for source in sources if source.side is not None]
    if given:
        return Split(seed, kept_out=frozenset(_hashes(given, kind, seed)))
    if fraction == 0:
        return Split(seed)
    if len(free) == 1 and free[0].format == "text":
        source = free[0]
        return Split(seed, border=char_border(source.path, int(source.size_bytes * (1 - fraction))))
    head = list(islice(_hashes(free, kind, seed), HEAD_DOCUMENTS))
    ranked = sorted(set(head))
    if len(ranked) < 2:
        return Split(seed)
    if len(head) == HEAD_DOCUMENTS:
        return Split(seed, below=max(int(fraction * HASH_RANGE), ranked[1]))
    return Split(seed, below=ranked[min(max(round(fraction * len(ranked)), 1), len(ranked) - 1)])


def _hashes(sources: Iterable[Source], kind: Kind, seed: int) -> Iterator[int]:
    for source in sources:
        if source.format == "text":
            yield _text_file_hash(source, seed)
            continue
        for row in read_rows(source.path, source.format):
            if isinstance(row, BadRow):
                continue
            try:
                yield _content_hash(_content(row.value, kind), seed)
            except ValueError:
                continue  # told of when the documents are tokenised


def _document(source: Source, kind: Kind, split: Split, row: Row) -> Item:
    try:
        content = _content(row.value, kind)
    except ValueError as error:
        return BadRow(row.file, row.line, str(error), row.end)
    side = source.side or split.side(_content_hash(content, split.seed))
    if side is None:
        return BadRow(row.file, row.line, "also in the validation data", row.end)
    return Document(side, content, row.line, row.end, whole=True)


def _content(value: object, kind: Kind) -> Content:
    if kind == "dpo":
        return to_preference(value)
    return to_text(value) if kind == "pretrain" else to_conversation(value)


def _read_text(source: Source, split: Split, begin: Mark) -> Iterator[Item]:
    side = source.side or split.side(_text_file_hash(source, split.seed))
    end = Mark(source.size_bytes, begin.line)
    if side is None:
        yield BadRow(str(source.path), 1, "also in the validation data", end)
        return
    for row in text_pieces(source.path, begin, border=split.border):
        if isinstance(row, BadRow):
            yield row
            continue
        end = row.end
        if split.border:
            side = "train" if end.byte <= split.border else "validation"
        yield Document(side, row.value if isinstance(row.value, str) else "", row.line, end, whole=False)
    yield EndOfText(1, end)


def _content_hash(content: Content, seed: int) -> int:
    if isinstance(content, Preference):  # by its prompt: two pairs about one question never stand on both sides
        content = json.dumps(content.prompt, sort_keys=True, ensure_ascii=False)
    elif isinstance(content, Conversation):
        content = json.dumps([content.messages, content.tools], sort_keys=True, ensure_ascii=False)
    return _number(content.encode("utf-8"), seed)


def _text_file_hash(source: Source, seed: int) -> int:
    return _number(source.sha256.encode("ascii"), seed)


def _number(content: bytes, seed: int) -> int:
    key = seed.to_bytes(16, "little", signed=True)
    return int.from_bytes(hashlib.blake2b(content, digest_size=8, key=key).digest(), "little")
