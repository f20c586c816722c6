"""Which keys a block of queries sees, and which queries see a block of keys: shared by the attention kernels.

Query i of seq stands at key position i + kv_seq - seq. It sees the keys up to its own position (CAUSAL), none before
the last `window` up to there (WINDOWED), and none before its document starts (DOCUMENTS). Starts never decrease along a
row, so what a block sees is one range; in it lies the range that every query of the block sees, which needs no mask.
"""

import triton
import triton.language as tl


@triton.jit
def key_range(
    first_query, last_query, seq, kv_seq, window, starts,
    CAUSAL: tl.constexpr, WINDOWED: tl.constexpr, DOCUMENTS: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    """The keys of queries first_query to last_query, in three parts: masked, whole, masked blocks.

    Returns where each part begins, all multiples of BLOCK_N, and where the last one ends.
    """
    shift = kv_seq - seq
    first = 0
    whole = 0
    whole_end = kv_seq
    end = kv_seq
    if CAUSAL:
        whole_end = tl.maximum(first_query + shift + 1, 0)
        end = tl.maximum(last_query + shift + 1, 0)
    if WINDOWED:
        first = tl.maximum(first_query + shift + 1 - window, 0)
        whole = tl.maximum(last_query + shift + 1 - window, 0)
    if DOCUMENTS:
        first = tl.maximum(first, tl.load(starts + first_query))
        whole = tl.maximum(whole, tl.load(starts + last_query))
    first = first // BLOCK_N * BLOCK_N
    whole = tl.minimum(tl.cdiv(whole, BLOCK_N), tl.cdiv(end, BLOCK_N)) * BLOCK_N
    whole_end = tl.maximum(whole_end // BLOCK_N * BLOCK_N, whole)
    return first, whole, whole_end, end


@triton.jit
def query_range(
    first_key, last_key, seq, kv_seq, window, starts,
    CAUSAL: tl.constexpr, WINDOWED: tl.constexpr, DOCUMENTS: tl.constexpr, BLOCK_M: tl.constexpr,
):  # fmt: skip
    """The queries that see any of keys first_key to last_key.

    Returns where they begin, from where on causal order hides none of the keys, both multiples of BLOCK_M, and where
    they end.
    """
    shift = kv_seq - seq
    first = 0
    whole = 0
    end = seq
    if CAUSAL:
        first = tl.maximum(first_key - shift, 0)
        whole = tl.maximum(last_key - shift, 0)
    if WINDOWED:
        end = tl.maximum(tl.minimum(last_key + window - shift, seq), 0)
    if DOCUMENTS:
        end = tl.minimum(end, first + _count_starts(starts, first, end, last_key))
    first = first // BLOCK_M * BLOCK_M
    whole = tl.minimum(tl.cdiv(whole, BLOCK_M), tl.cdiv(end, BLOCK_M)) * BLOCK_M
    return first, whole, end


@triton.jit
def _count_starts(starts, first, end, last_key):
    """How many of queries first..end belong to documents that start at or before the last key.

    Counted, not searched: a few wide loads wait less than a chain of dependent ones.
    """
    WIDTH: tl.constexpr = 512
    count = tl.zeros((WIDTH,), dtype=tl.int32)
    for query in range(first, end, WIDTH):
        queries = query + tl.arange(0, WIDTH)
        start = tl.load(starts + queries, mask=queries < end, other=2147483647)
        count += (start <= last_key).to(tl.int32)
    return tl.sum(count, 0)


@triton.jit
def lowest_keys(queries, seq, kv_seq, window, starts, WINDOWED: tl.constexpr, DOCUMENTS: tl.constexpr):
    """The first key that each query may see."""
    lowest = tl.zeros_like(queries)
    if WINDOWED:
        lowest = queries + kv_seq - seq + 1 - window
    if DOCUMENTS:
        lowest = tl.maximum(lowest, tl.load(starts + queries, mask=queries < seq, other=0))
    return lowest


@triton.jit
def sees(positions, lowest, keys, kv_seq, CAUSAL: tl.constexpr, LIMITED: tl.constexpr):
    """Whether queries at `positions` see `keys`, which broadcast; none sees keys before `lowest` if LIMITED."""
    if CAUSAL:
        seen = keys <= positions
    else:
        seen = keys < kv_seq
    if LIMITED:
        seen = seen & (keys >= lowest)
    return seen


@triton.jit
def row_offsets(rows, stride, WIDE: tl.constexpr):
    """Where rows of one head begin, in elements; WIDE where that can pass 2**31."""
    if WIDE:
        rows = rows.to(tl.int64)
    return rows * stride


@triton.jit
def load_tile(pointers, rows_exist, columns_exist, MASKED: tl.constexpr, PADDED: tl.constexpr):
    """A tile: MASKED where rows may be missing, PADDED where columns are; the masks broadcast to its shape."""
    if MASKED and PADDED:
        return tl.load(pointers, mask=rows_exist & columns_exist, other=0.0)
    if MASKED:
        return tl.load(pointers, mask=rows_exist, other=0.0)
    if PADDED:
        return tl.load(pointers, mask=columns_exist, other=0.0)
    return tl.load(pointers)
