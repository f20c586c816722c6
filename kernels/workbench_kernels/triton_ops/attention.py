"""Flash attention: a block of queries walks along the keys it sees, and the scores never leave the registers.

Causal order, sliding windows and packed documents bound the walk at both ends; only blocks of keys on a bound are
masked. Query heads that share keys find them in the L2 cache; a few queries at the end of a cache (decoding) take all
heads of a group into one block instead, and read the keys once. Head sizes that are no power of two are padded in
registers. Exponentials are to the base 2, with the scale of the scores folded in. Heavy blocks start first.

Saved for backward: q, k, v and out, and one float32 a query and head, the base-2 logarithm of its softmax's sum.
Moved: q, k, v once and out once, 2 bytes an element in bf16; again k and v for each block of queries, from the cache.
It loses where queries are few, heads too, and the cache long: nothing splits the keys among programs, so most of a
GPU idles; and to hand-scheduled kernels (FlashAttention 3 and 4) on Hopper and Blackwell, where exponentials wait for
products here. float32 takes three TF32 products for one, or, if PyTorch may use TF32, one.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from workbench_kernels import reference_attention
from workbench_kernels.documents import Documents
from workbench_kernels.launch import INTERPRETER, Launch, architecture, lookup
from workbench_kernels.reference import compute_dtype
from workbench_kernels.triton_ops import attention_backward
from workbench_kernels.triton_ops.attention_ranges import key_range, load_tile, lowest_keys, row_offsets, sees

LOG2_E = tl.constexpr(1.4426950408889634)

LARGEST_HEAD_DIM = 128
"""Larger heads do not fit in registers and run in plain PyTorch."""


@triton.jit
def attention_kernel(
    q_pointer, k_pointer, v_pointer, starts, out_pointer, lse_pointer, seq, kv_seq, heads, window, scale,
    stride_qb, stride_qh, stride_qs, stride_kb, stride_kh, stride_ks, stride_vb, stride_vh, stride_vs,
    UNIT: tl.constexpr, WIDE: tl.constexpr, GROUP: tl.constexpr, PACKED: tl.constexpr, CAUSAL: tl.constexpr,
    WINDOWED: tl.constexpr, DOCUMENTS: tl.constexpr, PRECISION: tl.constexpr, HEAD_DIM: tl.constexpr,
    BLOCK_D: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    """One program attends from BLOCK_M rows: queries of one head, or of PACKED heads of a group, side by side.

    Strides come in multiples of UNIT elements, so that the compiler knows how wide it may load. out is laid out
    (batch, seq, heads, HEAD_DIM), lse (batch, heads, seq), starts (batch, seq).
    """
    LIMITED: tl.constexpr = WINDOWED or DOCUMENTS
    blocks = tl.cdiv(seq * PACKED, BLOCK_M)
    block = blocks - 1 - tl.program_id(0) % blocks  # the last queries see the most keys: they go first
    slice_ = tl.program_id(0) // blocks  # of the batch and the heads
    batch = (slice_ // (heads // PACKED)).to(tl.int64)
    first_head = slice_ % (heads // PACKED) * PACKED
    rows = block * BLOCK_M + tl.arange(0, BLOCK_M)
    queries = rows // PACKED
    head = (first_head + rows % PACKED).to(tl.int64)
    columns = tl.arange(0, BLOCK_D)
    exists = (queries < seq)[:, None] & (columns < HEAD_DIM)[None, :]
    q_rows = batch * (stride_qb * UNIT) + head * (stride_qh * UNIT) + queries.to(tl.int64) * (stride_qs * UNIT)
    q = tl.load(q_pointer + q_rows[:, None] + columns[None, :], mask=exists, other=0.0)
    kv_head = (first_head // GROUP).to(tl.int64)
    k_base = k_pointer + batch * (stride_kb * UNIT) + kv_head * (stride_kh * UNIT)
    v_base = v_pointer + batch * (stride_vb * UNIT) + kv_head * (stride_vh * UNIT)
    if DOCUMENTS:
        starts += batch * seq

    positions = queries + kv_seq - seq
    lowest = lowest_keys(queries, seq, kv_seq, window, starts, WINDOWED, DOCUMENTS)
    first_query = block * BLOCK_M // PACKED
    last_query = tl.minimum((block * BLOCK_M + BLOCK_M - 1) // PACKED, seq - 1)
    first, whole, whole_end, end = key_range(
        first_query, last_query, seq, kv_seq, window, starts, CAUSAL, WINDOWED, DOCUMENTS, BLOCK_N
    )
    highest = tl.full((BLOCK_M,), float("-inf"), dtype=tl.float32)
    total = tl.zeros((BLOCK_M,), dtype=tl.float32)
    acc = tl.zeros((BLOCK_M, BLOCK_D), dtype=tl.float32)
    scale_2 = scale * LOG2_E
    if LIMITED:
        acc, total, highest = _attend(
            acc, total, highest, q, k_base, v_base, first, whole, positions, lowest, kv_seq, scale_2, stride_ks * UNIT,
            stride_vs * UNIT, WIDE, CAUSAL, LIMITED, True, PRECISION, HEAD_DIM, BLOCK_D, BLOCK_N,
        )  # fmt: skip
    acc, total, highest = _attend(
        acc, total, highest, q, k_base, v_base, whole, whole_end, positions, lowest, kv_seq, scale_2, stride_ks * UNIT,
        stride_vs * UNIT, WIDE, CAUSAL, LIMITED, False, PRECISION, HEAD_DIM, BLOCK_D, BLOCK_N,
    )  # fmt: skip
    acc, total, highest = _attend(
        acc, total, highest, q, k_base, v_base, whole_end, end, positions, lowest, kv_seq, scale_2, stride_ks * UNIT,
        stride_vs * UNIT, WIDE, CAUSAL, LIMITED, True, PRECISION, HEAD_DIM, BLOCK_D, BLOCK_N,
    )  # fmt: skip

    blind = total == 0.0  # sees no key: 0, and in backward a probability of exp2(score - inf) = 0
    acc = acc / tl.where(blind, 1.0, total)[:, None]
    lse = tl.where(blind, float("inf"), highest + tl.math.log2(total))
    tl.store(lse_pointer + (batch * heads + head) * seq + queries, lse, mask=queries < seq)
    out_rows = ((batch * seq + queries) * heads + head) * HEAD_DIM
    out = acc.to(out_pointer.dtype.element_ty)
    tl.store(out_pointer + out_rows[:, None] + columns[None, :], out, mask=exists)


@triton.jit
def _attend(
    acc, total, highest, q, k_base, v_base, first, end, positions, lowest, kv_seq, scale_2, stride_ks, stride_vs,
    WIDE: tl.constexpr, CAUSAL: tl.constexpr, LIMITED: tl.constexpr, MASKED: tl.constexpr, PRECISION: tl.constexpr,
    HEAD_DIM: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    """Take keys first to end into the running maximum, sum of exponentials and weighted sum of values."""
    columns = tl.arange(0, BLOCK_D)
    PADDED: tl.constexpr = HEAD_DIM < BLOCK_D
    for start in range(first, end, BLOCK_N):
        keys = start + tl.arange(0, BLOCK_N)
        k_pointers = k_base + row_offsets(keys, stride_ks, WIDE)[None, :] + columns[:, None]
        k = load_tile(k_pointers, (keys < kv_seq)[None, :], (columns < HEAD_DIM)[:, None], MASKED, PADDED)
        scores = tl.dot(q, k, input_precision=PRECISION)
        if MASKED:
            seen = sees(positions[:, None], lowest[:, None], keys[None, :], kv_seq, CAUSAL, LIMITED)
            scores = tl.where(seen, scores * scale_2, float("-inf"))
            new_highest = tl.maximum(highest, tl.max(scores, 1))
            origin = tl.where(new_highest == float("-inf"), 0.0, new_highest)  # nothing seen yet: not inf - inf
            p = tl.math.exp2(scores - origin[:, None])
        else:
            new_highest = tl.maximum(highest, tl.max(scores, 1) * scale_2)
            origin = new_highest
            p = tl.math.exp2(scores * scale_2 - origin[:, None])
        shrink = tl.math.exp2(highest - origin)
        highest = new_highest
        total = total * shrink + tl.sum(p, 1)
        acc = acc * shrink[:, None]
        v_pointers = v_base + row_offsets(keys, stride_vs, WIDE)[:, None] + columns[None, :]
        v = load_tile(v_pointers, (keys < kv_seq)[:, None], (columns < HEAD_DIM)[None, :], MASKED, PADDED)
        acc = tl.dot(p.to(v.dtype), v, acc, input_precision=PRECISION)
    return acc, total, highest


# Blocks of queries and of keys, warps, stages; by the head size that they hold at most.
_LONG: dict[str, dict[int, tuple[int, int, int, int]]] = {
    "sm_80": {32: (128, 64, 8, 3), 64: (128, 64, 8, 3), 128: (128, 64, 8, 3)},
    "sm_86": {32: (128, 64, 8, 3), 64: (128, 64, 8, 3), 128: (128, 32, 8, 3)},
    "sm_90": {32: (128, 128, 8, 2), 64: (128, 128, 8, 2), 128: (128, 64, 8, 3)},
    "sm_100": {32: (128, 128, 8, 2), 64: (128, 128, 8, 2), 128: (128, 64, 8, 2)},
    "default": {32: (128, 64, 4, 1), 64: (128, 64, 4, 1), 128: (128, 64, 4, 1)},
}
_SHORT: dict[str, dict[int, tuple[int, int, int, int]]] = {
    "sm_80": {32: (64, 64, 4, 3), 64: (64, 64, 4, 3), 128: (64, 32, 8, 2)},
    "sm_86": {32: (64, 64, 4, 3), 64: (64, 64, 4, 3), 128: (64, 32, 8, 2)},
    "sm_90": {32: (64, 64, 4, 3), 64: (64, 64, 4, 3), 128: (64, 32, 4, 2)},
    "default": {32: (64, 64, 4, 1), 64: (64, 64, 4, 1), 128: (64, 32, 4, 1)},
}
_FLOAT32: dict[str, dict[int, tuple[int, int, int, int]]] = {
    "sm_80": {32: (64, 32, 8, 1), 64: (64, 32, 8, 1), 128: (16, 32, 4, 1)},
    "sm_86": {32: (64, 32, 8, 1), 64: (64, 32, 8, 1), 128: (16, 32, 4, 1)},
    "default": dict.fromkeys((32, 64, 128), (16, 16, 4, 1)),
}
_INTERPRETED = {"long": (32, 16, 4, 1), "short": (16, 16, 4, 1), "float32": (32, 16, 4, 1)}


def launches(architecture: str) -> dict[str, Launch]:
    """Every launch the table can pick, by the length of the queries (or float32) and the largest head size."""
    return {f"{kind} {size}": _launch(architecture, kind, size) for kind in _INTERPRETED for size in (32, 64, 128)}


def _launch(architecture: str, kind: str, size: int) -> Launch:
    table = {"long": _LONG, "short": _SHORT, "float32": _FLOAT32}[kind]
    row = _INTERPRETED[kind] if architecture == INTERPRETER else lookup(table, architecture)[size]
    block_m, block_n, warps, stages = row
    return Launch({"BLOCK_M": block_m, "BLOCK_N": block_n}, warps, stages, f"{kind}, head sizes up to {size}")


def _pick(q: Tensor) -> Launch:
    name, size = architecture(q.device), attention_backward.size_class(q)
    if q.dtype == torch.float32:
        return _launch(name, "float32", size)
    short = _launch(name, "short", size)
    return short if q.shape[2] <= short.blocks["BLOCK_M"] else _launch(name, "long", size)


@torch.library.custom_op("workbench_kernels::attention", mutates_args=())
def _attention(
    q: Tensor, k: Tensor, v: Tensor, starts: Tensor | None, causal: bool, window: int | None
) -> tuple[Tensor, Tensor]:
    batch, heads, seq, head_dim = q.shape
    q, k, v = (attention_backward.with_adjacent_columns(each) for each in (q, k, v))
    out = attention_backward.like_projection(q)
    lse = torch.empty(batch, heads, seq, dtype=torch.float32, device=q.device)
    if not q.numel():
        return out, lse
    launch, group = _pick(q), heads // k.shape[1]
    packed = group if seq * group <= launch.blocks["BLOCK_M"] else 1
    grid = (triton.cdiv(seq * packed, launch.blocks["BLOCK_M"]) * batch * (heads // packed),)
    strides, layout = attention_backward.strides_of(q, k, v)
    attention_kernel[grid](
        q, k, v, starts, out, lse, seq, k.shape[2], heads, window or 0, head_dim**-0.5, *strides,
        **layout, PACKED=packed, GROUP=group, CAUSAL=causal, WINDOWED=window is not None, DOCUMENTS=starts is not None,
        **attention_backward.constants(q), **launch.options(),
    )  # fmt: skip
    return out, lse


@_attention.register_fake
def _(
    q: Tensor, k: Tensor, v: Tensor, starts: Tensor | None, causal: bool, window: int | None
) -> tuple[Tensor, Tensor]:
    return attention_backward.like_projection(q), q.new_empty(q.shape[:3], dtype=torch.float32)


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    q, k, v, starts, ctx.causal, ctx.window = inputs
    out, lse = output
    ctx.save_for_backward(q, k, v, starts, out, lse)
    ctx.mark_non_differentiable(lse)
    ctx.set_materialize_grads(False)


def _grads(ctx: Any, grad: Tensor | None, _: None) -> tuple[Tensor | None, ...]:
    if grad is None:  # nothing that was wanted depends on the output
        return (None,) * 6
    grads = attention_backward.attention_backward(grad, *ctx.saved_tensors, ctx.causal, ctx.window)
    return (*grads, None, None, None)


_attention.register_autograd(_grads, setup_context=_save)


def attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    causal: bool = True,
    window: int | None = None,
    document_starts: Tensor | Documents | None = None,
) -> Tensor:
    """As the reference."""
    if q.shape[3] > LARGEST_HEAD_DIM:
        return reference_attention.attention(q, k, v, causal=causal, window=window, document_starts=document_starts)
    reference_attention.check(causal, window, document_starts)
    if isinstance(document_starts, Tensor):
        document_starts = Documents(document_starts, k.shape[2])
    starts = None if document_starts is None else document_starts.narrow_starts()
    dtype = compute_dtype(q)
    return _attention(q.to(dtype), k.to(dtype), v.to(dtype), starts, causal, window)[0]
