"""Products of tokens sorted by expert with the experts' matrices in Triton: one launch for all experts.

The host never learns the counts: the grid is the worst case, and each program finds its expert from the counts itself.
At most one program an expert and column block finds nothing to do.

Saved for backward: x, the weights and the counts.
Bytes moved: x, the weights of the experts in use, and the result, each at least once; bound by the tensor cores where
an expert has a few hundred tokens, by reading its weights below that.
It loses against one plain product when there is one expert, and where a few experts have a few tokens more than a block
of rows, whose last block is then mostly padding.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from workbench_kernels.launch import INTERPRETER, Launch, architecture, lookup, next_power_of_2
from workbench_kernels.reference import compute_dtype

_GROUP = tl.constexpr(8)  # row blocks that go through the columns together: their x and weights meet in the L2 cache


@triton.jit
def grouped_rows_kernel(
    X,
    WEIGHT,
    COUNTS,
    Y,
    tokens,
    experts,
    columns,
    depth,
    stride_x,
    stride_expert,
    stride_column,
    stride_depth,
    PRECISION: tl.constexpr,
    BLOCK_E: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    """One program a block of one expert's rows and a block of columns; rows past all experts' become zero."""
    blocks_n = tl.cdiv(columns, BLOCK_N)
    blocks_m = tl.num_programs(0) // blocks_n
    group = tl.program_id(0) // (_GROUP * blocks_n)
    within = tl.program_id(0) % (_GROUP * blocks_n)
    height = tl.minimum(blocks_m - group * _GROUP, _GROUP)
    block_m = group * _GROUP + within % height
    block_n = within // height
    # which expert: the one before whose end this block lies
    each = tl.arange(0, BLOCK_E)
    counts = tl.load(COUNTS + each, mask=each < experts, other=0).to(tl.int32)
    blocks = (counts + BLOCK_M - 1) // BLOCK_M
    before = tl.cumsum(blocks, 0) <= block_m
    expert = tl.sum(before.to(tl.int32), 0)
    start = tl.sum(tl.where(before, counts, 0), 0)
    count = tl.sum(tl.where(each == expert, counts, 0), 0)
    first = start + (block_m - tl.sum(tl.where(before, blocks, 0), 0)) * BLOCK_M
    # counts that sum to more must not reach past the tensors
    end = tl.where(expert < experts, tl.minimum(start + count, tokens), tokens)
    length = tl.where(expert < experts, depth, 0)
    if first >= end:
        return
    rows = first + tl.arange(0, BLOCK_M)
    cols = block_n * BLOCK_N + tl.arange(0, BLOCK_N)
    inner = tl.arange(0, BLOCK_K)
    x = X + rows[:, None].to(tl.int64) * stride_x + inner[None, :]
    weight = WEIGHT + expert.to(tl.int64) * stride_expert
    weight += cols[None, :].to(tl.int64) * stride_column + inner[:, None].to(tl.int64) * stride_depth
    keep_rows = rows[:, None] < end
    keep_cols = cols[None, :] < columns
    total = tl.zeros((BLOCK_M, BLOCK_N), tl.float32)
    for at in range(0, length, BLOCK_K):
        left = length - at
        a = tl.load(x, mask=keep_rows & (inner[None, :] < left), other=0.0)
        b = tl.load(weight, mask=keep_cols & (inner[:, None] < left), other=0.0)
        total = tl.dot(a, b, total, input_precision=PRECISION)
        x += BLOCK_K
        weight += BLOCK_K * stride_depth
    y = Y + rows[:, None].to(tl.int64) * columns + cols[None, :]
    tl.store(y, total.to(Y.dtype.element_ty), mask=keep_rows & keep_cols)


@triton.jit
def grouped_weight_kernel(
    GRAD,
    X,
    COUNTS,
    GRAD_WEIGHT,
    tokens,
    experts,
    rows,
    columns,
    stride_grad,
    stride_x,
    PRECISION: tl.constexpr,
    BLOCK_E: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    """One program a block of one expert's weight gradient: a sum over the tokens of the expert, zero where none are."""
    expert = tl.program_id(1)
    blocks_n = tl.cdiv(columns, BLOCK_N)
    each = tl.arange(0, BLOCK_E)
    counts = tl.load(COUNTS + each, mask=each < experts, other=0).to(tl.int32)
    start = tl.sum(tl.where(each < expert, counts, 0), 0)
    count = tl.minimum(tl.sum(tl.where(each == expert, counts, 0), 0), tokens - start)
    outs = tl.program_id(0) // blocks_n * BLOCK_M + tl.arange(0, BLOCK_M)
    ins = tl.program_id(0) % blocks_n * BLOCK_N + tl.arange(0, BLOCK_N)
    inner = tl.arange(0, BLOCK_K)
    token = (start + inner)[:, None].to(tl.int64)
    grad = GRAD + token * stride_grad + outs[None, :]
    x = X + token * stride_x + ins[None, :]
    keep_outs = outs[None, :] < rows
    keep_ins = ins[None, :] < columns
    total = tl.zeros((BLOCK_M, BLOCK_N), tl.float32)
    for at in range(0, count, BLOCK_K):
        left = count - at
        a = tl.load(grad, mask=keep_outs & (inner[:, None] < left), other=0.0)
        b = tl.load(x, mask=keep_ins & (inner[:, None] < left), other=0.0)
        total = tl.dot(tl.trans(a), b, total, input_precision=PRECISION)
        grad += BLOCK_K * stride_grad
        x += BLOCK_K * stride_x
    out = GRAD_WEIGHT + expert.to(tl.int64) * rows * columns
    out += outs[:, None].to(tl.int64) * columns + ins[None, :]
    tl.store(out, total.to(GRAD_WEIGHT.dtype.element_ty), mask=(outs[:, None] < rows) & keep_ins)


