"""Products with int8 weights in Triton, for the few tokens of a decoding step; inference only.

Up to two tokens, each program multiplies a few rows of the weight out in float32, without the tensor cores; beyond,
the weights become the dtype of x (int8 values are exact in all of them) and the tensor cores' left operand, so that the
tokens, padded to the smallest block, are the short side.
Bytes moved: out_features * in_features of int8, once for up to a block of tokens; x comes from the cache.
It loses against widening the weights once and multiplying by the matmul library where there are hundreds of tokens, as
in a prompt.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from workbench_kernels.launch import INTERPRETER, Launch, architecture, lookup, next_power_of_2

_VECTOR_ROWS = 2  # beyond, multiplying out takes longer than reading


@triton.jit
def int8_vector_kernel(
    X,
    WEIGHT,
    SCALE,
    Y,
    rows,
    out_features,
    in_features,
    stride_x,
    stride_weight,
    ROWS: tl.constexpr,
    BLOCK_OUT: tl.constexpr,
    BLOCK_IN: tl.constexpr,
):
    """One program BLOCK_OUT rows of the weight with every row of x."""
    out = tl.program_id(0) * BLOCK_OUT + tl.arange(0, BLOCK_OUT)[:, None, None]
    row = tl.arange(0, ROWS)[None, :, None]
    inner = tl.arange(0, BLOCK_IN)[None, None, :]
    keep_out = out < out_features
    keep_row = row < rows
    total = tl.zeros((BLOCK_OUT, ROWS, BLOCK_IN), tl.float32)
    for at in range(0, in_features, BLOCK_IN):
        column = at + inner
        keep = column < in_features
        w = tl.load(WEIGHT + out.to(tl.int64) * stride_weight + column, mask=keep_out & keep, other=0)
        x = tl.load(X + row * stride_x + column, mask=keep_row & keep, other=0.0)
        total += w.to(tl.float32) * x.to(tl.float32)
    scale = tl.load(SCALE + out, mask=keep_out, other=0.0).to(tl.float32)
    y = tl.sum(total, 2)[:, :, None] * scale
    tl.store(Y + row.to(tl.int64) * out_features + out, y.to(Y.dtype.element_ty), mask=keep_out & keep_row)


@triton.jit
def int8_matrix_kernel(
    X,
    WEIGHT,
    SCALE,
    Y,
    rows,
    out_features,
    in_features,
    stride_x,
    stride_weight,
    PRECISION: tl.constexpr,
    BLOCK_ROWS: tl.constexpr,
    BLOCK_OUT: tl.constexpr,
    BLOCK_IN: tl.constexpr,
):
    """One program a block of the result, transposed: the weights are the left operand."""
    out = tl.program_id(0) * BLOCK_OUT + tl.arange(0, BLOCK_OUT)
    row = tl.program_id(1) * BLOCK_ROWS + tl.arange(0, BLOCK_ROWS)
    inner = tl.arange(0, BLOCK_IN)
    weight = WEIGHT + out[:, None].to(tl.int64) * stride_weight + inner[None, :]
    x = X + row[None, :].to(tl.int64) * stride_x + inner[:, None]
    keep_out = out[:, None] < out_features
    keep_row = row[None, :] < rows
    total = tl.zeros((BLOCK_OUT, BLOCK_ROWS), tl.float32)
    for at in range(0, in_features, BLOCK_IN):
        left = in_features - at
        w = tl.load(weight, mask=keep_out & (inner[None, :] < left), other=0)
        b = tl.load(x, mask=keep_row & (inner[:, None] < left), other=0.0)
        total = tl.dot(w.to(b.dtype), b, total, input_precision=PRECISION)
        weight += BLOCK_IN
        x += BLOCK_IN
    scale = tl.load(SCALE + out, mask=out < out_features, other=0.0).to(tl.float32)
    y = Y + row[None, :].to(tl.int64) * out_features + out[:, None]
    tl.store(y, (total * scale[:, None]).to(Y.dtype.element_ty), mask=keep_out & keep_row)


def _blocks(rows: int, out: int, inner: int) -> dict[str, int]:
    return {"BLOCK_ROWS": rows, "BLOCK_OUT": out, "BLOCK_IN": inner}


# vector: up to _VECTOR_ROWS tokens. few, more, many: that many tokens by block of rows. wide: float32, with under 64
# outputs, from where on Triton for sm_100 takes tensor cores that round to tf32, whatever precision was asked for.
_TABLE = {
    INTERPRETER: {
        "vector": Launch({"BLOCK_OUT": 16, "BLOCK_IN": 64}),
        "few": Launch(_blocks(16, 32, 32)),
        "many": Launch(_blocks(32, 32, 32)),
        "wide": Launch(_blocks(16, 32, 32)),
    },
    "default": {
        "vector": Launch({"BLOCK_OUT": 4, "BLOCK_IN": 1024}, 4, 1),
        "few": Launch(_blocks(16, 64, 128), 4, 4),
        "many": Launch(_blocks(64, 64, 64), 4, 3),
        "wide": Launch(_blocks(16, 32, 64), 4, 2),
    },
}


def launches(arch: str) -> dict[str, Launch]:
    """Every launch the table can pick, by number of tokens; `wide` is for float32."""
    return lookup(_TABLE, arch)


def pick(arch: str, dtype: torch.dtype, rows: int) -> Launch:
    """The launch of the matrix kernel."""
    table = launches(arch)
    if dtype == torch.float32:
        return table["wide"]
    return table["few" if rows <= table["few"].blocks["BLOCK_ROWS"] else "many"]


@torch.library.custom_op("workbench_kernels::int8_matmul", mutates_args=())
def forward_op(x: Tensor, weight: Tensor, scale: Tensor) -> Tensor:
    """x (rows, in_features) times the transposed weight."""
    x = x if x.stride(1) == 1 else x.contiguous()
    weight = weight if weight.stride(1) == 1 else weight.contiguous()
    rows, out_features = len(x), len(weight)
    y = x.new_empty(rows, out_features)
    if not y.numel():
        return y
    sizes = (rows, out_features, x.shape[1], x.stride(0), weight.stride(0))
    tensors = (x, weight, scale.contiguous(), y)
    arch = architecture(x.device)
    if rows <= _VECTOR_ROWS:
        launch = launches(arch)["vector"]
        programs = triton.cdiv(out_features, launch.blocks["BLOCK_OUT"])
        int8_vector_kernel[(programs,)](*tensors, *sizes, ROWS=next_power_of_2(rows), **launch.options())
        return y
    launch = pick(arch, x.dtype, rows)
    grid = (triton.cdiv(out_features, launch.blocks["BLOCK_OUT"]), triton.cdiv(rows, launch.blocks["BLOCK_ROWS"]))
    precision = "ieee" if x.dtype == torch.float32 else "tf32"
    int8_matrix_kernel[grid](*tensors, *sizes, PRECISION=precision, **launch.options())
    return y


@forward_op.register_fake
def _(x, weight, scale):
    return x.new_empty(x.shape[0], weight.shape[0])


def int8_matmul(x: Tensor, weight: Tensor, scale: Tensor) -> Tensor:
    """As the reference's; asking for a gradient is an error."""
    return forward_op(x.reshape(-1, x.shape[-1]), weight, scale).view(*x.shape[:-1], len(weight))
