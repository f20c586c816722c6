"""Cross-entropy through the output matrix in Triton: the matmul library makes a chunk of logits, one kernel the rest.

The kernel reads a row of logits twice, first for its logarithm of a sum of exponentials, block by block and rescaled as
the largest grows, then, from the last block back since that one is still in the cache, to write the gradient over it.
Rows of up to one block are read once.

Saved for backward: hidden, weight, labels, one float32 a token, and both gradients for an upstream gradient of 1.
One number as upstream scales them. Another upstream scales each row of hidden's gradient, and makes one more pass over
the logits for the weight's: two products instead of three.
Bytes moved by the kernel: tokens * vocab_size * (2 reads + 1 write), of which the second read comes from the L2 cache
while the rows in flight fit it; without gradients one read. The logits between product and kernel are written once.
It loses against unfused logits where memory is plenty and each chunk has too few rows to fill the tensor cores, and
against a kernel that makes the logits itself (cut cross-entropy) where tokens * vocab_size is bound by memory rather
than by the three products, as it is for small hidden sizes.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from workbench_kernels.launch import INTERPRETER, Launch, architecture
from workbench_kernels.reference import compute_dtype
from workbench_kernels.reference_cross_entropy import IGNORED
from workbench_kernels.triton_ops import vocabulary

LOG2E = tl.constexpr(1.4426950408889634)
LN2 = tl.constexpr(0.6931471805599453)
LOWEST = tl.constexpr(-1.0e30)  # stands for minus infinity: differences of two of it are 0, not NaN


@triton.jit
def _load(logits, at, stride, vocab_size, MASKED: tl.constexpr):
    """A block of logits in float32; masked, those of the padding are lowest."""
    if MASKED:
        x = tl.load(logits + at, mask=at < stride, other=0.0).to(tl.float32)
        return tl.where(at < vocab_size, x, LOWEST)
    return tl.load(logits + at).to(tl.float32)


@triton.jit
def _add_block(x, largest, total):
    """The largest logit and the sum of exponentials relative to it, with one block more."""
    higher = tl.maximum(largest, tl.max(x, 0))
    shift = higher * LOG2E
    total = total * tl.math.exp2(largest * LOG2E - shift) + tl.sum(tl.math.exp2(x * LOG2E - shift), 0)
    return higher, total


@triton.jit
def _store_gradient(logits, x, at, log_sum_2, factor, stride, MASKED: tl.constexpr):
    """factor * softmax: the gradient everywhere but at the label."""
    gradient = (factor * tl.math.exp2(x * LOG2E - log_sum_2)).to(logits.dtype.element_ty)
    if MASKED:
        tl.store(logits + at, gradient, mask=at < stride)
    else:
        tl.store(logits + at, gradient)


@triton.jit
def cross_entropy_kernel(
    LOGITS,
    LABELS,
    LOSS,
    LOG_SUM,
    stride,
    vocab_size,
    z_loss,
    WITH_GRADIENT: tl.constexpr,
    ONE_BLOCK: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """One program a row. LOGITS become their gradient; columns from vocab_size to stride are padding."""
    row = tl.program_id(0).to(tl.int64)
    logits = LOGITS + row * stride
    columns = tl.arange(0, BLOCK)
    label = tl.load(LABELS + row).to(tl.int32)
    # a label outside of the vocabulary costs NaN: seen at once, where a silent zero would not be
    inside = (label >= 0) & (label < vocab_size)
    picked = tl.load(logits + label, mask=inside, other=float("nan")).to(tl.float32)
    largest = tl.full((), LOWEST, tl.float32)
    total = tl.full((), 0.0, tl.float32)
    if ONE_BLOCK:
        tail = 0
    else:
        tail = vocab_size // BLOCK * BLOCK
        for start in range(0, tail, BLOCK):
            x = _load(logits, start + columns, stride, vocab_size, False)
            largest, total = _add_block(x, largest, total)
    if ONE_BLOCK or tail < vocab_size:
        x = _load(logits, tail + columns, stride, vocab_size, True)
        largest, total = _add_block(x, largest, total)
    log_sum_2 = largest * LOG2E + tl.math.log2(total)
    log_sum = log_sum_2 * LN2
    tl.store(LOSS + row, log_sum - picked + z_loss * log_sum * log_sum)
    tl.store(LOG_SUM + row, log_sum)
    if WITH_GRADIENT:
        factor = 1.0 + 2.0 * z_loss * log_sum
        tl.debug_barrier()  # the label's logit is read by one thread and overwritten by another
        if ONE_BLOCK:
            _store_gradient(logits, x, columns, log_sum_2, factor, stride, True)
        else:
            if tail < vocab_size:
                x = _load(logits, tail + columns, stride, vocab_size, True)
                _store_gradient(logits, x, tail + columns, log_sum_2, factor, stride, True)
            for start in range(BLOCK, tail + BLOCK, BLOCK):
                at = tail - start + columns
                x = _load(logits, at, stride, vocab_size, False)
                _store_gradient(logits, x, at, log_sum_2, factor, stride, False)
        tl.debug_barrier()  # the label's own gradient comes after its block's
        at_label = factor * tl.math.exp2(picked * LOG2E - log_sum_2) - 1.0
        tl.store(logits + label, at_label.to(LOGITS.dtype.element_ty), mask=inside)


@triton.jit
def cross_entropy_gradient_kernel(LOGITS, LABELS, LOG_SUM, UPSTREAM, stride, vocab_size, z_loss, BLOCK: tl.constexpr):
    """One program a row and block: LOGITS become their gradient times the row's upstream gradient."""
    row = tl.program_id(0).to(tl.int64)
    logits = LOGITS + row * stride
    start = tl.program_id(1) * BLOCK
    at = start + tl.arange(0, BLOCK)
    label = tl.load(LABELS + row).to(tl.int32)
    log_sum = tl.load(LOG_SUM + row)
    upstream = tl.load(UPSTREAM + row)
    inside = (label >= start) & (label < start + BLOCK) & (label < vocab_size)
    picked = tl.load(logits + label, mask=inside, other=0.0).to(tl.float32)
    factor = (1.0 + 2.0 * z_loss * log_sum) * upstream
    log_sum_2 = log_sum * LOG2E
    x = _load(logits, at, stride, vocab_size, True)
    tl.debug_barrier()  # as above
    _store_gradient(logits, x, at, log_sum_2, factor, stride, True)
    tl.debug_barrier()
    at_label = factor * tl.math.exp2(picked * LOG2E - log_sum_2) - upstream
    tl.store(logits + label, at_label.to(LOGITS.dtype.element_ty), mask=inside)


