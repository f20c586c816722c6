"""The divergence of student and teacher through their output matrices in Triton: chunks of logits, one kernel for both.

The kernel reads a row of both logits twice: first for the two logarithms of sums and the expected difference, block by
block and rescaled as the largest logits grow, then, from the last block back, to write the student's gradient.

Saved for backward: both hiddens and matrices, labels, and the gradients for an upstream gradient of 1. One number as
upstream scales them. Another upstream scales each row of hidden's gradient, and makes one more pass over the chunks for
the weight's.
Bytes moved by the kernel: tokens * vocab_size * (4 reads + 1 write), of which the second two reads come from the L2
cache while the rows in flight fit it.
It loses against unfused logits where memory is plenty and each chunk has too few rows to fill the tensor cores.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from workbench_kernels.launch import INTERPRETER, Launch, architecture
from workbench_kernels.reference import compute_dtype
from workbench_kernels.reference_cross_entropy import IGNORED
from workbench_kernels.reference_kl import Direction, check
from workbench_kernels.triton_ops import vocabulary

LOG2E = tl.constexpr(1.4426950408889634)
LN2 = tl.constexpr(0.6931471805599453)
LOWEST = tl.constexpr(-1.0e30)  # stands for minus infinity: the difference of two of it is 0, not NaN


@triton.jit
def _load(logits, at, stride, vocab_size, scale, MASKED: tl.constexpr):
    """A block of logits in float32, over the temperature and in units of ln 2; masked, the padding is lowest."""
    if MASKED:
        x = tl.load(logits + at, mask=at < stride, other=0.0).to(tl.float32)
        return tl.where(at < vocab_size, x * scale, LOWEST)
    return tl.load(logits + at).to(tl.float32) * scale


@triton.jit
def _add_block(a, b, largest_a, total_a, largest_b, total_b, moment):
    """Sums of both sides' powers of 2, and of (a - b) weighted by a's, with one block more."""
    higher_a = tl.maximum(largest_a, tl.max(a, 0))
    higher_b = tl.maximum(largest_b, tl.max(b, 0))
    power = tl.math.exp2(a - higher_a)
    rescale = tl.math.exp2(largest_a - higher_a)
    total_a = total_a * rescale + tl.sum(power, 0)
    moment = moment * rescale + tl.sum(power * (a - b), 0)
    total_b = total_b * tl.math.exp2(largest_b - higher_b) + tl.sum(tl.math.exp2(b - higher_b), 0)
    return higher_a, total_a, higher_b, total_b, moment


@triton.jit
def _store_gradient(
    logits, at, a, b, log_sum_a, log_sum_b, mean, slope, stride, REVERSE: tl.constexpr, MASKED: tl.constexpr
):
    """Of the student's logits: it is `a` in the reverse direction, else `b`. The mean is a's of a - b."""
    p = tl.math.exp2(a - log_sum_a)
    if REVERSE:
        gradient = slope * p * (a - b - mean) * LN2  # the log sums cancel; subtracted, they would leave their rounding
    else:
        gradient = slope * (tl.math.exp2(b - log_sum_b) - p)
    if MASKED:
        tl.store(logits + at, gradient.to(logits.dtype.element_ty), mask=at < stride)
    else:
        tl.store(logits + at, gradient.to(logits.dtype.element_ty))


@triton.jit
def kl_kernel(
    STUDENT,
    TEACHER,
    DIVERGENCE,
    UPSTREAM,
    stride,
    vocab_size,
    inverse_temperature,
    REVERSE: tl.constexpr,
    WITH_GRADIENT: tl.constexpr,
    WITH_UPSTREAM: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """One program a row. STUDENT's logits become their gradient; columns from vocab_size to stride are padding."""
    row = tl.program_id(0).to(tl.int64)
    student = STUDENT + row * stride
    if REVERSE:
        left = student
        right = TEACHER + row * stride
    else:
        left = TEACHER + row * stride
        right = student
    columns = tl.arange(0, BLOCK)
    scale = inverse_temperature * LOG2E
    largest_a = tl.full((), LOWEST, tl.float32)
    largest_b = tl.full((), LOWEST, tl.float32)
    total_a = tl.full((), 0.0, tl.float32)
    total_b = tl.full((), 0.0, tl.float32)
    moment = tl.full((), 0.0, tl.float32)
    tail = vocab_size // BLOCK * BLOCK
    for start in range(0, tail, BLOCK):
        a = _load(left, start + columns, stride, vocab_size, scale, False)
        b = _load(right, start + columns, stride, vocab_size, scale, False)
        largest_a, total_a, largest_b, total_b, moment = _add_block(
            a, b, largest_a, total_a, largest_b, total_b, moment
        )
    if tail < vocab_size:
        a = _load(left, tail + columns, stride, vocab_size, scale, True)
        b = _load(right, tail + columns, stride, vocab_size, scale, True)
        largest_a, total_a, largest_b, total_b, moment = _add_block(
            a, b, largest_a, total_a, largest_b, total_b, moment
        )
    log_sum_a = largest_a + tl.math.log2(total_a)
    log_sum_b = largest_b + tl.math.log2(total_b)
    mean = moment / total_a
    tl.store(DIVERGENCE + row, (mean - (log_sum_a - log_sum_b)) * LN2)
    if WITH_GRADIENT:
        slope = inverse_temperature
        if WITH_UPSTREAM:
            slope *= tl.load(UPSTREAM + row)
        tl.debug_barrier()  # nothing is overwritten before all threads have read it
        if tail < vocab_size:
            at = tail + columns
            a = _load(left, at, stride, vocab_size, scale, True)
            b = _load(right, at, stride, vocab_size, scale, True)
            _store_gradient(student, at, a, b, log_sum_a, log_sum_b, mean, slope, stride, REVERSE, True)
        for start in range(BLOCK, tail + BLOCK, BLOCK):
            at = tail - start + columns
            a = _load(left, at, stride, vocab_size, scale, False)
            b = _load(right, at, stride, vocab_size, scale, False)
            _store_gradient(student, at, a, b, log_sum_a, log_sum_b, mean, slope, stride, REVERSE, False)


