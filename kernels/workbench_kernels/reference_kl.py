"""The divergence of a student's next-token distribution from a teacher's, chunk by chunk, for distillation."""

from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from workbench_kernels.reference import compute_dtype, statistics_dtype
from workbench_kernels.reference_cross_entropy import (
    IGNORED,
    add_product,
    rows_at_once,
    softmax_parts,
    weight_gradient,
)

Direction = Literal["forward", "reverse"]


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
    """The divergence between the student's and the teacher's distribution of each next token, in nats.

    With student = softmax(hidden @ weight.T / temperature) and the teacher's alike, `forward` is
    KL(teacher || student), which spreads the student over all that the teacher does, and `reverse` is
    KL(student || teacher), which draws it to the teacher's likeliest. The factor temperature**2 that keeps gradients
    of one size over temperatures is NOT included: the caller's weighting is the place for it.

    Args:
        hidden: (..., hidden_size) of the student.
        weight: (vocab_size, hidden_size), the student's output matrix.
        teacher_hidden: (..., teacher_hidden_size), the same tokens; no gradient flows here.
        teacher_weight: (vocab_size, teacher_hidden_size): one vocabulary, in one order; no gradient flows here.
        labels: (...) int64: tokens that are `IGNORED` cost neither loss nor time; other values do not matter.
        temperature: above 0; divides the logits of both.
        direction: of the divergence.
    Returns:
        (...) float32 (float64 for float64 inputs), 0 where ignored. Products are in autocast's dtype, the
        distributions in float32.
    Raises:
        ValueError: the vocabularies, or the tokens, differ in number; temperature or direction is impossible.
    Source: Hinton et al. 2015, arXiv:1503.02531; the reverse direction, Gu et al. 2023, arXiv:2306.08543.
    """
    check(hidden, weight, teacher_hidden, teacher_weight, labels, temperature, direction)
    flat = _LinearKL.apply(
        hidden.reshape(-1, hidden.shape[-1]),
        weight,
        teacher_hidden.detach().reshape(-1, teacher_hidden.shape[-1]),
        teacher_weight.detach(),
        None if labels is None else labels.reshape(-1),
        temperature,
        direction == "reverse",
    )
    return flat.view(hidden.shape[:-1])


def check(
    hidden: Tensor,
    weight: Tensor,
    teacher_hidden: Tensor,
    teacher_weight: Tensor,
    labels: Tensor | None,
    temperature: float,
    direction: str,
) -> None:
    """Raise ValueError for what would give a wrong number or a fault deep inside."""
    if len(weight) != len(teacher_weight):
        raise ValueError(
            f"linear_kl: the student has {len(weight)} tokens, the teacher {len(teacher_weight)}; "
            "cut both output matrices to the tokens they share"
        )
    if hidden.shape[:-1] != teacher_hidden.shape[:-1] or (labels is not None and labels.shape != hidden.shape[:-1]):
        raise ValueError(
            f"linear_kl: hidden {tuple(hidden.shape)}, teacher_hidden {tuple(teacher_hidden.shape)} and labels "
            f"{None if labels is None else tuple(labels.shape)} are not of the same tokens"
        )
    if not temperature > 0:
        raise ValueError(f"linear_kl: temperature is {temperature}; it must be above 0")
    if direction not in ("forward", "reverse"):
        raise ValueError(f"linear_kl: direction is {direction!r}; say 'forward' or 'reverse'")


