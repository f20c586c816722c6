"""RMSNorm, alone or fused with the residual addition before it.

Saved for backward: x (or the sum), the weight, and one float32 a row.
Moved, at two bytes an element and per row of hidden_size: forward 4 bytes an element, with the addition 8; backward 6,
with the gradient of the sum 8; and the weight's gradient as one float32 row of each program, written and read once.
Loses where a row is short and rows are few: a launch costs more than the work. Rows wider than a block are read twice,
the second time from the cache where they fit; their weight's gradient needs a third pass.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from workbench_kernels.launch import INTERPRETER, Launch, architecture, multiprocessors, next_power_of_2
from workbench_kernels.reference import compute_dtype


@triton.jit
def load_rows(source, rows, stride, columns, mask):
    return tl.load(source + rows[:, None] * stride + columns[None, :], mask=mask, other=0.0).to(tl.float32)


@triton.jit
def tile_mask(row_exists, columns, HIDDEN: tl.constexpr, BLOCK_HIDDEN: tl.constexpr):
    if HIDDEN % BLOCK_HIDDEN == 0:
        return row_exists[:, None]
    else:  # the compiler reads on after a return
        return row_exists[:, None] & (columns < HIDDEN)[None, :]


@triton.jit
def load_weight(weight, columns, HIDDEN: tl.constexpr):
    return tl.load(weight + columns, mask=columns < HIDDEN, other=0.0).to(tl.float32)


@triton.jit
def load_sum(x, residual, total, rows, x_stride, residual_stride, columns, mask, HAS_RESIDUAL: tl.constexpr):
    """A tile of x, or of x + residual rounded as it is stored."""
    values = load_rows(x, rows, x_stride, columns, mask)
    if HAS_RESIDUAL:
        values += load_rows(residual, rows, residual_stride, columns, mask)
        values = values.to(total.dtype.element_ty).to(tl.float32)
    return values


@triton.jit
def rms_norm_kernel(
    x, residual, weight, out, total, inverse_rms, row_count, x_stride, residual_stride, eps,
    HAS_RESIDUAL: tl.constexpr, HIDDEN: tl.constexpr, BLOCK_ROWS: tl.constexpr, BLOCK_HIDDEN: tl.constexpr,
):  # fmt: skip
    """One program norms BLOCK_ROWS rows; out and total are contiguous."""
    rows = tl.program_id(0).to(tl.int64) * BLOCK_ROWS + tl.arange(0, BLOCK_ROWS)
    row_exists = rows < row_count
    first = tl.arange(0, BLOCK_HIDDEN)
    if HIDDEN <= BLOCK_HIDDEN:
        mask = tile_mask(row_exists, first, HIDDEN, BLOCK_HIDDEN)
        values = load_sum(x, residual, total, rows, x_stride, residual_stride, first, mask, HAS_RESIDUAL)
        squares = tl.sum(values * values, axis=1)
    else:
        products = tl.zeros((BLOCK_ROWS, BLOCK_HIDDEN), dtype=tl.float32)
        for start in range(0, HIDDEN, BLOCK_HIDDEN):
            mask = tile_mask(row_exists, start + first, HIDDEN, BLOCK_HIDDEN)
            values = load_sum(x, residual, total, rows, x_stride, residual_stride, start + first, mask, HAS_RESIDUAL)
            products += values * values
        squares = tl.sum(products, axis=1)
    scale = tl.math.rsqrt(squares / HIDDEN + eps)
    tl.store(inverse_rms + rows, scale, mask=row_exists)
    if HIDDEN <= BLOCK_HIDDEN:
        offsets = rows[:, None] * HIDDEN + first[None, :]
        normed = values * scale[:, None] * load_weight(weight, first, HIDDEN)[None, :]
        if HAS_RESIDUAL:
            tl.store(total + offsets, values.to(total.dtype.element_ty), mask=mask)
        tl.store(out + offsets, normed.to(out.dtype.element_ty), mask=mask)
    else:
        # The sum is made again, not read back: nothing orders a read after another thread's write.
        for start in range(0, HIDDEN, BLOCK_HIDDEN):
            columns = start + first
            mask = tile_mask(row_exists, columns, HIDDEN, BLOCK_HIDDEN)
            values = load_sum(x, residual, total, rows, x_stride, residual_stride, columns, mask, HAS_RESIDUAL)
            offsets = rows[:, None] * HIDDEN + columns[None, :]
            normed = values * scale[:, None] * load_weight(weight, columns, HIDDEN)[None, :]
            if HAS_RESIDUAL:
                tl.store(total + offsets, values.to(total.dtype.element_ty), mask=mask)
            tl.store(out + offsets, normed.to(out.dtype.element_ty), mask=mask)


@triton.jit
def rms_norm_backward_kernel(
    grad, x, weight, inverse_rms, grad_total, grad_x, weight_parts, row_count, grad_stride, x_stride, total_stride,
    HAS_TOTAL: tl.constexpr, HAS_WEIGHT: tl.constexpr, HIDDEN: tl.constexpr,
    BLOCK_ROWS: tl.constexpr, BLOCK_HIDDEN: tl.constexpr,
):  # fmt: skip
    """The gradient of x, rows of one block. A program stays: it takes rows in strides of the grid, and sums its part
    of the weight's gradient in registers."""
    columns = tl.arange(0, BLOCK_HIDDEN)
    # Repeated for every row of the block, so that a thread holds the columns it works on and reads 128 bits of them.
    places = tl.broadcast_to(columns[None, :], (BLOCK_ROWS, BLOCK_HIDDEN))
    scales = tl.load(weight + places, mask=places < HIDDEN, other=0.0).to(tl.float32)
    weight_part = tl.zeros((BLOCK_ROWS, BLOCK_HIDDEN), dtype=tl.float32)
    rows = tl.arange(0, BLOCK_ROWS)
    for block in range(tl.program_id(0), tl.cdiv(row_count, BLOCK_ROWS), tl.num_programs(0)):
        first = block * BLOCK_ROWS
        row_exists = first + rows < row_count
        first = first.to(
            tl.int64
        )  # of a scalar: every thread's own offsets stay within the block, in half the registers
        mask = tile_mask(row_exists, columns, HIDDEN, BLOCK_HIDDEN)
        upstream = load_rows(grad + first * grad_stride, rows, grad_stride, columns, mask)
        values = load_rows(x + first * x_stride, rows, x_stride, columns, mask)
        scale = tl.load(inverse_rms + first + rows, mask=row_exists, other=0.0)[:, None]
        normed = values * scale
        wide = upstream * scales
        mean = tl.sum(wide * normed, axis=1)[:, None] / HIDDEN
        result = (wide - normed * mean) * scale
        if HAS_TOTAL:
            result += load_rows(grad_total + first * total_stride, rows, total_stride, columns, mask)
        offsets = rows[:, None] * HIDDEN + columns[None, :]
        tl.store(grad_x + first * HIDDEN + offsets, result.to(grad_x.dtype.element_ty), mask=mask)
        if HAS_WEIGHT:
            weight_part += upstream * normed
    if HAS_WEIGHT:
        part = weight_parts + tl.program_id(0).to(tl.int64) * HIDDEN + columns
        tl.store(part, tl.sum(weight_part, axis=0), mask=columns < HIDDEN)