def _blocks(m: int, n: int, k: int) -> dict[str, int]:
    return {"BLOCK_M": m, "BLOCK_N": n, "BLOCK_K": k}


# many: experts with as many tokens as a block of rows, or more; few: experts with fewer, bound by their weights.
# wide: float32, by plain multiplications (or tf32 where PyTorch allows it), so with small blocks: from 64 rows on,
# Triton for sm_100 takes its tensor cores, which round to tf32, whatever precision was asked for.
_TABLE = {
    INTERPRETER: {
        "many": Launch(_blocks(16, 32, 32)),
        "few": Launch(_blocks(16, 16, 16)),
        "weight": Launch(_blocks(32, 32, 16)),
        "wide": Launch(_blocks(16, 32, 32)),
        "wide weight": Launch(_blocks(32, 16, 16)),
    },
    "default": {  # 99 KB of shared memory hold these everywhere
        "many": Launch(_blocks(128, 128, 32), 8, 3),
        "few": Launch(_blocks(16, 128, 64), 4, 3),
        "weight": Launch(_blocks(128, 128, 32), 8, 3),
        "wide": Launch(_blocks(32, 64, 16), 4, 2),
        "wide weight": Launch(_blocks(32, 64, 16), 4, 2),
    },
}
_TABLE["sm_80"] = _TABLE["default"] | {
    "many": Launch(_blocks(128, 256, 32), 8, 3),
    "weight": Launch(_blocks(128, 256, 32), 8, 3),
}
_TABLE["sm_86"] = _TABLE["sm_89"] = _TABLE["sm_120"] = _TABLE["default"]
_TABLE["sm_90"] = _TABLE["default"] | {
    "many": Launch(_blocks(128, 256, 64), 8, 3),
    "few": Launch(_blocks(64, 128, 64), 4, 4),
    "weight": Launch(_blocks(128, 256, 64), 8, 3),
}
_TABLE["sm_100"] = _TABLE["default"] | {
    "many": Launch(_blocks(128, 256, 64), 8, 3),
    "few": Launch(_blocks(64, 128, 64), 4, 4),
    "weight": Launch(_blocks(128, 256, 64), 8, 3),
}
_TABLE["gfx942"] = _TABLE["default"] | {
    "many": Launch(_blocks(128, 128, 32), 4, 2),
    "few": Launch(_blocks(16, 128, 64), 4, 2),
    "weight": Launch(_blocks(128, 128, 32), 4, 2),
}


def launches(arch: str) -> dict[str, Launch]:
    """Every launch the table can pick, by product: many, few and wide of rows; weight and wide weight of gradients."""
    return lookup(_TABLE, arch)


def pick(arch: str, dtype: torch.dtype, tokens: int, experts: int) -> Launch:
    """The launch for the product of rows, by the mean number of tokens of an expert."""
    table = launches(arch)
    if dtype == torch.float32:
        return table["wide"]
    return table["many" if 2 * tokens >= table["many"].blocks["BLOCK_M"] * experts else "few"]


