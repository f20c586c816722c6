"""Rotary positions for q and k in one launch, alone or after the norm of every head.

Saved for backward: the tables; with the norm also q, k and their weights, from which everything is made again.
Moved, at two bytes an element of q and k: 4 bytes forward and backward, with the norm 6 backward; and the halves of
the float32 tables once for every few heads, from the cache after the first.
Loses where a step has few tokens (decoding): one launch for very little work. Heads whose half is no power of two
leave lanes idle.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from workbench_kernels.launch import INTERPRETER, Launch, architecture, next_power_of_2
from workbench_kernels.reference import compute_dtype
from workbench_kernels.triton_ops.rms_norm import resident_programs, sum_parts


@triton.jit
def tile_mask(row_exists, SIZE: tl.constexpr, BLOCK: tl.constexpr):
    if SIZE == BLOCK:
        return row_exists[:, None]
    else:  # the compiler reads on after a return
        return row_exists[:, None] & (tl.arange(0, BLOCK) < SIZE)[None, :]


@triton.jit
def load_tile(source, rows, row_exists, first: tl.constexpr, SIZE: tl.constexpr, BLOCK: tl.constexpr):
    """SIZE elements from `first` on of each row, which starts at its offset in rows."""
    offsets = rows[:, None] + (first + tl.arange(0, BLOCK))[None, :]
    return tl.load(source + offsets, mask=tile_mask(row_exists, SIZE, BLOCK), other=0.0).to(tl.float32)


@triton.jit
def store_tile(target, rows, row_exists, values, first: tl.constexpr, SIZE: tl.constexpr, BLOCK: tl.constexpr):
    offsets = rows[:, None] + (first + tl.arange(0, BLOCK))[None, :]
    tl.store(target + offsets, values.to(target.dtype.element_ty), mask=tile_mask(row_exists, SIZE, BLOCK))


@triton.jit
def load_weight(weight, first: tl.constexpr, SIZE: tl.constexpr, BLOCK: tl.constexpr):
    lanes = tl.arange(0, BLOCK)
    return tl.load(weight + first + lanes, mask=lanes < SIZE, other=0.0).to(tl.float32)[None, :]


@triton.jit
def rows_of(tokens, seq, head, batch_stride, head_stride, seq_stride):
    """Where one head of each token starts."""
    return (tokens // seq).to(tl.int64) * batch_stride + head * head_stride + (tokens % seq) * seq_stride


@triton.jit
def turn_heads(
    x, out, weight, cosines, sines, tokens, token_exists, seq, first_head, heads,
    batch_stride, head_stride, seq_stride, eps,
    NORM: tl.constexpr, HALF: tl.constexpr, REST: tl.constexpr,
    BLOCK_HEADS: tl.constexpr, BLOCK_HALF: tl.constexpr, BLOCK_REST: tl.constexpr,
):  # fmt: skip
    HEAD_DIM: tl.constexpr = 2 * HALF + REST
    if NORM:
        real_weight = load_weight(weight, 0, HALF, BLOCK_HALF)
        imaginary_weight = load_weight(weight, HALF, HALF, BLOCK_HALF)
        if REST > 0:
            rest_weight = load_weight(weight, 2 * HALF, REST, BLOCK_REST)
    for step in tl.static_range(BLOCK_HEADS):
        head = (first_head + step).to(tl.int64)
        exists = token_exists & (head < heads)
        rows = rows_of(tokens, seq, head, batch_stride, head_stride, seq_stride)
        out_rows = (tokens.to(tl.int64) * heads + head) * HEAD_DIM
        real = load_tile(x, rows, exists, 0, HALF, BLOCK_HALF)
        imaginary = load_tile(x, rows, exists, HALF, HALF, BLOCK_HALF)
        if REST > 0:
            rest = load_tile(x, rows, exists, 2 * HALF, REST, BLOCK_REST)
        if NORM:
            squares = tl.sum(real * real + imaginary * imaginary, axis=1)
            if REST > 0:
                squares += tl.sum(rest * rest, axis=1)
            scale = tl.math.rsqrt(squares / HEAD_DIM + eps)[:, None]
            real *= scale * real_weight
            imaginary *= scale * imaginary_weight
            if REST > 0:
                rest *= scale * rest_weight
        store_tile(out, out_rows, exists, real * cosines - imaginary * sines, 0, HALF, BLOCK_HALF)
        store_tile(out, out_rows, exists, imaginary * cosines + real * sines, HALF, HALF, BLOCK_HALF)
        if REST > 0:
            store_tile(out, out_rows, exists, rest, 2 * HALF, REST, BLOCK_REST)


@triton.jit
def rotary_kernel(
    q, k, q_out, k_out, q_weight, k_weight, cos, sin, token_count, seq, table_stride, heads, kv_heads,
    q_batch, q_head, q_seq, k_batch, k_head, k_seq, eps,
    NORM: tl.constexpr, BACKWARD: tl.constexpr, HALF: tl.constexpr, REST: tl.constexpr, BLOCK_TOKENS: tl.constexpr,
    BLOCK_HEADS: tl.constexpr, BLOCK_HALF: tl.constexpr, BLOCK_REST: tl.constexpr,
):  # fmt: skip
    """One program turns BLOCK_HEADS heads of q or of k at BLOCK_TOKENS tokens; backward turns the other way.

    The outputs are (batch, seq, heads, head_dim) in memory. The second half of a table's row repeats the first, and
    stays unread.
    """
    tokens = tl.program_id(0) * BLOCK_TOKENS + tl.arange(0, BLOCK_TOKENS)
    token_exists = tokens < token_count
    angles = (tokens % seq) * table_stride
    cosines = load_tile(cos, angles, token_exists, 0, HALF, BLOCK_HALF)
    sines = load_tile(sin, angles, token_exists, 0, HALF, BLOCK_HALF)
    if BACKWARD:
        sines = -sines
    first_head = tl.program_id(1) * BLOCK_HEADS
    if first_head < heads:
        turn_heads(
            q, q_out, q_weight, cosines, sines, tokens, token_exists, seq, first_head, heads,
            q_batch, q_head, q_seq, eps, NORM, HALF, REST, BLOCK_HEADS, BLOCK_HALF, BLOCK_REST,
        )  # fmt: skip
    else:
        first_head -= tl.cdiv(heads, BLOCK_HEADS) * BLOCK_HEADS
        turn_heads(
            k, k_out, k_weight, cosines, sines, tokens, token_exists, seq, first_head, kv_heads,
            k_batch, k_head, k_seq, eps, NORM, HALF, REST, BLOCK_HEADS, BLOCK_HALF, BLOCK_REST,
        )  # fmt: skip


@triton.jit
def normed_heads_backward(
    grad, x, grad_x, weight, parts, cos, sin, token_count, seq, table_stride, heads,
    grad_batch, grad_head, grad_seq, x_batch, x_head, x_seq, eps,
    HALF: tl.constexpr, REST: tl.constexpr, BLOCK_TOKENS: tl.constexpr, BLOCK_HEADS: tl.constexpr,
    BLOCK_HALF: tl.constexpr, BLOCK_REST: tl.constexpr,
):  # fmt: skip
    """Gradients of every so many blocks of heads of q or of k, and this program's part of the weight's."""
    HEAD_DIM: tl.constexpr = 2 * HALF + REST
    real_weight = load_weight(weight, 0, HALF, BLOCK_HALF)
    imaginary_weight = load_weight(weight, HALF, HALF, BLOCK_HALF)
    real_part = tl.zeros((BLOCK_TOKENS, BLOCK_HALF), dtype=tl.float32)
    imaginary_part = tl.zeros((BLOCK_TOKENS, BLOCK_HALF), dtype=tl.float32)
    if REST > 0:
        rest_weight = load_weight(weight, 2 * HALF, REST, BLOCK_REST)
        rest_part = tl.zeros((BLOCK_TOKENS, BLOCK_REST), dtype=tl.float32)
    head_blocks = tl.cdiv(heads, BLOCK_HEADS)
    work = tl.cdiv(token_count, BLOCK_TOKENS) * head_blocks
    for item in range(tl.program_id(0), work, tl.num_programs(0)):
        tokens = item // head_blocks * BLOCK_TOKENS + tl.arange(0, BLOCK_TOKENS)
        token_exists = tokens < token_count
        angles = (tokens % seq) * table_stride
        cosines = load_tile(cos, angles, token_exists, 0, HALF, BLOCK_HALF)
        sines = load_tile(sin, angles, token_exists, 0, HALF, BLOCK_HALF)
        for step in tl.static_range(BLOCK_HEADS):
            head = (item % head_blocks * BLOCK_HEADS + step).to(tl.int64)
            exists = token_exists & (head < heads)
            grad_rows = rows_of(tokens, seq, head, grad_batch, grad_head, grad_seq)
            x_rows = rows_of(tokens, seq, head, x_batch, x_head, x_seq)
            out_rows = (tokens.to(tl.int64) * heads + head) * HEAD_DIM
            real = load_tile(x, x_rows, exists, 0, HALF, BLOCK_HALF)
            imaginary = load_tile(x, x_rows, exists, HALF, HALF, BLOCK_HALF)
            turned_real = load_tile(grad, grad_rows, exists, 0, HALF, BLOCK_HALF)
            turned_imaginary = load_tile(grad, grad_rows, exists, HALF, HALF, BLOCK_HALF)
            upstream_real = turned_real * cosines + turned_imaginary * sines
            upstream_imaginary = turned_imaginary * cosines - turned_real * sines
            squares = tl.sum(real * real + imaginary * imaginary, axis=1)
            if REST > 0:
                rest = load_tile(x, x_rows, exists, 2 * HALF, REST, BLOCK_REST)
                upstream_rest = load_tile(grad, grad_rows, exists, 2 * HALF, REST, BLOCK_REST)
                squares += tl.sum(rest * rest, axis=1)
            scale = tl.math.rsqrt(squares / HEAD_DIM + eps)[:, None]
            real *= scale
            imaginary *= scale
            real_part += upstream_real * real
            imaginary_part += upstream_imaginary * imaginary
            wide_real, wide_imaginary = upstream_real * real_weight, upstream_imaginary * imaginary_weight
            mean = tl.sum(wide_real * real + wide_imaginary * imaginary, axis=1)
            if REST > 0:
                rest *= scale
                rest_part += upstream_rest * rest
                wide_rest = upstream_rest * rest_weight
                mean += tl.sum(wide_rest * rest, axis=1)
            mean = mean[:, None] / HEAD_DIM
            store_tile(grad_x, out_rows, exists, (wide_real - real * mean) * scale, 0, HALF, BLOCK_HALF)
            result = (wide_imaginary - imaginary * mean) * scale
            store_tile(grad_x, out_rows, exists, result, HALF, HALF, BLOCK_HALF)
            if REST > 0:
                store_tile(grad_x, out_rows, exists, (wide_rest - rest * mean) * scale, 2 * HALF, REST, BLOCK_REST)
    lanes = tl.arange(0, BLOCK_HALF)
    tl.store(parts + lanes, tl.sum(real_part, axis=0), mask=lanes < HALF)
    tl.store(parts + HALF + lanes, tl.sum(imaginary_part, axis=0), mask=lanes < HALF)
    if REST > 0:
        lanes = tl.arange(0, BLOCK_REST)
        tl.store(parts + 2 * HALF + lanes, tl.sum(rest_part, axis=0), mask=lanes < REST)


@triton.jit
def qk_norm_rotary_backward_kernel(
    grad_q, grad_k, q, k, q_out, k_out, q_weight, k_weight, parts, cos, sin,
    token_count, seq, table_stride, heads, kv_heads,
    gq_batch, gq_head, gq_seq, gk_batch, gk_head, gk_seq, q_batch, q_head, q_seq, k_batch, k_head, k_seq, eps,
    HALF: tl.constexpr, REST: tl.constexpr, BLOCK_TOKENS: tl.constexpr, BLOCK_HEADS: tl.constexpr,
    BLOCK_HALF: tl.constexpr, BLOCK_REST: tl.constexpr,
):  # fmt: skip
    """A program stays: it takes blocks of q, then of k, in strides of the grid. A row of parts is q's, then k's."""
    HEAD_DIM: tl.constexpr = 2 * HALF + REST
    own_parts = parts + tl.program_id(0).to(tl.int64) * (2 * HEAD_DIM)
    normed_heads_backward(
        grad_q, q, q_out, q_weight, own_parts, cos, sin, token_count, seq, table_stride, heads,
        gq_batch, gq_head, gq_seq, q_batch, q_head, q_seq, eps,
        HALF, REST, BLOCK_TOKENS, BLOCK_HEADS, BLOCK_HALF, BLOCK_REST,
    )  # fmt: skip
    normed_heads_backward(
        grad_k, k, k_out, k_weight, own_parts + HEAD_DIM, cos, sin, token_count, seq, table_stride, kv_heads,
        gk_batch, gk_head, gk_seq, k_batch, k_head, k_seq, eps,
        HALF, REST, BLOCK_TOKENS, BLOCK_HEADS, BLOCK_HALF, BLOCK_REST,
    )  # fmt: skip


_WIDEST_HALF = 256
"""Of the heads that the table lists; wider ones are launched alike, with fewer tokens."""

_TILE = 1024
"""Elements of half a head over a block of tokens: with four warps one 128-bit load of bf16 a thread."""


_HEADS = {"turn": 4, "norm": 2, "norm backward": 1}
"""Heads of a program, by kernel: they share the angles, and all their loads are in flight at once, in registers."""


def launches(architecture: str) -> dict[str, Launch]:
    """Every launch the table can pick, by kernel and width of the part of a head that turns."""
    halves = [1 << exponent for exponent in range(_WIDEST_HALF.bit_length())]
    return {f"{kernel} {2 * half}": _launch(architecture, kernel, half) for kernel in _HEADS for half in halves}


def _launch(architecture: str, kernel: str, half: int) -> Launch:
    block = next_power_of_2(half)
    if architecture == INTERPRETER:
        return Launch({"BLOCK_TOKENS": 8, "BLOCK_HEADS": 2, "BLOCK_HALF": block})
    tokens = max(1, min(64, _TILE // block))
    blocks = {"BLOCK_TOKENS": tokens, "BLOCK_HEADS": _HEADS[kernel], "BLOCK_HALF": block}
    return Launch(blocks, 2 if architecture.startswith("gfx9") else 4, 1, f"heads of up to {2 * block}")


def _sizes(kernel: str, q: Tensor, cos: Tensor) -> tuple[Launch, dict[str, int]]:
    """The launch for heads as those of q, and its compile-time arguments."""
    half, rest = cos.shape[-1] // 2, q.shape[-1] - cos.shape[-1]
    launch = _launch(architecture(q.device), kernel, half)
    return launch, {"HALF": half, "REST": rest, "BLOCK_REST": next_power_of_2(rest), **launch.options()}


def _adjacent(x: Tensor) -> Tensor:
    """x with the elements of a head side by side, as they nearly always are."""
    return x if x.stride(-1) == 1 else x.contiguous()


def _like_projection(x: Tensor, dtype: torch.dtype) -> Tensor:
    """An empty tensor shaped as `x` (batch, heads, seq, head_dim), laid out as the projection before it makes it."""
    batch, heads, seq, head_dim = x.shape
    return torch.empty(batch, seq, heads, head_dim, dtype=dtype, device=x.device).transpose(1, 2)


def _tables(cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor]:
    """The tables with equal strides."""
    whole = cos.stride() == sin.stride() and cos.stride(-1) == 1
    return (cos, sin) if whole else (cos.contiguous(), sin.contiguous())


def _turned(
    q: Tensor, k: Tensor, cos: Tensor, sin: Tensor, dtypes: tuple[torch.dtype, torch.dtype], *, backward: bool = False,
    weights: tuple[Tensor, Tensor] | None = None, eps: float = 0.0,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    q_out, k_out = _like_projection(q, dtypes[0]), _like_projection(k, dtypes[1])
    if not q.numel() and not k.numel():
        return q_out, k_out
    q, k, (cos, sin) = _adjacent(q), _adjacent(k), _tables(cos, sin)
    batch, heads, seq, _ = q.shape
    kv_heads, tokens = k.shape[1], batch * seq
    launch, sizes = _sizes("norm" if weights else "turn", q, cos)
    by_heads = launch.blocks["BLOCK_HEADS"]
    grid = (
        triton.cdiv(tokens, launch.blocks["BLOCK_TOKENS"]),
        triton.cdiv(heads, by_heads) + triton.cdiv(kv_heads, by_heads),
    )
    rotary_kernel[grid](
        q, k, q_out, k_out, *(weights or (q, k)), cos, sin, tokens, seq, cos.stride(0), heads, kv_heads,
        *q.stride()[:3], *k.stride()[:3], eps, NORM=weights is not None, BACKWARD=backward, **sizes,
    )  # fmt: skip
    return q_out, k_out


@torch.library.custom_op("workbench_kernels::rotary", mutates_args=())
def _rotary(q: Tensor, k: Tensor, cos: Tensor, sin: Tensor, backward: bool) -> tuple[Tensor, Tensor]:
    return _turned(q, k, cos, sin, (q.dtype, k.dtype), backward=backward)


@_rotary.register_fake
def _(q: Tensor, k: Tensor, cos: Tensor, sin: Tensor, backward: bool) -> tuple[Tensor, Tensor]:
    return _like_projection(q, q.dtype), _like_projection(k, k.dtype)


def _save_tables(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    ctx.save_for_backward(inputs[2], inputs[3])
    ctx.backward_was = inputs[4]


def _rotary_grads(ctx: Any, grad_q: Tensor, grad_k: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
    return *_rotary(grad_q, grad_k, *ctx.saved_tensors, not ctx.backward_was), None, None, None


_rotary.register_autograd(_rotary_grads, setup_context=_save_tables)


@torch.library.custom_op("workbench_kernels::qk_norm_rotary", mutates_args=())
def _qk_norm_rotary(
    q: Tensor, k: Tensor, q_weight: Tensor, k_weight: Tensor, cos: Tensor, sin: Tensor, eps: float,
    q_dtype: torch.dtype, k_dtype: torch.dtype,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    weights = (q_weight.contiguous(), k_weight.contiguous())
    return _turned(q, k, cos, sin, (q_dtype, k_dtype), weights=weights, eps=eps)


@_qk_norm_rotary.register_fake
def _(
    q: Tensor, k: Tensor, q_weight: Tensor, k_weight: Tensor, cos: Tensor, sin: Tensor, eps: float,
    q_dtype: torch.dtype, k_dtype: torch.dtype,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    return _like_projection(q, q_dtype), _like_projection(k, k_dtype)


@torch.library.custom_op("workbench_kernels::qk_norm_rotary_backward", mutates_args=())
def _qk_norm_rotary_backward(
    grad_q: Tensor, grad_k: Tensor, q: Tensor, k: Tensor, q_weight: Tensor, k_weight: Tensor, cos: Tensor, sin: Tensor,
    eps: float,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """The gradients of q, of k, and of both weights side by side in float32."""
    q_out, k_out = _like_projection(q, q.dtype), _like_projection(k, k.dtype)
    batch, heads, seq, head_dim = q.shape
    kv_heads, tokens = k.shape[1], batch * seq
    if not q.numel() and not k.numel():
        return q_out, k_out, torch.zeros(2 * head_dim, device=q.device)
    grad_q, grad_k, q, k, (cos, sin) = *map(_adjacent, (grad_q, grad_k, q, k)), _tables(cos, sin)
    launch, sizes = _sizes("norm backward", q, cos)
    blocks = triton.cdiv(tokens, launch.blocks["BLOCK_TOKENS"]) * triton.cdiv(heads, launch.blocks["BLOCK_HEADS"])
    programs = min(blocks, resident_programs(q, launch.num_warps))
    parts = torch.empty(programs, 2 * head_dim, dtype=torch.float32, device=q.device)
    qk_norm_rotary_backward_kernel[(programs,)](
        grad_q, grad_k, q, k, q_out, k_out, q_weight.contiguous(), k_weight.contiguous(), parts, cos, sin,
        tokens, seq, cos.stride(0), heads, kv_heads,
        *grad_q.stride()[:3], *grad_k.stride()[:3], *q.stride()[:3], *k.stride()[:3], eps, **sizes,
    )  # fmt: skip
    return q_out, k_out, sum_parts(parts, torch.float32)


@_qk_norm_rotary_backward.register_fake
def _(
    grad_q: Tensor, grad_k: Tensor, q: Tensor, k: Tensor, q_weight: Tensor, k_weight: Tensor, cos: Tensor, sin: Tensor,
    eps: float,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    weights = torch.empty(2 * q.shape[-1], dtype=torch.float32, device=q.device)
    return _like_projection(q, q.dtype), _like_projection(k, k.dtype), weights


def _save_heads(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    ctx.save_for_backward(*inputs[:6])
    ctx.eps = inputs[6]


def _qk_norm_rotary_grads(ctx: Any, grad_q: Tensor, grad_k: Tensor) -> tuple[Tensor | None, ...]:
    q_weight, k_weight = ctx.saved_tensors[2:4]
    q_grad, k_grad, weights = _qk_norm_rotary_backward(grad_q, grad_k, *ctx.saved_tensors, ctx.eps)
    for_q, for_k = weights.chunk(2)
    nothing = (None,) * 5
    return q_grad, k_grad, for_q.to(q_weight.dtype), for_k.to(k_weight.dtype), *nothing


_qk_norm_rotary.register_autograd(_qk_norm_rotary_grads, setup_context=_save_heads)


def apply_rotary(q: Tensor, k: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor]:
    return _rotary(q, k, cos, sin, False)


def qk_norm_rotary(
    q: Tensor, k: Tensor, q_weight: Tensor, k_weight: Tensor, cos: Tensor, sin: Tensor, eps: float
) -> tuple[Tensor, Tensor]:
    return _qk_norm_rotary(q, k, q_weight, k_weight, cos, sin, eps, compute_dtype(q), compute_dtype(k))
