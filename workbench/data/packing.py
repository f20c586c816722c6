"""How documents become rows of a fixed length: cut from a stream, or packed whole."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from workbench.data.order import mix
from workbench.data.preferences import pair_row_length
from workbench.data.row_plan import RowPlan, plan_rows
from workbench.data.stores import TokenStore

IGNORED = -100  # a label without loss; PyTorch's own convention


@dataclass(frozen=True)
class Batch:
    """Rows to train on.

    Args:
        input_ids: (batch, sequence_length) int64.
        labels: (batch, sequence_length) int64; the token after each input, `IGNORED` where it carries no loss.
        document_starts: (batch, sequence_length) int32; where in the row the token's own document starts.
            None where every row is one document.
        reference: (batch, sequence_length) float32; what a reference model gave each label, as a log-probability; None
            where none was asked.
        rows_per_unit: rows that belong together: 2 where each chosen answer is followed by the rejected one.
        rows: (batch,) int64; the number of each row in its data set; None for pairs.
    """

    input_ids: NDArray[np.int64]
    labels: NDArray[np.int64]
    document_starts: NDArray[np.int32] | None
    reference: NDArray[np.float32] | None = None
    rows_per_unit: int = 1
    rows: NDArray[np.int64] | None = None

    def part(self, first: int, behind: int) -> "Batch":
        """The units from `first` to before `behind`."""
        rows = slice(first * self.rows_per_unit, behind * self.rows_per_unit)
        starts, reference = self.document_starts, self.reference
        return Batch(
            self.input_ids[rows],
            self.labels[rows],
            None if starts is None else starts[rows],
            None if reference is None else reference[rows],
            self.rows_per_unit,
            None if self.rows is None else self.rows[rows],
        )

    @property
    def units(self) -> int:
        """Rows, or pairs of rows."""
        return len(self.input_ids) // self.rows_per_unit


class Packing(Protocol):
    """A fixed number of rows, each of which can be made alone."""

    rows: int

    def shift(self, seed: int, epoch: int) -> int:
        """How far the cuts of an epoch lie behind those of an unshuffled one."""
        ...

    def assemble(self, rows: NDArray[np.int64], shifts: NDArray[np.int64]) -> Batch:
        """The rows of those numbers, each under the shift beside it."""
        ...


class StreamPacking:
    """The documents as one endless stream, cut every `sequence_length` tokens.

    Row r holds the tokens from `shift + r * sequence_length` on; behind the last token the stream begins again, so
    that a shifted epoch has as many rows as any other and each token is a target once. Two kinds of label carry
    no loss: the first token of a document, which nothing before it tells, and what the last row repeats.
    """

    def __init__(self, store: TokenStore, sequence_length: int, isolate_documents: bool) -> None:
        self._store, self._length = store, sequence_length
        self._isolate = isolate_documents and store.documents > 1
        self.rows = -(-store.tokens // sequence_length)

    def shift(self, seed: int, epoch: int) -> int:
        """Cuts fall elsewhere in each epoch, so that no token is always the first of its row."""
        return mix(seed, epoch, 1) % self._length

    def assemble(self, rows: NDArray[np.int64], shifts: NDArray[np.int64]) -> Batch:
        """The rows of those numbers, each under the shift beside it."""
        length, total = self._length, self._store.tokens
        tokens = np.empty((len(rows), length + 1), np.int64)
        begins = np.zeros((len(rows), length + 1), np.bool_)  # the token is the first of its document
        for index, start in enumerate(((shifts + rows * length) % total).tolist()):
            self._fill(tokens[index], begins[index], start)
        labels = tokens[:, 1:].copy()
        labels[begins[:, 1:]] = IGNORED
        labels[rows[:, None] * length + np.arange(length) >= total] = IGNORED
        starts = _running_starts(begins[:, :length]) if self._isolate else None
        return Batch(tokens[:, :length], labels, starts, rows=rows)

    def _fill(self, tokens: NDArray[np.int64], begins: NDArray[np.bool_], position: int) -> None:
        filled, wanted = 0, len(tokens)
        offsets = self._store.offsets
        while filled < wanted:
            count = min(self._store.tokens - position, wanted - filled)
            tokens[filled : filled + count] = self._store.read_ids(position, position + count)
            first, last = offsets.searchsorted((position, position + count))
            begins[filled + offsets[first:last] - position] = True
            filled, position = filled + count, 0


class WholePacking:
    """Whole documents side by side in a row, the rest of it padded; the plan of who sits where is made once."""

    def __init__(self, store: TokenStore, sequence_length: int, isolate_documents: bool) -> None:
        self._store, self._length = store, sequence_length
        self._plan: RowPlan = plan_rows(store, sequence_length)
        self.rows = self._plan.rows
        self._isolate = isolate_documents and self._plan.documents > self.rows

    def shift(self, seed: int, epoch: int) -> int:
        """Rows are the same in every epoch; only their order changes."""
        return 0

    def assemble(self, rows: NDArray[np.int64], shifts: NDArray[np.int64]) -> Batch:
        """The rows of those numbers; `shifts` are zeros here."""
        shape = (len(rows), self._length)
        input_ids = np.full(shape, self._store.pad_token_id, np.int64)
        labels = np.full(shape, IGNORED, np.int64)
        begins = np.zeros(shape, np.bool_)
        for index, row in enumerate(rows.tolist()):
            cell = 0
            for document in self._plan.documents_of(row):
                cell = self._place(document, cell, input_ids[index], labels[index], begins[index])
            begins[index, cell:] = True  # padding sees itself alone, and nothing sees it
        starts = _running_starts(begins) if self._isolate else None
        return Batch(input_ids, labels, starts, rows=rows)

    def _place(
        self, document: int, cell: int, inputs: NDArray[np.int64], labels: NDArray[np.int64], begins: NDArray[np.bool_]
    ) -> int:
        """Write one document from `cell` on; returns the first cell behind it."""
        first, behind = self._store.offsets[document : document + 2].tolist()
        behind = min(behind, first + self._length + 1)
        tokens, trained = self._store.read_ids(first, behind), self._store.read_trained(first, behind)
        end = cell + len(tokens) - 1  # the last token is only a target
        inputs[cell:end] = tokens[:-1]
        labels[cell:end] = tokens[1:]
        begins[cell] = True
        if trained is not None:
            labels[cell:end][trained[1:] == 0] = IGNORED
        return end


class PairPacking:
    """Two rows for each preference pair: the chosen answer and, next to it, the rejected one.

    Documents 2p and 2p + 1 of the store are pair p. Rows are as long as the longest of the batch needs.
    """

    def __init__(self, store: TokenStore, sequence_length: int) -> None:
        self._store, self._length = store, sequence_length
        self.rows = store.documents // 2

    def shift(self, seed: int, epoch: int) -> int:
        """Pairs are the same in every epoch; only their order changes."""
        return 0

    def assemble(self, rows: NDArray[np.int64], shifts: NDArray[np.int64]) -> Batch:
        """The pairs of those numbers; `shifts` are zeros here."""
        documents = (2 * rows[:, None] + np.arange(2)).reshape(-1)
        offsets = self._store.offsets
        begins, ends = offsets[documents], offsets[documents + 1]
        length = pair_row_length(int((ends - begins).max(initial=2)), self._length)
        shape = (len(documents), length)
        input_ids = np.full(shape, self._store.pad_token_id, np.int64)
        labels = np.full(shape, IGNORED, np.int64)
        reference = None if self._store.reference is None else np.zeros(shape, np.float32)
        for row, (begin, end) in enumerate(zip(begins.tolist(), ends.tolist(), strict=True)):
            end = min(end, begin + length + 1)
            tokens, trained = self._store.read_ids(begin, end).astype(np.int64), self._store.read_trained(begin, end)
            assert trained is not None, "pairs have a mask"
            width = len(tokens) - 1
            input_ids[row, :width] = tokens[:-1]
            labels[row, :width] = np.where(trained[1:] == 0, IGNORED, tokens[1:])
            if reference is not None and self._store.reference is not None:
                reference[row, :width] = self._store.reference[begin + 1 : end]
        return Batch(input_ids, labels, None, reference, rows_per_unit=2)


def _running_starts(begins: NDArray[np.bool_]) -> NDArray[np.int32]:
    """For each cell the last place at or before it where a document begins, 0 if that lies before the row."""
    places = np.arange(begins.shape[1], dtype=np.int32)
    return np.maximum.accumulate(np.where(begins, places, np.int32(0)), axis=1)
