"""Which tokens may see each other: documents of packed rows, sliding windows, and the tiles of scores worth making."""

from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

LONG_ROW = 1024
"""From this length on, rows are cut apart where documents end; below, one mask over whole rows is faster on a CPU."""

_TILE_QUERIES = 128  # queries of a tile: smaller ones skip more of the hidden triangle but make more operations


class Tile(NamedTuple):
    """A part of the scores with something to see in it.

    Args:
        rows: of the batch.
        mask: 0 where a query sees a key, else minus infinity; (rows or 1, 1, queries, keys).
    """

    rows: slice
    queries: slice
    keys: slice
    mask: Tensor | None


class Documents:
    """The documents of a batch of rows, prepared once and used by every layer.

    A token sees the earlier tokens of its own document only.

    Args:
        starts: (batch, seq) integers: the key position at which each query's document starts; never decreasing along
            a row.
        kv_seq: number of keys; the queries are the last seq of them.
    """

    def __init__(self, starts: Tensor, kv_seq: int) -> None:
        self.starts = starts
        self.kv_seq = kv_seq
        self._masks: dict[torch.dtype, Tensor] = {}
        self._tiles: dict[torch.dtype, list[Tile]] = {}
        self._windowed: dict[int, Documents] = {}
        self._narrow: Tensor | None = None

    def windowed(self, window: int) -> "Documents":
        """The same, each query seeing no more than the last `window` keys up to its own."""
        if window not in self._windowed:
            limits = _window_starts(self.starts.shape[1], self.kv_seq, window, self.starts.device)
            self._windowed[window] = Documents(torch.maximum(self.starts, limits), self.kv_seq)
        return self._windowed[window]

    def mask(self, dtype: torch.dtype) -> Tensor:
        """(batch, 1, seq, kv_seq): 0 where a query sees a key, else minus infinity."""
        if dtype not in self._masks:
            seq = self.starts.shape[1]
            self._masks[dtype] = self._mask_of(slice(None), slice(0, seq), slice(0, self.kv_seq), dtype)
        return self._masks[dtype]

    def tiles(self, dtype: torch.dtype) -> list[Tile]:
        """The tiles that cover everything visible: by row and document for long rows, else for all rows at once."""
        if dtype not in self._tiles:
            self._tiles[dtype] = self._by_row(dtype) if self.long else self._all_rows(dtype)
        return self._tiles[dtype]

    def narrow_starts(self) -> Tensor:
        """The starts as kernels read them: int32 and contiguous."""
        if self._narrow is None:
            self._narrow = self.starts.to(torch.int32).contiguous()
        return self._narrow

    @property
    def long(self) -> bool:
        """True where skipping what other documents hold is worth more operations."""
        return self.kv_seq >= LONG_ROW

    def _all_rows(self, dtype: torch.dtype) -> list[Tile]:
        mask = self.mask(dtype)
        return [
            Tile(slice(None), queries, keys, mask[:, :, queries, keys])
            for queries, keys in _causal_blocks(self.starts.shape[1], self.kv_seq)
        ]

    def _by_row(self, dtype: torch.dtype) -> list[Tile]:
        batch, seq = self.starts.shape
        blocks = _causal_blocks(seq, self.kv_seq)
        firsts = self.starts[:, [queries.start for queries, _ in blocks]].tolist()
        tiles = []
        for row in range(batch):
            rows = slice(row, row + 1) if batch > 1 else slice(None)  # one row may stand for all
            for (queries, keys), first in zip(blocks, firsts[row], strict=True):
                seen = slice(first, keys.stop)
                tiles.append(Tile(rows, queries, seen, self._mask_of(rows, queries, seen, dtype)))
        return tiles

    def _mask_of(self, rows: slice, queries: slice, keys: slice, dtype: torch.dtype) -> Tensor:
        starts = self.starts[rows, queries].unsqueeze(-1)
        key = torch.arange(keys.start, keys.stop, device=starts.device)
        query = torch.arange(queries.start, queries.stop, device=starts.device) + self.kv_seq - self.starts.shape[1]
        hidden = (key > query.unsqueeze(1)) | (key < starts)
        mask = torch.zeros(hidden.shape, dtype=dtype, device=starts.device)
        return mask.masked_fill_(hidden, float("-inf")).unsqueeze(1)


@lru_cache(maxsize=16)
def sliding_window(seq: int, kv_seq: int, window: int, device: torch.device) -> Documents:
    """For rows that are one document each: every query sees the last `window` keys up to its own."""
    return Documents(_window_starts(seq, kv_seq, window, device), kv_seq)


def _window_starts(seq: int, kv_seq: int, window: int, device: torch.device) -> Tensor:
    """(1, seq): the first key in the window of each query."""
    return (torch.arange(seq, device=device) + (kv_seq - seq + 1 - window)).clamp_(min=0).unsqueeze(0)


def plain_tiles(
    seq: int, kv_seq: int, causal: bool, window: int | None, dtype: torch.dtype, device: torch.device
) -> list[Tile]:
    """The tiles of rows that are one document each; only without `causal` may there be a window."""
    if not causal:
        mask = None if window is None else _no_earlier(seq, kv_seq, window, dtype, device)
        return [Tile(slice(None), slice(0, seq), slice(0, kv_seq), mask)]
    return [
        Tile(slice(None), queries, keys, _diagonal(queries.stop - queries.start, keys.stop, dtype, device))
        for queries, keys in _causal_blocks(seq, kv_seq)
    ]


def _causal_blocks(seq: int, kv_seq: int) -> list[tuple[slice, slice]]:
    """Queries in blocks, each with the keys up to its last query."""
    blocks = [slice(start, min(start + _TILE_QUERIES, seq)) for start in range(0, seq, _TILE_QUERIES)]
    return [(queries, slice(0, max(0, queries.stop + kv_seq - seq))) for queries in blocks]


@lru_cache(maxsize=64)
def _diagonal(queries: int, keys: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """The mask of the last `queries` of `keys` tokens, (1, 1, queries, keys)."""
    mask = torch.full((queries, keys), float("-inf"), dtype=dtype, device=device).triu_(keys - queries + 1)
    return mask.view(1, 1, queries, keys)


def _no_earlier(seq: int, kv_seq: int, window: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """The mask of all keys before each query's window, (1, 1, seq, kv_seq)."""
    starts = _window_starts(seq, kv_seq, window, device)[0]
    hidden = torch.arange(kv_seq, device=device) < starts.unsqueeze(1)
    mask = torch.zeros(hidden.shape, dtype=dtype, device=device)
    return mask.masked_fill_(hidden, float("-inf")).view(1, 1, seq, kv_seq)