@triton.jit
def rms_norm_backward_wide_kernel(
    grad, x, weight, inverse_rms, grad_total, grad_x, row_count, grad_stride, x_stride, total_stride,
    HAS_TOTAL: tl.constexpr, HIDDEN: tl.constexpr, BLOCK_ROWS: tl.constexpr, BLOCK_HIDDEN: tl.constexpr,
):  # fmt: skip
    """The gradient of x, rows of several blocks."""
    rows = tl.program_id(0).to(tl.int64) * BLOCK_ROWS + tl.arange(0, BLOCK_ROWS)
    row_exists = rows < row_count
    first = tl.arange(0, BLOCK_HIDDEN)
    scale = tl.load(inverse_rms + rows, mask=row_exists, other=0.0)[:, None]
    products = tl.zeros((BLOCK_ROWS, BLOCK_HIDDEN), dtype=tl.float32)
    for start in range(0, HIDDEN, BLOCK_HIDDEN):
        columns = start + first
        mask = tile_mask(row_exists, columns, HIDDEN, BLOCK_HIDDEN)
        wide = load_rows(grad, rows, grad_stride, columns, mask) * load_weight(weight, columns, HIDDEN)[None, :]
        products += wide * load_rows(x, rows, x_stride, columns, mask)
    mean = tl.sum(products, axis=1)[:, None] * scale / HIDDEN
    for start in range(0, HIDDEN, BLOCK_HIDDEN):
        columns = start + first
        mask = tile_mask(row_exists, columns, HIDDEN, BLOCK_HIDDEN)
        wide = load_rows(grad, rows, grad_stride, columns, mask) * load_weight(weight, columns, HIDDEN)[None, :]
        result = (wide - load_rows(x, rows, x_stride, columns, mask) * scale * mean) * scale
        if HAS_TOTAL:
            result += load_rows(grad_total, rows, total_stride, columns, mask)
        offsets = rows[:, None] * HIDDEN + columns[None, :]
        tl.store(grad_x + offsets, result.to(grad_x.dtype.element_ty), mask=mask)


