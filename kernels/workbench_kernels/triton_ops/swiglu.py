"""The gated unit silu(gate) * up.

Saved for backward: gate and up, which their projections hold anyway; silu(gate) is made again.
Moved, at two bytes an element: forward 6 bytes, backward 10.
Loses to a matrix product with this as its epilogue, which would not move gate and up at all.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from workbench_kernels.launch import INTERPRETER, Launch, architecture


@triton.jit
def place_of(row_blocks, columns, BLOCK: tl.constexpr):
    """Which row this program works on, where in it its block starts, and which elements of the block exist."""
    row = (tl.program_id(0) // row_blocks).to(tl.int64)
    start = (tl.program_id(0) % row_blocks).to(tl.int64) * BLOCK
    return row, start, tl.arange(0, BLOCK) < columns - start


@triton.jit
def load_wide(source, offsets, mask):
    return tl.load(source + offsets, mask=mask, other=0.0).to(tl.float32)


@triton.jit
def swiglu_kernel(gate, up, out, row_blocks, columns, gate_stride, up_stride, BLOCK: tl.constexpr):
    """One program makes one block of one row; out is contiguous."""
    row, start, mask = place_of(row_blocks, columns, BLOCK)
    lanes = tl.arange(0, BLOCK)
    g = load_wide(gate + row * gate_stride + start, lanes, mask)
    u = load_wide(up + row * up_stride + start, lanes, mask)
    tl.store(out + row * columns + start + lanes, (g * tl.sigmoid(g) * u).to(out.dtype.element_ty), mask=mask)


@triton.jit
def swiglu_backward_kernel(
    grad, gate, up, grad_gate, grad_up, row_blocks, columns, grad_stride, gate_stride, up_stride, BLOCK: tl.constexpr
):
    """Both gradients of one block of one row; they are contiguous."""
    row, start, mask = place_of(row_blocks, columns, BLOCK)
    lanes = tl.arange(0, BLOCK)
    upstream = load_wide(grad + row * grad_stride + start, lanes, mask)
    g = load_wide(gate + row * gate_stride + start, lanes, mask)
    u = load_wide(up + row * up_stride + start, lanes, mask)
    gated = tl.sigmoid(g)
    offsets = row * columns + start + lanes
    # In this order a sixth of the registers is saved, and as many more programs are resident.
    tl.store(grad_up + offsets, (upstream * g * gated).to(grad_up.dtype.element_ty), mask=mask)
    for_gate = upstream * u * gated * (1.0 + g * (1.0 - gated))
    tl.store(grad_gate + offsets, for_gate.to(grad_gate.dtype.element_ty), mask=mask)


def launches(architecture: str) -> dict[str, Launch]:
    """Every launch the table can pick: one, whatever the shape."""
    if architecture == INTERPRETER:
        return {"any": Launch({"BLOCK": 128})}
    # Each thread asks for 16 elements of every input: two 128-bit loads of bf16 each.
    return {"any": Launch({"BLOCK": 2048}, 2 if architecture.startswith("gfx9") else 4, 1, "any shape")}


def _forward(gate: Tensor, up: Tensor) -> Tensor:
    out = torch.empty(gate.shape, dtype=torch.promote_types(gate.dtype, up.dtype), device=gate.device)
    if gate.numel():
        (gate, up), (grid, sizes, options) = _rows(gate, up)
        swiglu_kernel[grid](gate, up, out, *sizes, gate.stride(0), up.stride(0), **options)
    return out


def _backward(grad: Tensor, gate: Tensor, up: Tensor) -> tuple[Tensor, Tensor]:
    grads = (
        torch.empty(gate.shape, dtype=gate.dtype, device=gate.device),
        torch.empty(up.shape, dtype=up.dtype, device=up.device),
    )
    if gate.numel():
        (grad, gate, up), (grid, sizes, options) = _rows(grad, gate, up)
        strides = (grad.stride(0), gate.stride(0), up.stride(0))
        swiglu_backward_kernel[grid](grad, gate, up, *grads, *sizes, *strides, **options)
    return grads


def _rows(*tensors: Tensor) -> tuple[list[Tensor], tuple[tuple[int], tuple[int, int], dict[str, int]]]:
    """The tensors as rows (one, where all are contiguous), and the grid, sizes and options of their launch."""
    whole = all(tensor.is_contiguous() for tensor in tensors)
    # Halves of a packed projection are rows with gaps: read where they are.
    flat = [tensor.reshape(1, -1) if whole else tensor.reshape(-1, tensor.shape[-1]) for tensor in tensors]
    rows = [tensor if tensor.stride(1) == 1 else tensor.contiguous() for tensor in flat]
    launch = launches(architecture(rows[0].device))["any"]
    count, columns = rows[0].shape
    row_blocks = triton.cdiv(columns, launch.blocks["BLOCK"])
    return rows, ((count * row_blocks,), (row_blocks, columns), launch.options())


@torch.library.custom_op("workbench_kernels::swiglu", mutates_args=())
def _swiglu(gate: Tensor, up: Tensor) -> Tensor:
    return _forward(gate, up)


@_swiglu.register_fake
def _(gate: Tensor, up: Tensor) -> Tensor:
    return torch.empty(gate.shape, dtype=torch.promote_types(gate.dtype, up.dtype), device=gate.device)


@torch.library.custom_op("workbench_kernels::swiglu_backward", mutates_args=())
def _swiglu_backward(grad: Tensor, gate: Tensor, up: Tensor) -> tuple[Tensor, Tensor]:
    return _backward(grad, gate, up)


@_swiglu_backward.register_fake
def _(grad: Tensor, gate: Tensor, up: Tensor) -> tuple[Tensor, Tensor]:
    first, second = (torch.empty(x.shape, dtype=x.dtype, device=x.device) for x in (gate, up))
    return first, second


def _save(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _grads(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
    return _swiglu_backward(grad, *ctx.saved_tensors)


_swiglu.register_autograd(_grads, setup_context=_save)


def swiglu(gate: Tensor, up: Tensor) -> Tensor:
    return _swiglu(gate, up)