def launches(arch: str) -> dict[str, Launch]:
    """Every launch the table can pick, by vocabulary."""
    if arch == INTERPRETER:  # small, so that tests of small vocabularies meet several blocks
        return {"small": Launch({"BLOCK": 32}), "large": Launch({"BLOCK": 64})}
    # 16 elements a thread and side: with two sides, as many loads in flight as the cross-entropy has
    warps = 4 if arch.startswith("gfx") else 8
    return {
        "small": Launch({"BLOCK": 1024}, warps // 4, 1, "vocabularies up to one small block"),
        "large": Launch({"BLOCK": 4096}, warps, 1, "all other vocabularies"),
    }


def pick(arch: str, stride: int) -> Launch:
    """The launch for rows of `stride` logits."""
    table = launches(arch)
    return table["small" if stride <= table["small"].blocks["BLOCK"] else "large"]


def divergence_in_place(
    student: Tensor,
    teacher: Tensor,
    vocab_size: int,
    divergence: Tensor,
    upstream: Tensor | None,
    with_grad: bool,
    temperature: float,
    reverse: bool,
) -> None:
    """Write the divergences and, with_grad, their gradient over the student's logits."""
    rows, stride = student.shape
    kl_kernel[(rows,)](
        student,
        teacher,
        divergence,
        divergence if upstream is None else upstream,
        stride,
        vocab_size,
        1.0 / temperature,
        REVERSE=reverse,
        WITH_GRADIENT=with_grad,
        WITH_UPSTREAM=upstream is not None,
        **pick(architecture(student.device), stride).options(),
    )


@torch.library.custom_op("workbench_kernels::linear_kl", mutates_args=())
def forward_op(
    hidden: Tensor,
    weight: Tensor,
    teacher_hidden: Tensor,
    teacher_weight: Tensor,
    labels: Tensor | None,
    upstream: Tensor | None,
    temperature: float,
    reverse: bool,
    dtype: torch.dtype,
    hidden_grad: bool,
    weight_grad: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Divergences, and the gradients asked for (else empty), for an upstream gradient of 1 unless it is given."""
    kept = None if labels is None else vocabulary.kept_rows(labels, IGNORED)
    rows, teacher_rows, count = hidden, teacher_hidden, len(hidden)
    if kept is not None:
        rows, teacher_rows = rows[kept], teacher_rows[kept]
        upstream = None if upstream is None else upstream[kept]
    upstream = None if upstream is None else upstream.float().contiguous()
    rows, matrix = rows.to(dtype), weight.to(dtype)
    teacher_rows, teacher_matrix = teacher_rows.to(dtype), teacher_weight.to(dtype)
    divergence = torch.empty(len(rows), dtype=torch.float32, device=hidden.device)
    grad_hidden = torch.empty(rows.shape, dtype=hidden.dtype, device=hidden.device) if hidden_grad else None
    total = None
    for part in vocabulary.chunks(len(rows), 2 * len(weight), dtype):
        buffer = vocabulary.logits_of(rows[part], matrix)
        teacher = vocabulary.logits_of(teacher_rows[part], teacher_matrix)
        slope = None if upstream is None else upstream[part]
        divergence_in_place(
            buffer, teacher, len(weight), divergence[part], slope, hidden_grad or weight_grad, temperature, reverse
        )
        gradient = buffer[:, : len(weight)]
        if grad_hidden is not None:
            grad_hidden[part] = gradient @ matrix
        if weight_grad:
            total = vocabulary.add_product(total, gradient.T, rows[part], part.stop == len(rows))
    divergence = vocabulary.spread(divergence, kept, count)
    grad_hidden = hidden.new_empty(0) if grad_hidden is None else vocabulary.spread(grad_hidden, kept, count)
    grad_weight = vocabulary.weight_gradient(total, weight) if weight_grad else weight.new_empty(0)
    return divergence, grad_hidden, grad_weight


@forward_op.register_fake
def _(
    hidden,
    weight,
    teacher_hidden,
    teacher_weight,
    labels,
    upstream,
    temperature,
    reverse,
    dtype,
    hidden_grad,
    weight_grad,
):
    grad_hidden = hidden.new_empty(hidden.shape if hidden_grad else 0)
    grad_weight = weight.new_empty(weight.shape if weight_grad else 0)
    return hidden.new_empty(hidden.shape[0], dtype=torch.float32), grad_hidden, grad_weight


def _remember(ctx: Any, inputs: tuple, output: tuple) -> None:
    *tensors, _, ctx.temperature, ctx.reverse, ctx.dtype, _, _ = inputs
    ctx.save_for_backward(*tensors, *output[1:])
    ctx.set_materialize_grads(False)  # else a matrix of zeros for the gradient of a gradient


def _backward(ctx: Any, upstream: Tensor | None, *_: Any) -> tuple:
    *tensors, grad_hidden, grad_weight = ctx.saved_tensors
    if upstream is None:
        return (None,) * 11
    wanted = ctx.needs_input_grad[:2]
    if len(upstream) and (upstream.stride() == (0,) or len(upstream) == 1):  # one number, expanded over the tokens
        grad_hidden = grad_hidden * upstream[0] if wanted[0] else None
        grad_weight = grad_weight * upstream[0] if wanted[1] else None
    else:
        grad_hidden = (grad_hidden * upstream.unsqueeze(1)).to(grad_hidden.dtype) if wanted[0] else None
        again = (*tensors, upstream, ctx.temperature, ctx.reverse, ctx.dtype, False, True)
        grad_weight = forward_op(*again)[2] if wanted[1] else None
    return grad_hidden, grad_weight, *(None,) * 9


forward_op.register_autograd(_backward, setup_context=_remember)


def linear_kl(
    hidden: Tensor,
    weight: Tensor,
    teacher_hidden: Tensor,
    teacher_weight: Tensor,
    labels: Tensor | None = None,
    *,
    temperature: float = 1.0,
    direction: Direction = "forward",
) -> Tensor:
    """As the reference's."""
    check(hidden, weight, teacher_hidden, teacher_weight, labels, temperature, direction)
    wanted = torch.is_grad_enabled()
    divergence, *_ = forward_op(
        hidden.reshape(-1, hidden.shape[-1]),
        weight,
        teacher_hidden.detach().reshape(-1, teacher_hidden.shape[-1]),
        teacher_weight.detach(),
        None if labels is None else labels.reshape(-1),
        None,
        temperature,
        direction == "reverse",
        compute_dtype(hidden),
        wanted and hidden.requires_grad,
        wanted and weight.requires_grad,
    )
    return divergence.view(hidden.shape[:-1])