@triton.jit
def rms_norm_weight_kernel(
    grad, x, inverse_rms, weight_parts, row_count, grad_stride, x_stride,
    HIDDEN: tl.constexpr, BLOCK_ROWS: tl.constexpr, BLOCK_HIDDEN: tl.constexpr,
):  # fmt: skip
    """Parts of the weight's gradient, rows of several blocks: program (block, part) sums every so many rows."""
    columns = tl.program_id(0) * BLOCK_HIDDEN + tl.arange(0, BLOCK_HIDDEN)
    weight_part = tl.zeros((BLOCK_ROWS, BLOCK_HIDDEN), dtype=tl.float32)
    for start in range(tl.program_id(1) * BLOCK_ROWS, row_count, tl.num_programs(1) * BLOCK_ROWS):
        rows = (start + tl.arange(0, BLOCK_ROWS)).to(tl.int64)
        row_exists = rows < row_count
        mask = tile_mask(row_exists, columns, HIDDEN, BLOCK_HIDDEN)
        scale = tl.load(inverse_rms + rows, mask=row_exists, other=0.0)[:, None]
        upstream = load_rows(grad, rows, grad_stride, columns, mask)
        weight_part += upstream * load_rows(x, rows, x_stride, columns, mask) * scale
    part = weight_parts + tl.program_id(1).to(tl.int64) * HIDDEN + columns
    tl.store(part, tl.sum(weight_part, axis=0), mask=columns < HIDDEN)


@triton.jit
def sum_parts_kernel(parts, out, part_count, SIZE: tl.constexpr, BLOCK_PARTS: tl.constexpr, BLOCK_SIZE: tl.constexpr):
    """The sum of all rows of parts (part_count, SIZE), always in the same order."""
    columns = tl.program_id(0) * BLOCK_SIZE + tl.arange(0, BLOCK_SIZE)
    total = tl.zeros((BLOCK_PARTS, BLOCK_SIZE), dtype=tl.float32)
    for start in range(0, part_count, BLOCK_PARTS):
        rows = (start + tl.arange(0, BLOCK_PARTS)).to(tl.int64)
        mask = (rows < part_count)[:, None] & (columns < SIZE)[None, :]
        total += load_rows(parts, rows, SIZE, columns, mask)
    tl.store(out + columns, tl.sum(total, axis=0).to(out.dtype.element_ty), mask=columns < SIZE)


