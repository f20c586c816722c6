"""What a teacher finds likely at each target of numbered rows, on the disk: appended row by row, read by row.

NAME.ids     (targets, k) uint16 or uint32, the likeliest first
NAME.logps   (targets, k) float32, their log-probabilities
NAME.sums    (targets, 3) float32: of all others together, the same at the stage's temperature, of the target
NAME.ends    (rows,) int64, how many targets stand before the end of each row
NAME.json    of what it is made, and how many rows are complete
"""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workbench.atomic import write_atomically
from workbench.data.stores import map_array

SUMS = 3
_ARRAYS = ("ids", "logps", "sums", "ends")


def id_dtype(vocab_size: int) -> str:
    """The smallest type that holds every id."""
    return "uint16" if vocab_size <= 1 << 16 else "uint32"


class TopKStore:
    """Complete rows, mapped into memory.

    Args:
        rows: the numbers of the rows in it, ascending.
        k: tokens by target.
    """

    def __init__(self, folder: Path, name: str, rows: NDArray[np.int64], k: int, vocab_size: int) -> None:
        self._rows = rows
        self._ids = map_array(folder / f"{name}.ids", id_dtype(vocab_size)).reshape(-1, k)
        self._logps = map_array(folder / f"{name}.logps", "float32").reshape(-1, k)
        self._sums = map_array(folder / f"{name}.sums", "float32").reshape(-1, SUMS)
        self._starts = np.concatenate([[0], map_array(folder / f"{name}.ends", "int64")])

    def read(
        self, rows: NDArray[np.int64], counts: NDArray[Any]
    ) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.float32]]:
        """Ids, log-probabilities and sums of the targets of these rows, one row after the other.

        Args:
            rows: their numbers, each among those that are kept.
            counts: how many targets each has.
        """
        if not len(rows):  # a process may have no rows of a batch
            return np.empty((0, self._ids.shape[1]), np.int64), self._logps[:0], self._sums[:0]
        places = self._rows.searchsorted(rows)
        assert (self._rows[places.clip(max=len(self._rows) - 1)] == rows).all(), "a row was never shown to the teacher"
        begins, ends = self._starts[places], self._starts[places + 1]
        assert (ends - begins == counts).all(), "the rows are others than those that the teacher saw"
        chosen = [slice(begin, end) for begin, end in zip(begins.tolist(), ends.tolist(), strict=True)]
        return (
            np.concatenate([self._ids[each] for each in chosen]).astype(np.int64),
            np.concatenate([self._logps[each] for each in chosen]),
            np.concatenate([self._sums[each] for each in chosen]),
        )


class TopKWriter:
    """Appends rows to a store; what an interrupted attempt brought to the disk stands.

    Args:
        made_of: a fingerprint of the rows, the teacher and how it is asked; files of another one are begun anew.

    Attributes:
        rows: how many are complete.
    """

    def __init__(self, folder: Path, name: str, made_of: str, k: int, vocab_size: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._index, self._made_of = folder / f"{name}.json", made_of
        self._dtypes = {"ids": id_dtype(vocab_size), "logps": "float32", "sums": "float32", "ends": "int64"}
        found = _read_index(self._index)
        whole = found.get("made_of") == made_of
        self.rows = int(found["rows"]) if whole else 0
        self._targets = int(found["targets"]) if whole else 0
        widths = {"ids": k, "logps": k, "sums": SUMS}
        self._files = {}
        for array in _ARRAYS:
            path = folder / f"{name}.{array}"
            count = self.rows if array == "ends" else self._targets * widths[array]
            size = count * np.dtype(self._dtypes[array]).itemsize
            file = path.open("r+b" if path.exists() else "w+b")
            if path.stat().st_size < size:  # somebody took it away
                raise OSError(f"{path} is shorter than its index says; delete {folder}")
            file.truncate(size)
            file.seek(size)
            self._files[array] = file

    def append(
        self, ids: NDArray[Any], logps: NDArray[Any], sums: NDArray[Any], counts: Sequence[int] | NDArray[Any]
    ) -> None:
        """Add rows, each with `counts` of the targets."""
        ends = self._targets + np.cumsum(counts, dtype=np.int64)
        for array, values in (("ids", ids), ("logps", logps), ("sums", sums), ("ends", ends)):
            self._files[array].write(np.ascontiguousarray(values, self._dtypes[array]).tobytes())
        self.rows, self._targets = self.rows + len(counts), self._targets + len(ids)

    def sync(self) -> None:
        """Bring everything to the disk, and say how far it is."""
        for file in self._files.values():
            file.flush()
            os.fsync(file.fileno())
        told = {"made_of": self._made_of, "rows": self.rows, "targets": self._targets}
        write_atomically(self._index, json.dumps(told) + "\n")

    def close(self) -> None:
        """Close the files; what was not synced is made again."""
        for file in self._files.values():
            file.close()


def complete_rows(folder: Path, name: str, made_of: str) -> int:
    """How many rows of a store made of the same are complete; 0 where there is none."""
    found = _read_index(folder / f"{name}.json")
    return int(found["rows"]) if found.get("made_of") == made_of else 0


def _read_index(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    usable = isinstance(found, dict) and isinstance(found.get("rows"), int) and isinstance(found.get("targets"), int)
    return found if usable else {}