class _LinearKL(torch.autograd.Function):
    """Takes the gradients while the logits are there, as the cross-entropy does."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        teacher_hidden: Tensor,
        teacher_weight: Tensor,
        labels: Tensor | None,
        temperature: float,
        reverse: bool,
    ) -> Tensor:
        ctx.settings = (compute_dtype(hidden), temperature, reverse)
        sides = (hidden, weight, teacher_hidden, teacher_weight)
        divergence, grads = _by_chunks(sides, labels, None, ctx.needs_input_grad[:2], *ctx.settings)
        ctx.save_for_backward(*sides, labels, *grads)
        return divergence

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        *sides, labels, grad_hidden, grad_weight = ctx.saved_tensors
        if upstream.numel() and (upstream.stride() == (0,) or upstream.numel() == 1):  # one number for all tokens
            grad_hidden = None if grad_hidden is None else grad_hidden * upstream[0]
            grad_weight = None if grad_weight is None else grad_weight * upstream[0]
        else:
            if grad_hidden is not None:
                grad_hidden = (grad_hidden * upstream.unsqueeze(1)).to(grad_hidden.dtype)
            if grad_weight is not None:
                _, (_, grad_weight) = _by_chunks(tuple(sides), labels, upstream, (False, True), *ctx.settings)
        return grad_hidden, grad_weight, None, None, None, None, None


def _by_chunks(
    sides: tuple[Tensor, ...],
    labels: Tensor | None,
    upstream: Tensor | None,
    wanted: tuple[bool, bool],
    dtype: torch.dtype,
    temperature: float,
    reverse: bool,
) -> tuple[Tensor, tuple[Tensor | None, Tensor | None]]:
    """Divergences by token, and the gradients of hidden and weight that are wanted; products are in `dtype`."""
    hidden, weight, teacher_hidden, teacher_weight = sides
    kept = None if labels is None else (labels != IGNORED).nonzero().squeeze(1)
    if kept is None or len(kept) == len(hidden):
        return _all_kept(sides, upstream, wanted, dtype, temperature, reverse)
    upstream = None if upstream is None else upstream[kept]
    fewer = (hidden[kept], weight, teacher_hidden[kept], teacher_weight)
    part, (grad_hidden, grad_weight) = _all_kept(fewer, upstream, wanted, dtype, temperature, reverse)
    divergence = part.new_zeros(len(hidden)).index_copy_(0, kept, part)
    if grad_hidden is not None:
        grad_hidden = torch.zeros_like(hidden).index_copy_(0, kept, grad_hidden)
    return divergence, (grad_hidden, grad_weight)


def _all_kept(
    sides: tuple[Tensor, ...],
    upstream: Tensor | None,
    wanted: tuple[bool, bool],
    dtype: torch.dtype,
    temperature: float,
    reverse: bool,
) -> tuple[Tensor, tuple[Tensor | None, Tensor | None]]:
    hidden, weight = sides[:2]
    rows, matrix, teacher_rows, teacher_matrix = (side.to(dtype) for side in sides)
    divergence = torch.empty(len(rows), dtype=statistics_dtype(hidden), device=hidden.device)
    grad_hidden = torch.empty_like(hidden) if wanted[0] else None
    grad_weight = None
    size = rows_at_once(len(rows), 2 * len(weight))
    for start in range(0, len(rows), size):
        part = slice(start, start + size)
        scale = None if upstream is None else upstream[part]
        logits, teacher = rows[part] @ matrix.T, teacher_rows[part] @ teacher_matrix.T
        # from here on, their gradient
        _divergence_in_place(logits, teacher, scale, divergence[part], any(wanted), temperature, reverse)
        if grad_hidden is not None:
            grad_hidden[part] = logits @ matrix
        if wanted[1]:
            grad_weight = add_product(grad_weight, logits.T, rows[part])
    return divergence, (grad_hidden, weight_gradient(grad_weight, weight) if wanted[1] else None)


def _divergence_in_place(
    logits: Tensor,
    teacher: Tensor,
    scale: Tensor | None,
    divergence: Tensor,
    with_grad: bool,
    temperature: float,
    reverse: bool,
) -> None:
    """Write the divergences and, with_grad, their gradient over the student's logits."""
    for part in softmax_parts(logits, sides=2):
        log_student = (logits[part].to(divergence.dtype) / temperature).log_softmax(dim=1)
        log_teacher = (teacher[part].to(divergence.dtype) / temperature).log_softmax(dim=1)
        if reverse:
            p, difference = log_student.exp(), log_student - log_teacher
        else:
            p, difference = log_teacher.exp(), log_teacher - log_student
        total = torch.linalg.vecdot(p, difference)
        divergence[part] = total
        if with_grad:
            grad = p * difference.sub_(total.unsqueeze(1)) if reverse else log_student.exp_().sub_(p)
            slope = 1 / temperature if scale is None else (scale[part] / temperature).unsqueeze(1)
            logits[part] = grad.mul_(slope)
