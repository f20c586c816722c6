"""Several data sets in one stage, each with its share of the rows."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workbench.data.loader import IGNORED, Batch, Loader, Position
from workbench.data.shards import PreparedData


@dataclass(frozen=True)
class MixedData:
    """Data sets that one stage trains on; the counts are those of all of them.

    Args:
        names: of the data sets, as reports call them.
        shares: of the rows of a batch, in the long run; they make one together.
    """

    parts: tuple[PreparedData, ...]
    names: tuple[str, ...]
    shares: tuple[float, ...]

    @property
    def documents(self) -> int:
        """Training documents."""
        return sum(part.documents for part in self.parts)

    @property
    def validation_documents(self) -> int:
        """Documents set apart to measure on."""
        return sum(part.validation_documents for part in self.parts)

    @property
    def tokens(self) -> int:
        """Training tokens."""
        return sum(part.tokens for part in self.parts)

    @property
    def tokens_trained(self) -> int:
        """Training tokens that are targets."""
        return sum(part.tokens_trained for part in self.parts)

    @property
    def rows_read(self) -> int:
        """Rows of the files."""
        return sum(part.rows_read for part in self.parts)

    @property
    def rows_rejected(self) -> int:
        """Rows that could not be used."""
        return sum(part.rows_rejected for part in self.parts)

    @property
    def truncated(self) -> int:
        """Documents cut at the end to fit a row."""
        return sum(part.truncated for part in self.parts)

    @property
    def tokens_cut(self) -> int:
        """Tokens that were lost by that."""
        return sum(part.tokens_cut for part in self.parts)

    @property
    def targets_cut(self) -> int:
        """How many of those were targets."""
        return sum(part.targets_cut for part in self.parts)

    @property
    def first_cut(self) -> tuple[str, int] | None:
        """File and line of the first document that was cut."""
        return next((part.first_cut for part in self.parts if part.first_cut is not None), None)

    @property
    def reasons(self) -> dict[str, int]:
        """How many rows were rejected for what."""
        told: dict[str, int] = {}
        for part in self.parts:
            for reason, count in part.reasons.items():
                told[reason] = told.get(reason, 0) + count
        return told

    @property
    def from_cache(self) -> bool:
        """Whether nothing had to be tokenised."""
        return all(part.from_cache for part in self.parts)

    @property
    def fingerprint(self) -> str:
        """Of all that the rows follow from."""
        told = (f"{part.fingerprint}*{share!r}" for part, share in zip(self.parts, self.shares, strict=True))
        return "+".join(told)


class MixedLoader:
    """Batches whose rows come from several loaders by share.

    Each next row is taken from the data set that is furthest behind its share, so that the mixture holds in every
    batch and not only on average; within its data set it is the next row of the data set's own order. A position is
    the number of rows used of each.

    Args:
        loaders: of each data set, with seeds of their own.
        shares: of each, above 0, one together.
    """

    def __init__(self, loaders: Sequence[Loader], shares: Sequence[float], batch_size: int) -> None:
        assert len(loaders) == len(shares) > 1, "one data set needs no mixture"
        self._loaders, self._shares, self._batch_size = list(loaders), list(shares), batch_size
        self.first = Position(used=(0,) * len(self._loaders))

    @property
    def rows(self) -> int:
        """Rows of all data sets together."""
        return sum(loader.rows for loader in self._loaders)

    @property
    def steps_per_epoch(self) -> int:
        """Batches that hold as many rows as all data sets together have; each is then used by its share."""
        return -(-self.rows // self._batch_size)

    def epochs(self, position: Position) -> tuple[float, ...]:
        """How often each data set has been used up at `position`."""
        return tuple(used / loader.rows for used, loader in zip(position.used, self._loaders, strict=True))

    def position_after(self, steps: int) -> Position:
        """Where training stands after so many batches."""
        # far ahead the row counts are the shares themselves to within one row
        count = steps * self._batch_size
        return Position(used=tuple(round(share * count) for share in self._shares))

    def next_position(self, position: Position) -> Position:
        """Where training stands after the batch at `position`."""
        used = list(position.used)
        for part in self._drawn(position):
            used[part] += 1
        return Position(used=tuple(used))

    def batch(self, position: Position) -> Batch:
        """The batch at `position`."""
        drawn, taken = self._drawn(position), []
        for part, loader in enumerate(self._loaders):
            count = drawn.count(part)
            if count:
                epoch, index = divmod(position.used[part], loader.rows)
                taken.append(self._renumbered(part, loader.take(Position(epoch, index), count)))
        return joined(taken, self._loaders[0].pad_token_id)

    def validation_batches(self, batch_size: int, limit: int) -> Iterator[Batch]:
        """Batches of each data set in turn, of `limit` batches as many as its share asks for, one at least."""
        for part, (loader, share) in enumerate(zip(self._loaders, self._shares, strict=True)):
            for batch in loader.validation_batches(batch_size, max(1, round(limit * share))):
                yield self._renumbered(part, batch)

    def numbered(self, rows: NDArray[np.int64]) -> Batch:
        """The rows of these numbers, counted through all data sets; they are given in the order of their data sets."""
        firsts = self._firsts()
        taken = []
        for part, loader in enumerate(self._loaders):
            own = rows[(rows >= firsts[part]) & (rows < firsts[part + 1])]
            if len(own):
                taken.append(self._renumbered(part, loader.numbered(own - firsts[part])))
        return joined(taken, self._loaders[0].pad_token_id)

    def _firsts(self) -> NDArray[np.int64]:
        """The number of each data set's first row, and at the end how many there are."""
        return np.cumsum([0, *(loader.rows for loader in self._loaders)], dtype=np.int64)

    def _renumbered(self, part: int, batch: Batch) -> Batch:
        return batch if batch.rows is None else replace(batch, rows=batch.rows + self._firsts()[part])

    def _drawn(self, position: Position) -> list[int]:
        """The number of the data set that each row of the batch at `position` comes from."""
        used, total, drawn = list(position.used), sum(position.used), list[int]()
        for count in range(total + 1, total + 1 + self._batch_size):
            behind = [share * count - taken for share, taken in zip(self._shares, used, strict=True)]
            part = behind.index(max(behind))
            used[part] += 1
            drawn.append(part)
        return drawn


