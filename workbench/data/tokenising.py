"""Documents into token stores, in batches, so that a killed process loses little and repeats nothing.

After some batches the stores are brought to the disk and a small progress file says how much of them stands and where
in the files to go on. What lies behind that is cut off at the next start: the result has the same bytes, however
often it was interrupted.
"""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

from workbench.data.conversations import Conversation
from workbench.data.documents import Document, EndOfText, Item, Kind, Side, Source, Split, read_documents
from workbench.data.file_hashes import replace_text
from workbench.data.preferences import Preference, encode_preference
from workbench.data.rows import START, BadRow, Mark
from workbench.data.stores import StoreWriter
from workbench.errors import TokenizerError
from workbench.tokenizer.chat_template import ChatTokenizer, encode_conversation

BATCH_CHARACTERS = 1 << 20
BATCH_DOCUMENTS = 1024
COMMIT_SECONDS = 2.0
BAD_ROWS_KEPT = 100  # told of again when the data comes from the cache; all are counted
REASONS_KEPT = 50
PROGRESS_FILE = "progress.json"
SIDES: tuple[Side, ...] = ("train", "validation")


class DataTokenizer(ChatTokenizer, Protocol):
    """What tokenising data needs of a tokenizer."""

    vocab_size: int
    eos_token_id: int
    pad_token_id: int

    @property
    def fingerprint(self) -> str: ...

    def encode_batch(self, texts: list[str]) -> list[list[int]]: ...


@dataclass
class Tally:
    """What was met so far, written into the progress file and the index."""

    rows_read: int = 0
    rows_rejected: int = 0
    truncated: int = 0
    tokens_cut: int = 0
    targets_cut: int = 0
    """Of the tokens that were cut off, those that would have been targets."""
    first_cut: tuple[str, int] | None = None
    """File and line of the first row that was cut."""
    tokens_trained: int = 0
    """Targets of the training side."""
    reasons: dict[str, int] = field(default_factory=dict)
    bad_rows: list[tuple[str, int, str]] = field(default_factory=list)

    def cut(self, file: str, line: int, rows: Sequence[tuple[list[int], list[bool]]], limit: int) -> None:
        """Count a row whose tokens, with the flag that says which are targets, are cut off at `limit`."""
        if all(len(ids) <= limit for ids, _ in rows):
            return
        self.truncated += 1
        self.tokens_cut += sum(max(0, len(ids) - limit) for ids, _ in rows)
        self.targets_cut += sum(sum(trained[limit:]) for _, trained in rows)
        self.first_cut = self.first_cut or (file, line)

    def reject(self, row: BadRow) -> None:
        """Count a row that cannot be used."""
        self.rows_read += 1
        self.rows_rejected += 1
        reason = row.reason.partition(":")[0]
        if reason not in self.reasons and len(self.reasons) >= REASONS_KEPT:
            reason = "other reasons"
        self.reasons[reason] = self.reasons.get(reason, 0) + 1
        if len(self.bad_rows) < BAD_ROWS_KEPT:
            self.bad_rows.append((row.file, row.line, row.reason))