_WIDEST_BLOCK = 8192
"""Columns of a row that one program holds; backward keeps four float32 of each in registers."""


def launches(architecture: str) -> dict[str, Launch]:
    """Every launch the table can pick, by kernel and width of a row."""
    widest = widest_block(architecture)
    widths = [1 << exponent for exponent in range(widest.bit_length())]
    table = {f"{kernel} {width}": _one_block(architecture, kernel, width) for kernel in _TILE for width in widths}
    return table | {f"wide {kernel}": _several_blocks(architecture, kernel) for kernel in _SEVERAL}


def widest_block(architecture: str) -> int:
    return 64 if architecture == INTERPRETER else _WIDEST_BLOCK  # small: tests of small rows meet several blocks


_TILE = {"forward": (1024, 16), "backward": (2048, 8)}
"""Elements of a program, and of a thread: two 128-bit loads of bf16 in flight, and one of x and grad each."""

_SEVERAL = {
    "forward": {"BLOCK_ROWS": 1, "BLOCK_HIDDEN": 4096},
    "backward": {"BLOCK_ROWS": 1, "BLOCK_HIDDEN": 4096},
    "weight": {"BLOCK_ROWS": 2, "BLOCK_HIDDEN": 1024},
    "parts": {"BLOCK_PARTS": 64, "BLOCK_SIZE": 32},
}


