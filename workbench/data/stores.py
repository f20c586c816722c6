"""Tokenised documents on the disk: written by appending, read through memory maps."""

import os
import sys
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

IDS, OFFSETS, TRAINED = "ids", "offsets", "trained"


class TokenStore:
    """The documents of one side (training or validation), one after the other.

    Args:
        ids: (tokens,) uint16 or uint32, all documents in a row.
        offsets: (documents + 1,) int64; document d is `ids[offsets[d]:offsets[d + 1]]`.
        trained: (tokens,) uint8, 1 where the token is a target; None where every token is.
        pad_token_id: what fills a row that its documents do not fill.
        folder: where the arrays lie as files called `name`; None for arrays in memory.

    Attributes:
        reference: (tokens,) log-probability that a reference model gave each token, where somebody asked one.
    """

    def __init__(
        self,
        ids: NDArray[Any],
        offsets: NDArray[np.int64],
        trained: NDArray[np.uint8] | None,
        pad_token_id: int,
        folder: Path | None = None,
        name: str = "",
    ) -> None:
        self.ids, self.offsets, self.trained = ids, offsets, trained
        self.pad_token_id, self.folder, self.name = pad_token_id, folder, name
        self.reference: NDArray[np.float32] | None = None
        self.tokens, self.documents = len(ids), len(offsets) - 1
        self._read_ids = _reader(ids, folder / f"{name}.{IDS}" if folder else None)
        self._read_trained: Reader | None = None
        if trained is not None:
            self._read_trained = _reader(trained, folder / f"{name}.{TRAINED}" if folder else None)

    @classmethod
    def open(cls, folder: Path, name: str, *, dtype: str, masked: bool, pad_token_id: int) -> "TokenStore":
        """The store that a `StoreWriter` left in `folder`."""
        ids = map_array(folder / f"{name}.{IDS}", dtype)
        offsets = map_array(folder / f"{name}.{OFFSETS}", "int64")
        trained = map_array(folder / f"{name}.{TRAINED}", "uint8") if masked else None
        return cls(ids, offsets, trained, pad_token_id, folder, name)

    @classmethod
    def from_documents(
        cls, documents: Sequence[Sequence[int]], trained: Sequence[Sequence[bool]] | None = None, pad_token_id: int = 0
    ) -> "TokenStore":
        """A store in memory, for a handful of documents: a preview, a test."""
        offsets = np.cumsum([0, *map(len, documents)], dtype=np.int64)
        ids = np.array([token for document in documents for token in document], dtype=np.uint32)
        mask = None
        if trained is not None:
            mask = np.array([flag for document in trained for flag in document], dtype=np.uint8)
        return cls(ids, offsets, mask, pad_token_id)

    def read_ids(self, first: int, behind: int) -> NDArray[Any]:
        """`ids[first:behind]`, without the pages around it becoming memory of this process."""
        return self._read_ids(first, behind)

    def read_trained(self, first: int, behind: int) -> NDArray[np.uint8] | None:
        """`trained[first:behind]` likewise; None where every token is a target."""
        return self._read_trained(first, behind) if self._read_trained is not None else None

    def release(self) -> None:
        """Give back the pages of `offsets` that were read: they would count as memory of this process for good."""
        if self.folder is not None:
            self.offsets = map_array(self.folder / f"{self.name}.{OFFSETS}", "int64")


Reader = Callable[[int, int], NDArray[Any]]


def _reader(array: NDArray[Any], path: Path | None) -> Reader:
    """Reads stretches of the array from its file; from its memory map where the system cannot read at a place."""
    if path is None or not hasattr(os, "pread"):
        return lambda first, behind: array[first:behind]
    dtype, size, pread = array.dtype, array.dtype.itemsize, os.pread
    descriptor = os.open(path, os.O_RDONLY)

    def read(first: int, behind: int) -> NDArray[Any]:
        return np.frombuffer(pread(descriptor, (behind - first) * size, first * size), dtype)

    weakref.finalize(read, os.close, descriptor)
    return read


def map_array(path: Path, dtype: str) -> NDArray[Any]:
    """The file's numbers as a flat read-only array that takes no memory of its own."""
    if path.stat().st_size == 0:  # an empty file cannot be mapped
        return np.empty(0, dtype=dtype)
    return np.asarray(np.memmap(path, dtype=dtype, mode="r"))  # a plain view: slicing a memmap costs ten times more


class StoreWriter:
    """Appends documents to a store's files.

    Args:
        documents: how many finished documents of an earlier, interrupted attempt stand.
        tokens: and how many tokens, those of an unfinished document included; what lies behind them is cut off.
    """

    def __init__(
        self, folder: Path, name: str, *, dtype: str, masked: bool, documents: int = 0, tokens: int = 0
    ) -> None:
        self.documents, self.tokens = documents, tokens
        self._dtype = np.dtype(dtype)
        self._ids = _open_cut(folder / f"{name}.{IDS}", tokens * self._dtype.itemsize)
        self._trained = _open_cut(folder / f"{name}.{TRAINED}", tokens) if masked else None
        self._offsets = _open_cut(folder / f"{name}.{OFFSETS}", documents * 8 + 8)  # zeros where the file was empty
        self._offsets.seek(documents * 8)
        self._begin = int.from_bytes(self._offsets.read(8), sys.byteorder)

    @property
    def open_tokens(self) -> int:
        """Tokens of the open document so far."""
        return self.tokens - self._begin

    def append(self, ids: Sequence[int], trained: Sequence[bool] | None = None) -> None:
        """Add tokens to the open document."""
        self._ids.write(np.asarray(ids, self._dtype).tobytes())
        if self._trained is not None:
            assert trained is not None, "this store keeps a mask"
            self._trained.write(np.asarray(trained, np.uint8).tobytes())
        self.tokens += len(ids)

    def end_document(self) -> None:
        """Close the open document; the next token begins another."""
        self._offsets.write(np.array([self.tokens], np.int64).tobytes())
        self.documents += 1
        self._begin = self.tokens

    def sync(self) -> None:
        """Bring everything appended so far to the disk."""
        for file in self._files():
            file.flush()
            os.fsync(file.fileno())

    def close(self) -> None:
        """Close the files; they stay as they are."""
        for file in self._files():
            file.close()

    def _files(self) -> list[BinaryIO]:
        return [file for file in (self._ids, self._offsets, self._trained) if file is not None]


def _open_cut(path: Path, size_bytes: int) -> BinaryIO:
    file = path.open("r+b" if path.exists() else "w+b")
    file.truncate(size_bytes)
    file.seek(size_bytes)
    return file