class Tokenising:
    """The tokenising of some files into a folder; `run` goes on where an earlier one ended.

    Args:
        sequence_length: conversations are cut so that they fit a row of it.
        end_of_text: whether documents end with that token; a single text has no other to be told from.
    """

    def __init__(
        self,
        folder: Path,
        sources: list[Source],
        kind: Kind,
        split: Split,
        tokenizer: DataTokenizer,
        sequence_length: int,
        *,
        end_of_text: bool,
        on_bad_row: Callable[[BadRow], None],
    ) -> None:
        self._folder, self._sources, self._kind, self._split = folder, sources, kind, split
        self._tokenizer, self._sequence_length, self._end_of_text = tokenizer, sequence_length, end_of_text
        self._on_bad_row = on_bad_row
        self._batch: list[Document] = []
        self._batch_characters = 0
        progress = self._read_progress()
        self._source: int = progress["source"]
        self._mark = Mark(*progress["mark"])  # where to go on in that source
        self.tally = Tally(**progress["tally"])
        self.writers = self._open_writers(progress["stores"])
        for file, line, reason in self.tally.bad_rows:
            on_bad_row(BadRow(file, line, reason))

    def run(self, on_progress: Callable[[int, int | None], None], should_stop: Callable[[], bool]) -> bool:
        """Tokenise what is left; False when stopped between two batches."""
        try:
            return self._run(on_progress, should_stop)
        finally:
            for writer in self.writers.values():
                writer.close()

    def _run(self, on_progress: Callable[[int, int | None], None], should_stop: Callable[[], bool]) -> bool:
        sizes = [source.size_bytes for source in self._sources]
        committed = time.monotonic()
        for number in range(self._source, len(self._sources)):
            begin = self._mark if number == self._source else START
            self._source = number
            for item in read_documents(self._sources[number], self._kind, self._split, begin):
                if not self._take(item):
                    if isinstance(item, BadRow) and should_stop():
                        return False  # without a commit: what was read since the last is read again
                    continue
                if time.monotonic() - committed >= COMMIT_SECONDS:
                    self._commit()
                    committed = time.monotonic()
                on_progress(sum(sizes[:number]) + self._mark.byte, sum(sizes))
                if should_stop():
                    self._commit()
                    return False
            self._encode_batch()
            self._source, self._mark = number + 1, START
        self._commit()
        on_progress(sum(sizes), sum(sizes))
        return True

    def _take(self, item: Item) -> bool:
        """Keep an item; True when with it a batch was written, and all that was taken is in the stores."""
        if isinstance(item, BadRow):
            self._reject(item)
        elif isinstance(item, EndOfText):
            self._encode_batch()
            self._end_text(item)
        else:
            self._batch.append(item)
            self._batch_characters += len(item.content) if isinstance(item.content, str) else BATCH_CHARACTERS // 256
            if self._batch_characters >= BATCH_CHARACTERS or len(self._batch) >= BATCH_DOCUMENTS:
                self._mark = item.end
                self._encode_batch()
                return True
        return False

    def _encode_batch(self) -> None:
        documents, self._batch, self._batch_characters = self._batch, [], 0
        if self._kind == "pretrain":
            self._write_texts(documents)
        else:
            for document in documents:
                if isinstance(document.content, Preference):
                    self._write_preference(document, document.content)
                else:
                    assert isinstance(document.content, Conversation)
                    self._write_conversation(document, document.content)

    def _write_texts(self, documents: list[Document]) -> None:
        texts = [document.content for document in documents if isinstance(document.content, str)]
        for document, ids in zip(documents, self._tokenizer.encode_batch(texts), strict=True):
            writer = self.writers[document.side]
            if document.whole:
                self.tally.rows_read += 1
                self.tally.tokens_trained += len(ids) if document.side == "train" else 0
                writer.append([*ids, self._tokenizer.eos_token_id])
                writer.end_document()
            else:
                writer.append(ids)

    def _end_text(self, end: EndOfText) -> None:
        """Close the document that the pieces of a text made, on both sides where it was cut in two."""
        written = [side for side in SIDES if self.writers[side].open_tokens]
        if not written:
            self._reject(BadRow(str(self._sources[self._source].path), end.line, "empty text", end.end))
            return
        self.tally.rows_read += 1
        for side in written:
            if self._end_of_text:
                self.writers[side].append([self._tokenizer.eos_token_id])
            if side == "train":
                self.tally.tokens_trained += self.writers[side].open_tokens - 1
            self.writers[side].end_document()

    def _write_conversation(self, document: Document, conversation: Conversation) -> None:
        file = str(self._sources[self._source].path)
        try:
            ids, trained = encode_conversation(self._tokenizer, conversation.messages, conversation.tools)
        except TokenizerError as error:
            self._reject(BadRow(file, document.line, f"chat template: {error.problem}"))
            return
        limit = self._sequence_length + 1  # the last token is a target only
        targets = sum(trained[1:limit])
        if not targets:
            problem = f"every answer lies behind token {limit}" if any(trained) else "there is no answer"
            self._reject(BadRow(file, document.line, f"no target: {problem}"))
            return
        self.tally.rows_read += 1
        self.tally.cut(file, document.line, [(ids, trained)], limit)
        self.tally.tokens_trained += targets if document.side == "train" else 0
        self.writers[document.side].append(ids[:limit], trained[:limit])
        self.writers[document.side].end_document()

    def _write_preference(self, document: Document, pair: Preference) -> None:
        """Two documents: the chosen way to go on, then the rejected one."""
        file = str(self._sources[self._source].path)
        try:
            encoded = encode_preference(self._tokenizer, pair)
        except TokenizerError as error:
            self._reject(BadRow(file, document.line, f"chat template: {error.problem}"))
            return
        limit = self._sequence_length + 1
        cut = [(ids[:limit], trained[:limit]) for ids, trained in encoded]
        sides = zip(("chosen", "rejected"), cut, strict=True)
        without = next((side for side, (_, trained) in sides if not any(trained[1:])), None)
        if without is not None:
            problem = f"no target: the {without} answer lies behind token {limit}"
            self._reject(BadRow(file, document.line, problem))
            return
        if cut[0] == cut[1]:
            problem = f"no difference: chosen and rejected are the same up to token {limit}"
            self._reject(BadRow(file, document.line, problem))
            return
        self.tally.rows_read += 1
        self.tally.cut(file, document.line, encoded, limit)
        self.tally.tokens_trained += sum(sum(trained[1:]) for _, trained in cut) if document.side == "train" else 0
        for ids, trained in cut:
            self.writers[document.side].append(ids, trained)
            self.writers[document.side].end_document()

    def _reject(self, row: BadRow) -> None:
        self.tally.reject(row)
        self._on_bad_row(row)

    def _commit(self) -> None:
        for writer in self.writers.values():
            writer.sync()
        progress = {
            "source": self._source,
            "mark": self._mark,
            "stores": {side: [writer.documents, writer.tokens] for side, writer in self.writers.items()},
            "tally": asdict(self.tally),
        }
        replace_text(self._folder / PROGRESS_FILE, json.dumps(progress))

    def _read_progress(self) -> dict[str, Any]:
        try:
            progress: dict[str, Any] = json.loads((self._folder / PROGRESS_FILE).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {"source": 0, "mark": START, "stores": {}, "tally": {}}
        return progress

    def _open_writers(self, stores: dict[str, list[int]]) -> dict[Side, StoreWriter]:
        """The stores, cut to the documents and tokens that are known to stand."""
        dtype, masked = token_dtype(self._tokenizer), self._kind != "pretrain"
        writers: dict[Side, StoreWriter] = {}
        for side in SIDES:
            documents, tokens = stores.get(side, (0, 0))
            writers[side] = StoreWriter(
                self._folder, side, dtype=dtype, masked=masked, documents=documents, tokens=tokens
            )
        return writers


def token_dtype(tokenizer: DataTokenizer) -> str:
    """The smallest integers that hold every token."""
    return "uint16" if tokenizer.vocab_size <= 1 << 16 else "uint32"