def _precision(dtype: torch.dtype) -> str:
    """What PyTorch's own float32 products would have."""
    return "tf32" if dtype != torch.float32 or torch.backends.cuda.matmul.allow_tf32 else "ieee"


def _rows_product(x: Tensor, weight: Tensor, counts: Tensor, transposed: bool) -> Tensor:
    """x times each expert's weight.T or, transposed, times the weight."""
    stride_expert, stride_column, stride_depth = weight.stride()
    experts, columns, depth = weight.shape
    if transposed:
        columns, depth, stride_column, stride_depth = depth, columns, stride_depth, stride_column
    x = x if x.stride(1) == 1 else x.contiguous()
    y = x.new_empty(len(x), columns)
    if not y.numel():
        return y
    launch = pick(architecture(x.device), x.dtype, len(x), experts)
    blocks_m = len(x) // launch.blocks["BLOCK_M"] + experts + 1  # each expert and the rest may leave a block unfilled
    grouped_rows_kernel[(blocks_m * triton.cdiv(columns, launch.blocks["BLOCK_N"]),)](
        x,
        weight,
        counts,
        y,
        len(x),
        experts,
        columns,
        depth,
        x.stride(0),
        stride_expert,
        stride_column,
        stride_depth,
        PRECISION=_precision(x.dtype),
        BLOCK_E=next_power_of_2(experts),
        **launch.options(),
    )
    return y


@torch.library.custom_op("workbench_kernels::grouped_matmul", mutates_args=())
def forward_op(x: Tensor, weight: Tensor, counts: Tensor) -> Tensor:
    """(tokens, out_features)."""
    return _rows_product(x, weight, counts.contiguous(), transposed=False)


@forward_op.register_fake
def _(x, weight, counts):
    return x.new_empty(x.shape[0], weight.shape[1])


@torch.library.custom_op("workbench_kernels::grouped_matmul_input_gradient", mutates_args=())
def input_gradient_op(grad: Tensor, weight: Tensor, counts: Tensor) -> Tensor:
    """(tokens, in_features)."""
    return _rows_product(grad, weight, counts.contiguous(), transposed=True)


@input_gradient_op.register_fake
def _(grad, weight, counts):
    return grad.new_empty(grad.shape[0], weight.shape[2])


@torch.library.custom_op("workbench_kernels::grouped_matmul_weight_gradient", mutates_args=())
def weight_gradient_op(grad: Tensor, x: Tensor, counts: Tensor) -> Tensor:
    """(experts, out_features, in_features)."""
    grad = grad if grad.stride(1) == 1 else grad.contiguous()
    x = x if x.stride(1) == 1 else x.contiguous()
    experts, rows, columns = len(counts), grad.shape[1], x.shape[1]
    out = x.new_empty(experts, rows, columns)
    if not out.numel():
        return out
    table = launches(architecture(x.device))
    launch = table["wide weight" if x.dtype == torch.float32 else "weight"]
    blocks = triton.cdiv(rows, launch.blocks["BLOCK_M"]) * triton.cdiv(columns, launch.blocks["BLOCK_N"])
    grouped_weight_kernel[(blocks, experts)](
        grad,
        x,
        counts.contiguous(),
        out,
        len(x),
        experts,
        rows,
        columns,
        grad.stride(0),
        x.stride(0),
        PRECISION=_precision(x.dtype),
        BLOCK_E=next_power_of_2(experts),
        **launch.options(),
    )
    return out


@weight_gradient_op.register_fake
def _(grad, x, counts):
    return x.new_empty(counts.shape[0], grad.shape[1], x.shape[1])


def _remember(ctx: Any, inputs: tuple, output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
    x, weight, counts = ctx.saved_tensors
    grad_x = input_gradient_op(grad, weight, counts) if ctx.needs_input_grad[0] else None
    grad_weight = weight_gradient_op(grad, x, counts) if ctx.needs_input_grad[1] else None
    return grad_x, grad_weight, None


forward_op.register_autograd(_backward, setup_context=_remember)


def grouped_matmul(x: Tensor, weight: Tensor, counts: Tensor) -> Tensor:
    """As the reference's; counts that sum to more than the tokens are not noticed, their tokens past the end unread."""
    dtype = compute_dtype(x)
    return forward_op(x.to(dtype), weight.to(dtype), counts)