def _one_block(architecture: str, kernel: str, width: int) -> Launch:
    tile, by_thread = _TILE[kernel]
    if architecture == INTERPRETER:
        return Launch({"BLOCK_ROWS": 4, "BLOCK_HIDDEN": width})
    rows = max(1, min(32, tile // width))
    warps = max(1, min(16, rows * width // by_thread // _threads(architecture)))
    return Launch({"BLOCK_ROWS": rows, "BLOCK_HIDDEN": width}, warps, 1, f"rows of up to {width}")


def _several_blocks(architecture: str, kernel: str) -> Launch:
    if architecture == INTERPRETER:
        size = "BLOCK_SIZE" if kernel == "parts" else "BLOCK_HIDDEN"
        return Launch({name: 64 if name == size else 4 for name in _SEVERAL[kernel]})
    return Launch(
        _SEVERAL[kernel], 8 * 32 // _threads(architecture), 1, "all rows" if kernel == "parts" else "wide rows"
    )


def _threads(architecture: str) -> int:
    """Of a warp."""
    return 64 if architecture.startswith("gfx9") else 32


def _pick(x: Tensor, kernel: str) -> Launch:
    name, width = architecture(x.device), next_power_of_2(x.shape[-1])
    return _one_block(name, kernel, width) if width <= widest_block(name) else _several_blocks(name, kernel)


def resident_programs(x: Tensor, warps: int, resident_warps: int = 32) -> int:
    """Programs that stay: two to four blocks on each multiprocessor, so that memory never waits for one.

    Args:
        resident_warps: as many as their registers leave room for.
    """
    return multiprocessors(x.device) * max(2, min(4, resident_warps // warps))


def as_rows(x: Tensor) -> Tensor:
    """(..., size) as (rows, size) with adjacent elements, without a copy where strides allow."""
    flat = x.reshape(x.shape[:-1].numel(), x.shape[-1])
    return flat if flat.stride(1) == 1 else flat.contiguous()


def sum_parts(parts: Tensor, dtype: torch.dtype) -> Tensor:
    """The sum over the first dimension of (parts, size)."""
    count, size = parts.shape
    out = torch.empty(size, dtype=dtype, device=parts.device)
    launch = _several_blocks(architecture(parts.device), "parts")
    grid = (triton.cdiv(size, launch.blocks["BLOCK_SIZE"]),)
    sum_parts_kernel[grid](parts, out, count, SIZE=size, **launch.options())
    return out


def _forward(
    x: Tensor, residual: Tensor | None, weight: Tensor, eps: float, dtype: torch.dtype
) -> tuple[Tensor, Tensor | None, Tensor]:
    rows = as_rows(x)
    count, hidden = rows.shape
    other = rows if residual is None else as_rows(residual)
    out = torch.empty(x.shape, dtype=dtype, device=x.device)
    total = None if residual is None else torch.empty(x.shape, dtype=_sum_dtype(x, residual), device=x.device)
    inverse_rms = torch.empty(count, dtype=torch.float32, device=x.device)
    if x.numel():
        launch = _pick(x, "forward")
        rms_norm_kernel[(triton.cdiv(count, launch.blocks["BLOCK_ROWS"]),)](
            rows, other, weight.contiguous(), out, out if total is None else total, inverse_rms,
            count, rows.stride(0), other.stride(0), eps,
            HAS_RESIDUAL=residual is not None, HIDDEN=hidden, **launch.options(),
        )  # fmt: skip
    return out, total, inverse_rms


def _sum_dtype(x: Tensor, residual: Tensor) -> torch.dtype:
    return torch.promote_types(x.dtype, residual.dtype)


def _backward(
    grad: Tensor, x: Tensor, weight: Tensor, inverse_rms: Tensor, grad_total: Tensor | None, with_weight: bool
) -> tuple[Tensor, Tensor]:
    """The gradients of x (or the sum) and of the weight; that one empty unless wanted."""
    grad_x = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    if not x.numel():
        return grad_x, torch.zeros_like(weight) if with_weight else weight.new_empty(0)
    grad, rows, weight = as_rows(grad), as_rows(x), weight.contiguous()
    extra = grad if grad_total is None else as_rows(grad_total)
    count, hidden = rows.shape
    launch = _pick(x, "backward")
    blocks = triton.cdiv(count, launch.blocks["BLOCK_ROWS"])
    arguments = (grad, rows, weight, inverse_rms, extra, grad_x)
    strides = (count, grad.stride(0), rows.stride(0), extra.stride(0))
    options = {"HAS_TOTAL": grad_total is not None, "HIDDEN": hidden, **launch.options()}
    if hidden <= launch.blocks["BLOCK_HIDDEN"]:
        # One more input is in flight with the sum's gradient, in more registers.
        programs = min(blocks, resident_programs(x, launch.num_warps, 32 if grad_total is None else 24))
        parts = torch.empty(programs if with_weight else 0, hidden, dtype=torch.float32, device=x.device)
        rms_norm_backward_kernel[(programs,)](*arguments, parts, *strides, HAS_WEIGHT=with_weight, **options)
    else:
        rms_norm_backward_wide_kernel[(blocks,)](*arguments, *strides, **options)
        parts = _wide_weight_parts(grad, rows, inverse_rms) if with_weight else rows.new_empty(0)
    return grad_x, sum_parts(parts, weight.dtype) if with_weight else weight.new_empty(0)


def _wide_weight_parts(grad: Tensor, rows: Tensor, inverse_rms: Tensor) -> Tensor:
    count, hidden = rows.shape
    launch = _several_blocks(architecture(rows.device), "weight")
    blocks = triton.cdiv(hidden, launch.blocks["BLOCK_HIDDEN"])
    most = triton.cdiv(resident_programs(rows, launch.num_warps), blocks)
    programs = min(triton.cdiv(count, launch.blocks["BLOCK_ROWS"]), most)
    parts = torch.empty(programs, hidden, dtype=torch.float32, device=rows.device)
    strides = (count, grad.stride(0), rows.stride(0))
    rms_norm_weight_kernel[(blocks, programs)](
        grad, rows, inverse_rms, parts, *strides, HIDDEN=hidden, **launch.options()
    )
    return parts


@torch.library.custom_op("workbench_kernels::rms_norm", mutates_args=())
def _rms_norm(x: Tensor, weight: Tensor, eps: float, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    out, _, inverse_rms = _forward(x, None, weight, eps, dtype)
    return out, inverse_rms


@_rms_norm.register_fake
def _(x: Tensor, weight: Tensor, eps: float, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    return _fake_rows(x, dtype), _fake_inverse_rms(x)


@torch.library.custom_op("workbench_kernels::add_rms_norm", mutates_args=())
def _add_rms_norm(
    x: Tensor, residual: Tensor, weight: Tensor, eps: float, dtype: torch.dtype
) -> tuple[Tensor, Tensor, Tensor]:
    out, total, inverse_rms = _forward(x, residual, weight, eps, dtype)
    assert total is not None
    return out, total, inverse_rms


@_add_rms_norm.register_fake
def _(x: Tensor, residual: Tensor, weight: Tensor, eps: float, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    return _fake_rows(x, dtype), _fake_rows(x, _sum_dtype(x, residual)), _fake_inverse_rms(x)


@torch.library.custom_op("workbench_kernels::rms_norm_backward", mutates_args=())
def _rms_norm_backward(
    grad: Tensor, x: Tensor, weight: Tensor, inverse_rms: Tensor, grad_total: Tensor | None, with_weight: bool
) -> tuple[Tensor, Tensor]:
    return _backward(grad, x, weight, inverse_rms, grad_total, with_weight)


@_rms_norm_backward.register_fake
def _(
    grad: Tensor, x: Tensor, weight: Tensor, inverse_rms: Tensor, grad_total: Tensor | None, with_weight: bool
) -> tuple[Tensor, Tensor]:
    return _fake_rows(x, x.dtype), weight.new_empty(weight.shape if with_weight else 0)


def _fake_rows(x: Tensor, dtype: torch.dtype) -> Tensor:
    return torch.empty(x.shape, dtype=dtype, device=x.device)


def _fake_inverse_rms(x: Tensor) -> Tensor:
    return torch.empty(x.shape[:-1].numel(), dtype=torch.float32, device=x.device)


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    """Of either operation: what is normed is x, or the sum that the operation gave."""
    weight = inputs[-3]
    ctx.save_for_backward(inputs[0] if len(output) == 2 else output[1], weight, output[-1])
    ctx.mark_non_differentiable(output[-1])
    ctx.set_materialize_grads(False)


def _rms_norm_grads(ctx: Any, grad: Tensor | None, _: None) -> tuple[Tensor | None, Tensor | None, None, None]:
    if grad is None:  # the result went unused
        return None, None, None, None
    x, weight, inverse_rms = ctx.saved_tensors
    with_weight = ctx.needs_input_grad[1]
    grad_x, grad_weight = _rms_norm_backward(grad, x, weight, inverse_rms, None, with_weight)
    return grad_x, grad_weight if with_weight else None, None, None


def _add_rms_norm_grads(ctx: Any, grad: Tensor | None, grad_total: Tensor | None, _: None) -> tuple[Tensor | None, ...]:
    total, weight, inverse_rms = ctx.saved_tensors
    if grad is None:  # only the sum was used
        return grad_total, grad_total, None, None, None
    with_weight = ctx.needs_input_grad[2]
    grad_x, grad_weight = _rms_norm_backward(grad, total, weight, inverse_rms, grad_total, with_weight)
    return grad_x, grad_x, grad_weight if with_weight else None, None, None


_rms_norm.register_autograd(_rms_norm_grads, setup_context=_save)
_add_rms_norm.register_autograd(_add_rms_norm_grads, setup_context=_save)


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    return _rms_norm(x, weight, eps, compute_dtype(x))[0]


def add_rms_norm(x: Tensor, residual: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    dtype = torch.promote_types(compute_dtype(x), compute_dtype(residual))
    out, total, _ = _add_rms_norm(x, residual, weight, eps, dtype)
    return out, total
