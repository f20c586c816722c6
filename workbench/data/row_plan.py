"""Which documents share a row: packed once, kept beside the store, read through memory maps."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from workbench.data.file_hashes import partial_path
from workbench.data.stores import TokenStore, map_array

WINDOW = 4096  # documents packed against each other: enough to fill rows well, little enough to hold in memory


@dataclass(frozen=True)
class RowPlan:
    """Row r holds the documents `order[bounds[r]:bounds[r + 1]]`."""

    order: NDArray[np.int64]
    bounds: NDArray[np.int64]

    @property
    def rows(self) -> int:
        """Number of rows."""
        return len(self.bounds) - 1

    @property
    def documents(self) -> int:
        """Number of documents in all rows."""
        return len(self.order)

    def documents_of(self, row: int) -> list[int]:
        """The documents of a row, from left to right."""
        first, behind = self.bounds[row : row + 2].tolist()
        return [int(document) for document in self.order[first:behind]]


def plan_rows(store: TokenStore, sequence_length: int) -> RowPlan:
    """Pack the store's documents into rows; a plan made earlier is taken from the disk."""
    if store.folder is None:
        packed = list(_packed(store, sequence_length))
        bounds = np.cumsum([0, *map(len, packed)], dtype=np.int64)
        return RowPlan(np.array([document for row in packed for document in row], np.int64), bounds)
    order = store.folder / f"{store.name}.order-{sequence_length}"
    bounds_path = store.folder / f"{store.name}.bounds-{sequence_length}"
    if not bounds_path.exists():
        _write_plan(store, sequence_length, order, bounds_path)
    return RowPlan(map_array(order, "int64"), map_array(bounds_path, "int64"))


def _write_plan(store: TokenStore, sequence_length: int, order: Path, bounds: Path) -> None:
    """Both files in full, the bounds last: their presence says that the plan is complete.

    Two processes may do this at once: each writes files of its own, and both write the same.
    """
    order_part, bounds_part = partial_path(order), partial_path(bounds)
    with order_part.open("wb") as order_file, bounds_part.open("wb") as bounds_file:
        placed = 0
        bounds_file.write(np.int64(0).tobytes())
        for row in _packed(store, sequence_length):
            placed += len(row)
            order_file.write(np.array(row, np.int64).tobytes())
            bounds_file.write(np.int64(placed).tobytes())
        for file in (order_file, bounds_file):
            file.flush()
            os.fsync(file.fileno())
    order_part.replace(order)
    bounds_part.replace(bounds)


def _packed(store: TokenStore, sequence_length: int) -> Iterator[list[int]]:
    """The rows, as lists of documents, window by window."""
    for first in range(0, store.documents, WINDOW):
        offsets = store.offsets[first : first + WINDOW + 1]
        cells = np.minimum(np.diff(offsets) - 1, sequence_length)  # a document's last token is only a target
        for row in pack_window(cells.tolist(), sequence_length):
            yield [first + document for document in row]


def pack_window(lengths: list[int], capacity: int) -> list[list[int]]:
    """Group the indices of `lengths` so that no group's sum exceeds `capacity` (longest first, tightest room first).

    What has no length is left out. Rooms are kept as bits of one integer, so that the tightest is found at once.
    """
    rows: list[list[int]] = []
    rows_with_room: dict[int, list[int]] = {}
    rooms = 0
    longest_first = sorted(range(len(lengths)), key=lambda index: (-lengths[index], index))
    for index in longest_first:
        need = lengths[index]
        if need <= 0:
            break
        fitting = rooms >> need
        if fitting:
            room = need + (fitting & -fitting).bit_length() - 1
            row = rows_with_room[room].pop()
            rooms ^= 0 if rows_with_room[room] else 1 << room
        else:
            room, row = capacity, len(rows)
            rows.append([])
        rows[row].append(index)
        rows_with_room.setdefault(room - need, []).append(row)
        rooms |= 1 << (room - need)
    return rows