def joined(batches: Sequence[Batch], pad_token_id: int) -> Batch:
    """Batches of one kind as one, row after row; shorter rows are padded to the longest.

    Where only some have `document_starts`, the others get zeros there: each of their rows is one document.
    """
    if len(batches) == 1:
        return batches[0]
    starts = [batch.document_starts for batch in batches]
    some = any(each is not None for each in starts)
    filled = [
        np.zeros_like(batch.input_ids, np.int32) if each is None else each
        for batch, each in zip(batches, starts, strict=True)
    ]
    numbers = [batch.rows for batch in batches if batch.rows is not None]
    references = [batch.reference for batch in batches if batch.reference is not None]
    assert len(references) in (0, len(batches)), "a reference was asked about all data sets or none"
    return Batch(
        input_ids=_stacked([batch.input_ids for batch in batches], pad_token_id),
        labels=_stacked([batch.labels for batch in batches], IGNORED),
        document_starts=_stacked(filled, 0) if some else None,
        reference=_stacked(references, 0) if references else None,
        rows_per_unit=batches[0].rows_per_unit,
        rows=np.concatenate(numbers) if len(numbers) == len(batches) else None,
    )


def _stacked(arrays: Sequence[NDArray[Any]], padding: int) -> NDArray[Any]:
    longest = max(array.shape[1] for array in arrays)
    widened = [np.pad(each, ((0, 0), (0, longest - each.shape[1])), constant_values=padding) for each in arrays]
    return np.concatenate(widened)
