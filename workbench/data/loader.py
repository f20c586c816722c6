"""Batches in a seeded order whose position is two integers."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from workbench.data.order import Permutation
from workbench.data.packing import IGNORED, Batch, Packing, PairPacking, StreamPacking, WholePacking
from workbench.data.stores import TokenStore

__all__ = ["IGNORED", "Batch", "Loader", "Position"]

RELEASE_EVERY = 16  # batches; mapping the offsets again takes a tenth of a batch


@dataclass(frozen=True)
class Position:
    """Where training stands in its data: `index` rows of `epoch` have been used.

    Args:
        used: of a mixture, the rows used of each data set so far; empty for one data set.
    """

    epoch: int = 0
    index: int = 0
    used: tuple[int, ...] = ()


class Loader:
    """Batches of a store, each row once an epoch, each epoch in an order and with cuts of its own.

    Nothing here moves: a batch follows from its position alone, so that a resumed run sees what it would have seen.

    Args:
        packing: "stream" cuts all documents as one text, "whole" keeps each in one row, "pairs" gives two rows to
            each pair of documents.
        shuffle: False takes the rows as they lie in the store, with the same cuts in every epoch.
        isolate_documents: keep documents that share a row from seeing each other.
        same_cuts: every epoch has the same rows, in another order.
    """

    first = Position(0, 0)

    def __init__(
        self,
        store: TokenStore,
        *,
        sequence_length: int,
        batch_size: int,
        seed: int,
        shuffle: bool = True,
        packing: Literal["stream", "whole", "pairs"],
        isolate_documents: bool = True,
        same_cuts: bool = False,
    ) -> None:
        self._packing: Packing
        if packing == "pairs":
            self._packing = PairPacking(store, sequence_length)
        else:
            kind = StreamPacking if packing == "stream" else WholePacking
            self._packing = kind(store, sequence_length, isolate_documents)
        self._store, self._batch_size, self._seed, self._shuffle = store, batch_size, seed, shuffle
        self._made, self._same_cuts = 0, same_cuts or not shuffle

    @property
    def rows(self) -> int:
        """Rows of an epoch."""
        return self._packing.rows

    @property
    def pad_token_id(self) -> int:
        """What fills a row that its documents do not fill."""
        return self._store.pad_token_id

    @property
    def steps_per_epoch(self) -> int:
        """Batches until every row of an epoch was used; the last of them may reach into the next."""
        return -(-self.rows // self._batch_size)

    def next_position(self, position: Position) -> Position:
        """Where training stands after the batch at `position`."""
        epochs, index = divmod(position.index + self._batch_size, self.rows)
        return Position(position.epoch + epochs, index)

    def batch(self, position: Position) -> Batch:
        """The batch at `position`; one that reaches the end of an epoch goes on with the next."""
        return self.take(position, self._batch_size)

    def take(self, position: Position, count: int) -> Batch:
        """`count` rows from `position` on, likewise."""
        rows, shifts = [], []
        wanted, epoch, index = count, position.epoch, position.index
        while wanted:
            count = min(wanted, self.rows - index)
            places = np.arange(index, index + count, dtype=np.int64)
            rows.append(Permutation(self.rows, self._seed, epoch)[places] if self._shuffle else places)
            shift = 0 if self._same_cuts else self._packing.shift(self._seed, epoch)
            shifts.append(np.full(count, shift, np.int64))
            wanted, epoch, index = wanted - count, epoch + 1, 0
        return self._assemble(np.concatenate(rows), np.concatenate(shifts))

    def numbered(self, rows: NDArray[np.int64]) -> Batch:
        """The rows of these numbers, as they are where every epoch has the same."""
        return self._assemble(rows, np.zeros(len(rows), np.int64))

    def validation_batches(self, batch_size: int, limit: int) -> Iterator[Batch]:
        """Unshuffled batches, each target once; with more rows than `limit` batches hold, rows spread evenly.

        The last batch may be shorter.
        """
        count = min(self.rows, batch_size * limit)
        chosen = np.arange(count, dtype=np.int64) * self.rows // max(count, 1)
        for first in range(0, count, batch_size):
            rows = chosen[first : first + batch_size]
            yield self.numbered(rows)

    def _assemble(self, rows: NDArray[np.int64], shifts: NDArray[np.int64]) -> Batch:
        self._made += 1
        if self._made % RELEASE_EVERY == 0:
            self._store.release()
        return self._packing.assemble(rows, shifts)
