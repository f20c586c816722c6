"""The backward of flash attention: one kernel along the keys for q, one along the queries for k and v.

Each gradient is summed in the registers of one program, over the query heads of a group too: no atomics, so the same
inputs give the same bits. The price is that scores and their gradients are made twice, seven products where five would
do. The first kernel also takes delta = sum(out * grad) of each query, which the second reads.

Moved: q, k, v, grad twice and out once; dq, dk, dv once; lse twice, delta written and read, 4 bytes a query and head.
It loses to one kernel with atomics where products bound it and nobody needs the same bits, by up to 7 : 5.
"""

import math

import torch
import triton
import triton.language as tl
from torch import Tensor

from workbench_kernels.launch import INTERPRETER, Launch, architecture, lookup, next_power_of_2
from workbench_kernels.triton_ops.attention_ranges import (
    key_range,
    load_tile,
    lowest_keys,
    query_range,
    row_offsets,
    sees,
)

LOG2_E = tl.constexpr(1.4426950408889634)


@triton.jit
def grad_q_kernel(
    q_pointer, k_pointer, v_pointer, starts, out_pointer, grad_pointer, lse_pointer, delta_pointer, dq_pointer,
    seq, kv_seq, heads, window, scale,
    stride_qb, stride_qh, stride_qs, stride_kb, stride_kh, stride_ks, stride_vb, stride_vh, stride_vs,
    stride_gb, stride_gh, stride_gs,
    UNIT: tl.constexpr, WIDE: tl.constexpr, GROUP: tl.constexpr, CAUSAL: tl.constexpr, WINDOWED: tl.constexpr,
    DOCUMENTS: tl.constexpr, PRECISION: tl.constexpr, HEAD_DIM: tl.constexpr, BLOCK_D: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    """One program makes dq and delta of BLOCK_M queries of a head; out and dq are (batch, seq, heads, HEAD_DIM)."""
    LIMITED: tl.constexpr = WINDOWED or DOCUMENTS
    blocks = tl.cdiv(seq, BLOCK_M)
    block = blocks - 1 - tl.program_id(0) % blocks  # the last queries see the most keys: they go first
    slice_ = tl.program_id(0) // blocks  # of the batch and the heads
    batch = (slice_ // heads).to(tl.int64)
    head = (slice_ % heads).to(tl.int64)
    first_query = block * BLOCK_M
    queries = first_query + tl.arange(0, BLOCK_M)
    columns = tl.arange(0, BLOCK_D)
    exists = (queries < seq)[:, None] & (columns < HEAD_DIM)[None, :]
    q_rows = batch * (stride_qb * UNIT) + head * (stride_qh * UNIT) + queries.to(tl.int64) * (stride_qs * UNIT)
    grad_rows = batch * (stride_gb * UNIT) + head * (stride_gh * UNIT) + queries.to(tl.int64) * (stride_gs * UNIT)
    out_rows = ((batch * seq + queries) * heads + head) * HEAD_DIM
    q = tl.load(q_pointer + q_rows[:, None] + columns[None, :], mask=exists, other=0.0)
    grad = tl.load(grad_pointer + grad_rows[:, None] + columns[None, :], mask=exists, other=0.0)
    out = tl.load(out_pointer + out_rows[:, None] + columns[None, :], mask=exists, other=0.0)
    statistics = (batch * heads + head) * seq + queries
    delta = tl.sum(out.to(tl.float32) * grad.to(tl.float32), 1)
    tl.store(delta_pointer + statistics, delta, mask=queries < seq)
    lse = tl.load(lse_pointer + statistics, mask=queries < seq, other=0.0)
    k_base = k_pointer + batch * (stride_kb * UNIT) + head // GROUP * (stride_kh * UNIT)
    v_base = v_pointer + batch * (stride_vb * UNIT) + head // GROUP * (stride_vh * UNIT)
    if DOCUMENTS:
        starts += batch * seq

    positions = queries + kv_seq - seq
    lowest = lowest_keys(queries, seq, kv_seq, window, starts, WINDOWED, DOCUMENTS)
    last_query = tl.minimum(first_query + BLOCK_M, seq) - 1
    first, whole, whole_end, end = key_range(
        first_query, last_query, seq, kv_seq, window, starts, CAUSAL, WINDOWED, DOCUMENTS, BLOCK_N
    )
    dq = tl.zeros((BLOCK_M, BLOCK_D), dtype=tl.float32)
    scale_2 = scale * LOG2_E
    IN_PARTS: tl.constexpr = not LIMITED or q_pointer.dtype.element_ty != tl.float32
    if not IN_PARTS:
        whole_end = first  # one loop, all of it masked: what three keep in registers would spill
    if LIMITED and IN_PARTS:
        dq = _add_grad_q(
            dq, q, grad, lse, delta, k_base, v_base, first, whole, positions, lowest, kv_seq, scale_2,
            stride_ks * UNIT, stride_vs * UNIT, WIDE, CAUSAL, LIMITED, True, PRECISION, HEAD_DIM, BLOCK_D, BLOCK_N,
        )  # fmt: skip
    if IN_PARTS:
        dq = _add_grad_q(
            dq, q, grad, lse, delta, k_base, v_base, whole, whole_end, positions, lowest, kv_seq, scale_2,
            stride_ks * UNIT, stride_vs * UNIT, WIDE, CAUSAL, LIMITED, False, PRECISION, HEAD_DIM, BLOCK_D, BLOCK_N,
        )  # fmt: skip
    dq = _add_grad_q(
        dq, q, grad, lse, delta, k_base, v_base, whole_end, end, positions, lowest, kv_seq, scale_2,
        stride_ks * UNIT, stride_vs * UNIT, WIDE, CAUSAL, LIMITED, True, PRECISION, HEAD_DIM, BLOCK_D, BLOCK_N,
    )  # fmt: skip
    dq = (dq * scale).to(dq_pointer.dtype.element_ty)
    tl.store(dq_pointer + out_rows[:, None] + columns[None, :], dq, mask=exists)


@triton.jit
def _add_grad_q(
    dq, q, grad, lse, delta, k_base, v_base, first, end, positions, lowest, kv_seq, scale_2, stride_ks, stride_vs,
    WIDE: tl.constexpr, CAUSAL: tl.constexpr, LIMITED: tl.constexpr, MASKED: tl.constexpr, PRECISION: tl.constexpr,
    HEAD_DIM: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    """dq with what flows through keys first to end."""
    columns = tl.arange(0, BLOCK_D)
    PADDED: tl.constexpr = HEAD_DIM < BLOCK_D
    for start in range(first, end, BLOCK_N):
        keys = start + tl.arange(0, BLOCK_N)
        k_pointers = k_base + row_offsets(keys, stride_ks, WIDE)[:, None] + columns[None, :]
        v_pointers = v_base + row_offsets(keys, stride_vs, WIDE)[:, None] + columns[None, :]
        k = load_tile(k_pointers, (keys < kv_seq)[:, None], (columns < HEAD_DIM)[None, :], MASKED, PADDED)
        v = load_tile(v_pointers, (keys < kv_seq)[:, None], (columns < HEAD_DIM)[None, :], MASKED, PADDED)
        scores = tl.dot(q, tl.trans(k), input_precision=PRECISION)
        p = tl.math.exp2(scores * scale_2 - lse[:, None])
        if MASKED:
            p = tl.where(sees(positions[:, None], lowest[:, None], keys[None, :], kv_seq, CAUSAL, LIMITED), p, 0.0)
        dp = tl.dot(grad, tl.trans(v), input_precision=PRECISION)
        ds = p * (dp - delta[:, None])
        dq = tl.dot(ds.to(k.dtype), k, dq, input_precision=PRECISION)
    return dq


@triton.jit
def grad_kv_kernel(
    q_pointer, k_pointer, v_pointer, starts, grad_pointer, lse_pointer, delta_pointer, dk_pointer, dv_pointer,
    seq, kv_seq, heads, window, scale,
    stride_qb, stride_qh, stride_qs, stride_kb, stride_kh, stride_ks, stride_vb, stride_vh, stride_vs,
    stride_gb, stride_gh, stride_gs,
    UNIT: tl.constexpr, WIDE: tl.constexpr, GROUP: tl.constexpr, CAUSAL: tl.constexpr, WINDOWED: tl.constexpr,
    DOCUMENTS: tl.constexpr, PRECISION: tl.constexpr, HEAD_DIM: tl.constexpr, BLOCK_D: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    """One program makes dk and dv of BLOCK_N keys of a head; both are (batch, kv_seq, kv_heads, HEAD_DIM)."""
    LIMITED: tl.constexpr = WINDOWED or DOCUMENTS
    blocks = tl.cdiv(kv_seq, BLOCK_N)
    first_key = tl.program_id(0) % blocks * BLOCK_N  # the first keys are seen by the most queries: they go first
    slice_ = tl.program_id(0) // blocks  # of the batch and the heads of keys
    kv_heads = heads // GROUP
    batch = (slice_ // kv_heads).to(tl.int64)
    kv_head = (slice_ % kv_heads).to(tl.int64)
    keys = first_key + tl.arange(0, BLOCK_N)
    columns = tl.arange(0, BLOCK_D)
    exists = (keys < kv_seq)[:, None] & (columns < HEAD_DIM)[None, :]
    k_rows = batch * (stride_kb * UNIT) + kv_head * (stride_kh * UNIT) + keys.to(tl.int64) * (stride_ks * UNIT)
    v_rows = batch * (stride_vb * UNIT) + kv_head * (stride_vh * UNIT) + keys.to(tl.int64) * (stride_vs * UNIT)
    k = tl.load(k_pointer + k_rows[:, None] + columns[None, :], mask=exists, other=0.0)
    v = tl.load(v_pointer + v_rows[:, None] + columns[None, :], mask=exists, other=0.0)
    if DOCUMENTS:
        starts += batch * seq

    last_key = tl.minimum(first_key + BLOCK_N, kv_seq) - 1
    first, whole, end = query_range(
        first_key, last_key, seq, kv_seq, window, starts, CAUSAL, WINDOWED, DOCUMENTS, BLOCK_M
    )
    dk = tl.zeros((BLOCK_N, BLOCK_D), dtype=tl.float32)
    dv = tl.zeros((BLOCK_N, BLOCK_D), dtype=tl.float32)
    scale_2 = scale * LOG2_E
    for member in range(GROUP):
        head = kv_head * GROUP + member
        q_base = q_pointer + batch * (stride_qb * UNIT) + head * (stride_qh * UNIT)
        grad_base = grad_pointer + batch * (stride_gb * UNIT) + head * (stride_gh * UNIT)
        lse_base = lse_pointer + (batch * heads + head) * seq
        delta_base = delta_pointer + (batch * heads + head) * seq
        if LIMITED:  # one loop: what two keep in registers would spill
            dk, dv = _add_grad_kv(
                dk, dv, k, v, q_base, grad_base, lse_base, delta_base, first, end, keys, seq, kv_seq, window,
                starts, scale_2, stride_qs * UNIT, stride_gs * UNIT, WIDE, CAUSAL, WINDOWED, DOCUMENTS, True, PRECISION,
                HEAD_DIM, BLOCK_D, BLOCK_M,
            )  # fmt: skip
        else:
            if CAUSAL:
                dk, dv = _add_grad_kv(
                    dk, dv, k, v, q_base, grad_base, lse_base, delta_base, first, whole, keys, seq, kv_seq, window,
                    starts, scale_2, stride_qs * UNIT, stride_gs * UNIT, WIDE, CAUSAL, WINDOWED, DOCUMENTS, True,
                    PRECISION, HEAD_DIM, BLOCK_D, BLOCK_M,
                )  # fmt: skip
            dk, dv = _add_grad_kv(
                dk, dv, k, v, q_base, grad_base, lse_base, delta_base, whole, end, keys, seq, kv_seq, window,
                starts, scale_2, stride_qs * UNIT, stride_gs * UNIT, WIDE, CAUSAL, WINDOWED, DOCUMENTS, False,
                PRECISION, HEAD_DIM, BLOCK_D, BLOCK_M,
            )  # fmt: skip
    rows = ((batch * kv_seq + keys) * kv_heads + kv_head) * HEAD_DIM
    dk = (dk * scale).to(dk_pointer.dtype.element_ty)
    tl.store(dk_pointer + rows[:, None] + columns[None, :], dk, mask=exists)
    tl.store(dv_pointer + rows[:, None] + columns[None, :], dv.to(dv_pointer.dtype.element_ty), mask=exists)


@triton.jit
def _add_grad_kv(
    dk, dv, k, v, q_base, grad_base, lse_base, delta_base, first, end, keys, seq, kv_seq, window, starts, scale_2,
    stride_qs, stride_gs, WIDE: tl.constexpr, CAUSAL: tl.constexpr, WINDOWED: tl.constexpr, DOCUMENTS: tl.constexpr,
    MASKED: tl.constexpr, PRECISION: tl.constexpr, HEAD_DIM: tl.constexpr, BLOCK_D: tl.constexpr,
    BLOCK_M: tl.constexpr,
):  # fmt: skip
    """dk and dv with what flows from queries first to end of one head, MASKED where some of them see only some keys.

    Scores are (keys, queries) here: what dk and dv multiply from the left needs no transposing then. Queries past the
    last add nothing, so that no loop of its own is needed for the last ones.
    """
    columns = tl.arange(0, BLOCK_D)
    PADDED: tl.constexpr = HEAD_DIM < BLOCK_D
    for start in range(first, end, BLOCK_M):
        queries = start + tl.arange(0, BLOCK_M)
        q_pointers = q_base + row_offsets(queries, stride_qs, WIDE)[:, None] + columns[None, :]
        grad_pointers = grad_base + row_offsets(queries, stride_gs, WIDE)[:, None] + columns[None, :]
        q = load_tile(q_pointers, (queries < seq)[:, None], (columns < HEAD_DIM)[None, :], True, PADDED)
        grad = load_tile(grad_pointers, (queries < seq)[:, None], (columns < HEAD_DIM)[None, :], True, PADDED)
        lse = tl.load(lse_base + queries, mask=queries < seq, other=float("inf"))  # of no query: a probability of 0
        delta = tl.load(delta_base + queries, mask=queries < seq, other=0.0)
        scores = tl.dot(k, tl.trans(q), input_precision=PRECISION)
        p = tl.math.exp2(scores * scale_2 - lse[None, :])
        if MASKED:
            lowest = lowest_keys(queries, seq, kv_seq, window, starts, WINDOWED, DOCUMENTS)
            positions = queries + kv_seq - seq
            LIMITED: tl.constexpr = WINDOWED or DOCUMENTS
            seen = sees(positions[None, :], lowest[None, :], keys[:, None], kv_seq, CAUSAL, LIMITED)
            p = tl.where(seen, p, 0.0)
        dv = tl.dot(p.to(grad.dtype), grad, dv, input_precision=PRECISION)
        dp = tl.dot(v, tl.trans(grad), input_precision=PRECISION)
        ds = p * (dp - delta[None, :])
        dk = tl.dot(ds.to(q.dtype), q, dk, input_precision=PRECISION)
    return dk, dv


# Blocks of queries and of keys, warps, stages; by the head size that they hold at most: of dq, then of dk and dv.
_Row = tuple[int, int, int, int]
_TABLE: dict[str, dict[int, tuple[_Row, _Row]]] = {
    "sm_80": {
        32: ((128, 64, 8, 2), (64, 128, 8, 2)),
        64: ((128, 64, 8, 2), (32, 128, 8, 2)),
        128: ((64, 64, 8, 2), (32, 64, 8, 2)),
    },
    "sm_86": {
        32: ((128, 64, 8, 2), (64, 128, 8, 2)),
        64: ((128, 64, 8, 2), (32, 128, 8, 2)),
        128: ((64, 64, 8, 2), (32, 64, 8, 2)),
    },
    "sm_90": {
        32: ((64, 64, 4, 2), (64, 64, 4, 2)),
        64: ((64, 64, 4, 2), (64, 128, 8, 2)),
        128: ((128, 64, 8, 2), (32, 128, 8, 2)),
    },
    "sm_100": {
        32: ((64, 64, 4, 2), (64, 128, 8, 2)),
        64: ((128, 64, 8, 2), (32, 128, 8, 2)),
        128: ((128, 64, 8, 2), (32, 128, 8, 1)),
    },
    "default": {
        32: ((64, 64, 4, 1), (64, 64, 4, 1)),
        64: ((64, 64, 4, 1), (32, 64, 4, 1)),
        128: ((64, 32, 4, 1), (32, 64, 4, 1)),
    },
}
# Of dk and dv with a window or documents, whose masks take registers, where the rows above would spill.
_LIMITED: dict[str, dict[int, _Row]] = {"sm_100": {32: (32, 128, 8, 2)}}
# Likewise of dk and dv for heads that are padded to the size, whose masks take registers too.
_PADDED: dict[str, dict[int, _Row]] = {"sm_90": {128: (32, 64, 8, 2)}, "sm_100": {}}
_WIDE = {
    32: ((16, 32, 4, 1), (16, 16, 4, 1)),
    64: ((32, 32, 8, 1), (32, 32, 8, 1)),
    128: ((16, 32, 8, 1), (16, 16, 8, 1)),
}
_SMALL: dict[int, tuple[_Row, _Row]] = {
    32: ((16, 16, 4, 1), (16, 16, 4, 1)),
    64: ((16, 16, 4, 1), (16, 16, 4, 1)),
    128: ((16, 16, 4, 1), (16, 16, 8, 1)),
}
_FLOAT32: dict[str, dict[int, tuple[_Row, _Row]]] = {
    "sm_80": _WIDE,
    "sm_86": _WIDE,
    "sm_100": _SMALL | {32: ((16, 16, 4, 1), (16, 16, 8, 1))},
    "default": _SMALL,
}
_INTERPRETED: tuple[_Row, _Row] = ((32, 16, 4, 1), (16, 32, 4, 1))


def launches(architecture: str) -> dict[str, Launch]:
    """Every launch the table can pick, by kernel, whether for float32, and the largest head size."""
    found: dict[str, Launch] = {}
    for kind in ("half", "float32"):
        for size in (32, 64, 128):
            of_q, of_kv = _launches(architecture, kind, size)
            found |= {f"grad_q {kind} {size}": of_q, f"grad_kv {kind} {size}": of_kv}
            found[f"grad_kv {kind} {size} limited"] = _launches(architecture, kind, size, limited=True)[1]
            found[f"grad_kv {kind} {size} padded"] = _launches(architecture, kind, size, padded=True)[1]
    return found


def _launches(
    architecture: str, kind: str, size: int, limited: bool = False, padded: bool = False
) -> tuple[Launch, Launch]:
    """Of dq, and of dk and dv; `limited` by a window or documents, heads `padded` to the size."""
    if architecture == INTERPRETER:
        rows = _INTERPRETED
    else:
        rows = lookup(_FLOAT32 if kind == "float32" else _TABLE, architecture)[size]
        for table, applies in ((_PADDED, padded), (_LIMITED, limited)):
            if applies and kind == "half":
                rows = rows[0], lookup({"default": {}} | table, architecture).get(size, rows[1])
    note = f"{kind}, head sizes up to {size}"
    of_q, of_kv = (Launch({"BLOCK_M": m, "BLOCK_N": n}, warps, stages, note) for m, n, warps, stages in rows)
    return of_q, of_kv


def size_class(q: Tensor) -> int:
    """The largest head size of the row of the table for q."""
    return max(32, next_power_of_2(q.shape[3]))


def with_adjacent_columns(x: Tensor) -> Tensor:
    """x itself, whatever its strides, unless the numbers of a head lie apart."""
    return x if x.stride(3) == 1 or x.shape[3] == 1 else x.contiguous()


def like_projection(x: Tensor) -> Tensor:
    """An empty tensor shaped as x (batch, heads, seq, head_dim), laid out as the next projection reads it."""
    batch, heads, seq, head_dim = x.shape
    return x.new_empty(batch, seq, heads, head_dim).transpose(1, 2)


def strides_of(*tensors: Tensor) -> tuple[list[int], dict[str, int | bool]]:
    """Strides by batch, head and row in multiples of a unit, and how kernels should take them."""
    strides = [
        stride if size > 1 else 0
        for tensor in tensors
        for size, stride in zip(tensor.shape[:3], tensor.stride()[:3], strict=True)
    ]
    unit = math.gcd(16, *strides)  # 16: more would not make a load wider
    # A block may reach past the last row, where nothing is loaded but offsets are still computed.
    farthest = max(tensor.stride(2) * (tensor.shape[2] + 256) for tensor in tensors)
    return [stride // unit for stride in strides], {"UNIT": unit, "WIDE": farthest >= 2**31}


def constants(q: Tensor) -> dict[str, int | str]:
    """The compile-time arguments that hang on the head size and the dtype."""
    precision = "tf32"  # of half precision, all products are exact
    if q.dtype == torch.float32 and not torch.backends.cuda.matmul.allow_tf32:
        precision = "ieee" if torch.version.hip is not None else "tf32x3"
    head_dim = q.shape[3]
    return {"HEAD_DIM": head_dim, "BLOCK_D": max(16, next_power_of_2(head_dim)), "PRECISION": precision}


@torch.library.custom_op("workbench_kernels::attention_backward", mutates_args=())
def attention_backward(
    grad: Tensor, q: Tensor, k: Tensor, v: Tensor, starts: Tensor | None, out: Tensor, lse: Tensor,
    causal: bool, window: int | None,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    q, k, v, grad = (with_adjacent_columns(each) for each in (q, k, v, grad))
    batch, heads, seq, head_dim = q.shape
    kv_heads, kv_seq = k.shape[1:3]
    delta = torch.empty_like(lse)
    dq, dk, dv = like_projection(q), like_projection(k), like_projection(v)
    kind = "float32" if q.dtype == torch.float32 else "half"
    limited = window is not None or starts is not None
    padded = head_dim < size_class(q)
    of_q, of_kv = _launches(architecture(q.device), kind, size_class(q), limited, padded)
    strides, layout = strides_of(q, k, v, grad)
    sizes = (seq, kv_seq, heads, window or 0, head_dim**-0.5, *strides)
    options = {
        **layout, "GROUP": heads // kv_heads, "CAUSAL": causal, "WINDOWED": window is not None,
        "DOCUMENTS": starts is not None, **constants(q),
    }  # fmt: skip
    if dq.numel():
        out = out.transpose(1, 2).contiguous()  # as it comes from the forward pass: not a copy
        grid = (triton.cdiv(seq, of_q.blocks["BLOCK_M"]) * batch * heads,)
        grad_q_kernel[grid](q, k, v, starts, out, grad, lse, delta, dq, *sizes, **options, **of_q.options())
    if dk.numel():
        grid = (triton.cdiv(kv_seq, of_kv.blocks["BLOCK_N"]) * batch * kv_heads,)
        grad_kv_kernel[grid](q, k, v, starts, grad, lse, delta, dk, dv, *sizes, **options, **of_kv.options())
    return dq, dk, dv


@attention_backward.register_fake
def _(
    grad: Tensor, q: Tensor, k: Tensor, v: Tensor, starts: Tensor | None, out: Tensor, lse: Tensor,
    causal: bool, window: int | None,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    return like_projection(q), like_projection(k), like_projection(v)