def launches(arch: str) -> dict[str, Launch]:
    """Every launch the table can pick, by kernel and vocabulary: rows that fit one block, and all others."""
    if arch == INTERPRETER:  # small, so that tests of small vocabularies meet several blocks
        return {"small": Launch({"BLOCK": 32}), "large": Launch({"BLOCK": 64}), "gradient": Launch({"BLOCK": 64})}
    # 32 elements a thread: four 128-bit loads of bf16 in flight, in at most 64 registers, so that four or more rows
    # share a multiprocessor and one's memory hides another's exponentials. On AMD a warp has 64 threads.
    warps = 4 if arch.startswith("gfx") else 8
    return {
        "small": Launch({"BLOCK": 2048}, warps // 4, 1, "vocabularies up to one small block"),
        "large": Launch({"BLOCK": 8192}, warps, 1, "all other vocabularies"),
        "gradient": Launch({"BLOCK": 4096}, warps // 2, 1, "backward of losses that are weighted one by one"),
    }


def pick(arch: str, stride: int) -> tuple[Launch, bool]:
    """The launch for rows of `stride` logits, and whether they are one block."""
    table = launches(arch)
    if stride <= table["small"].blocks["BLOCK"]:
        return table["small"], True
    return table["large"], stride <= table["large"].blocks["BLOCK"]


def softmax_in_place(
    buffer: Tensor,
    vocab_size: int,
    labels: Tensor,
    z_loss: float,
    losses: Tensor,
    log_sums: Tensor,
    with_grad: bool,
) -> None:
    """Write losses and logarithms of the sums, and with_grad the gradients for an upstream of 1 over the logits."""
    rows, stride = buffer.shape
    launch, one_block = pick(architecture(buffer.device), stride)
    cross_entropy_kernel[(rows,)](
        buffer,
        labels,
        losses,
        log_sums,
        stride,
        vocab_size,
        z_loss,
        WITH_GRADIENT=with_grad,
        ONE_BLOCK=one_block,
        **launch.options(),
    )


def gradient_in_place(
    buffer: Tensor, vocab_size: int, labels: Tensor, z_loss: float, log_sums: Tensor, upstream: Tensor
) -> None:
    """Write the gradients for an upstream of its own for each row over the logits."""
    rows, stride = buffer.shape
    launch = launches(architecture(buffer.device))["gradient"]
    grid = (rows, triton.cdiv(stride, launch.blocks["BLOCK"]))
    cross_entropy_gradient_kernel[grid](
        buffer, labels, log_sums, upstream, stride, vocab_size, z_loss, **launch.options()
    )


@torch.library.custom_op("workbench_kernels::linear_cross_entropy", mutates_args=())
def forward_op(
    hidden: Tensor,
    weight: Tensor,
    labels: Tensor,
    z_loss: float,
    dtype: torch.dtype,
    hidden_grad: bool,
    weight_grad: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Losses, logarithms of the sums, and the gradients asked for (else empty) for an upstream gradient of 1."""
    kept = vocabulary.kept_rows(labels, IGNORED)
    rows, targets = (hidden, labels) if kept is None else (hidden[kept], labels[kept])
    rows, matrix, targets = rows.to(dtype).contiguous(), weight.to(dtype), targets.contiguous()
    losses = torch.empty(len(rows), dtype=torch.float32, device=hidden.device)
    log_sums = torch.empty_like(losses)
    grad_hidden = torch.empty(rows.shape, dtype=hidden.dtype, device=hidden.device) if hidden_grad else None
    total = None
    for part in vocabulary.chunks(len(rows), len(weight), dtype):
        buffer = vocabulary.logits_of(rows[part], matrix)
        with_grad = hidden_grad or weight_grad
        softmax_in_place(buffer, len(weight), targets[part], z_loss, losses[part], log_sums[part], with_grad)
        gradient = buffer[:, : len(weight)]
        if grad_hidden is not None:
            grad_hidden[part] = gradient @ matrix
        if weight_grad:
            total = vocabulary.add_product(total, gradient.T, rows[part], part.stop == len(rows))
    count = len(labels)
    losses, log_sums = vocabulary.spread(losses, kept, count), vocabulary.spread(log_sums, kept, count)
    grad_hidden = hidden.new_empty(0) if grad_hidden is None else vocabulary.spread(grad_hidden, kept, count)
    return (
        losses,
        log_sums,
        grad_hidden,
        vocabulary.weight_gradient(total, weight) if weight_grad else weight.new_empty(0),
    )


@forward_op.register_fake
def _(hidden, weight, labels, z_loss, dtype, hidden_grad, weight_grad):
    losses = hidden.new_empty(labels.shape, dtype=torch.float32)
    grad_hidden = hidden.new_empty(hidden.shape if hidden_grad else 0)
    return losses, torch.empty_like(losses), grad_hidden, weight.new_empty(weight.shape if weight_grad else 0)


@torch.library.custom_op("workbench_kernels::linear_cross_entropy_weight_gradient", mutates_args=())
def weight_gradient_op(
    hidden: Tensor,
    weight: Tensor,
    labels: Tensor,
    log_sums: Tensor,
    upstream: Tensor,
    z_loss: float,
    dtype: torch.dtype,
) -> Tensor:
    """The weight's gradient for an upstream gradient of its own for each token."""
    kept = vocabulary.kept_rows(labels, IGNORED)
    if kept is not None:
        hidden, labels, log_sums, upstream = hidden[kept], labels[kept], log_sums[kept], upstream[kept]
    rows, matrix, labels, upstream = hidden.to(dtype), weight.to(dtype), labels.contiguous(), upstream.contiguous()
    total = None
    for part in vocabulary.chunks(len(rows), len(weight), dtype):
        buffer = vocabulary.logits_of(rows[part], matrix)
        gradient_in_place(buffer, len(weight), labels[part], z_loss, log_sums[part], upstream[part])
        gradient = buffer[:, : len(weight)]
        total = vocabulary.add_product(total, gradient.T, rows[part], part.stop == len(rows))
    return vocabulary.weight_gradient(total, weight)


@weight_gradient_op.register_fake
def _(hidden, weight, labels, log_sums, upstream, z_loss, dtype):
    return weight.new_empty(weight.shape)


def _remember(ctx: Any, inputs: tuple, output: tuple) -> None:
    hidden, weight, labels, ctx.z_loss, ctx.dtype, _, _ = inputs
    ctx.save_for_backward(hidden, weight, labels, *output[1:])
    ctx.set_materialize_grads(False)  # else a matrix of zeros for the gradient of a gradient


def _backward(ctx: Any, upstream: Tensor | None, *_: Any) -> tuple:
    hidden, weight, labels, log_sums, grad_hidden, grad_weight = ctx.saved_tensors
    if upstream is None:
        return (None,) * 7
    wanted = ctx.needs_input_grad[:2]
    if len(upstream) and (upstream.stride() == (0,) or len(upstream) == 1):  # one number, expanded over the tokens
        grad_hidden = grad_hidden * upstream[0] if wanted[0] else None
        grad_weight = grad_weight * upstream[0] if wanted[1] else None
    else:
        grad_hidden = (grad_hidden * upstream.unsqueeze(1)).to(hidden.dtype) if wanted[0] else None
        again = (hidden, weight, labels, log_sums, upstream, ctx.z_loss, ctx.dtype)
        grad_weight = weight_gradient_op(*again) if wanted[1] else None
    return grad_hidden, grad_weight, None, None, None, None, None


forward_op.register_autograd(_backward, setup_context=_remember)


def linear_cross_entropy(hidden: Tensor, weight: Tensor, labels: Tensor, *, z_loss: float = 0.0) -> Tensor:
    """As the reference's; a label outside of the vocabulary that is not `IGNORED` costs NaN."""
    wanted = torch.is_grad_enabled()
    losses, *_ = forward_op(
        hidden.reshape(-1, hidden.shape[-1]),
        weight,
        labels.reshape(-1),
        z_loss,
        compute_dtype(hidden),
        wanted and hidden.requires_grad,
        wanted and weight.requires_grad,
    )
    return losses.view(labels.shape)
