"""The output matrix and the cross-entropy in one, chunk by chunk: (tokens, vocabulary) never exists all at once."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from workbench_kernels.reference import compute_dtype, statistics_dtype

IGNORED = -100
"""The label of a token that carries no loss."""

_LOGITS_AT_ONCE = 1 << 23  # of a matrix product: larger is faster, but each takes 2 or 4 bytes
_FEWEST_ROWS = 512  # of a matrix product, however large the vocabulary: the weight's gradient is summed after each
_SOFTMAX_AT_ONCE = 1 << 18  # float32 numbers that stay in a core's cache from the first operation to the last


def linear_cross_entropy(hidden: Tensor, weight: Tensor, labels: Tensor, *, z_loss: float = 0.0) -> Tensor:
    """The negative log-likelihood of each label under softmax(hidden @ weight.T).

    Args:
        hidden: (..., hidden_size).
        weight: (vocab_size, hidden_size).
        labels: (...) int64; `IGNORED` ones cost neither loss nor time.
        z_loss: z_loss * logsumexp(logits)**2 is added to the loss of each token that is not ignored; it keeps the
            logits from drifting (1e-4 is usual).
    Returns:
        (...) float32 (float64 for float64 inputs), 0 where ignored. Products are in autocast's dtype, the softmax in
        float32.
    Source: the gradient in the forward pass is Liger-Kernel's idea, arXiv:2410.10989; the z-loss is PaLM's,
        arXiv:2204.02311.
    """
    flat = _LinearCrossEntropy.apply(hidden.reshape(-1, hidden.shape[-1]), weight, labels.reshape(-1), z_loss)
    return flat.view(labels.shape)


class _LinearCrossEntropy(torch.autograd.Function):
    """Takes the gradients while the logits are there, for an upstream gradient of 1.

    A sum or mean of the losses only scales them. Any other upstream gradient still only scales the rows of hidden's,
    but makes backward go through the chunks again for the weight's.
    """

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, labels: Tensor, z_loss: float) -> Tensor:
        ctx.dtype, ctx.z_loss = compute_dtype(hidden), z_loss
        nll, grads = _by_chunks(hidden, weight, labels, None, ctx.needs_input_grad[:2], ctx.dtype, z_loss)
        ctx.save_for_backward(hidden, weight, labels, *grads)
        return nll

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        hidden, weight, labels, grad_hidden, grad_weight = ctx.saved_tensors
        if upstream.numel() and (upstream.stride() == (0,) or upstream.numel() == 1):  # one number for all tokens
            scale = upstream[0]
            grad_hidden = None if grad_hidden is None else grad_hidden * scale
            grad_weight = None if grad_weight is None else grad_weight * scale
        else:
            if grad_hidden is not None:
                grad_hidden = (grad_hidden * upstream.unsqueeze(1)).to(hidden.dtype)
            if grad_weight is not None:
                wanted = (False, True)
                _, (_, grad_weight) = _by_chunks(hidden, weight, labels, upstream, wanted, ctx.dtype, ctx.z_loss)
        return grad_hidden, grad_weight, None, None


def _by_chunks(
    hidden: Tensor,
    weight: Tensor,
    labels: Tensor,
    upstream: Tensor | None,
    wanted: tuple[bool, bool],
    dtype: torch.dtype,
    z_loss: float,
) -> tuple[Tensor, tuple[Tensor | None, Tensor | None]]:
    """Losses by token, and the gradients of hidden and weight that are wanted; products are in `dtype`."""
    kept = (labels != IGNORED).nonzero().squeeze(1)
    if len(kept) == len(labels):
        return _all_kept(hidden, weight, labels, upstream, wanted, dtype, z_loss)
    upstream = None if upstream is None else upstream[kept]
    nll, (grad_hidden, grad_weight) = _all_kept(hidden[kept], weight, labels[kept], upstream, wanted, dtype, z_loss)
    nll = nll.new_zeros(len(labels)).index_copy_(0, kept, nll)
    if grad_hidden is not None:
        grad_hidden = torch.zeros_like(hidden).index_copy_(0, kept, grad_hidden)
    return nll, (grad_hidden, grad_weight)


def _all_kept(
    hidden: Tensor,
    weight: Tensor,
    labels: Tensor,
    upstream: Tensor | None,
    wanted: tuple[bool, bool],
    dtype: torch.dtype,
    z_loss: float,
) -> tuple[Tensor, tuple[Tensor | None, Tensor | None]]:
    """As `_by_chunks`, with no label ignored."""
    rows, matrix = hidden.to(dtype), weight.to(dtype)
    nll = torch.empty(labels.shape, dtype=statistics_dtype(hidden), device=hidden.device)
    grad_hidden = torch.empty_like(hidden) if wanted[0] else None
    grad_weight = None
    size = rows_at_once(len(labels), len(weight))
    for start in range(0, len(labels), size):
        part = slice(start, start + size)
        scale = None if upstream is None else upstream[part]
        logits = rows[part] @ matrix.T
        # from here on, their gradient
        _softmax_in_place(logits, labels[part], scale, nll[part], any(wanted), z_loss)
        if grad_hidden is not None:
            grad_hidden[part] = logits @ matrix
        if wanted[1]:
            grad_weight = add_product(grad_weight, logits.T, rows[part])
    return nll, (grad_hidden, weight_gradient(grad_weight, weight) if wanted[1] else None)


def rows_at_once(rows: int, vocab_size: int) -> int:
    """Rows of one matrix product, so that all are of nearly one size."""
    most = max(_FEWEST_ROWS, _LOGITS_AT_ONCE // vocab_size)
    return -(-rows // max(1, -(-rows // most))) or 1


def add_product(total: Tensor | None, a: Tensor, b: Tensor) -> Tensor:
    """total + a @ b, in float32 or wider from the second product on: a sum in bf16 stops growing."""
    if total is None:
        return a @ b
    wide = torch.promote_types(a.dtype, torch.float32)
    return total.addmm_(a, b) if a.dtype == wide else total.to(wide).add_(a @ b)


def weight_gradient(total: Tensor | None, weight: Tensor) -> Tensor:
    """The sum over the chunks in the weight's dtype; zeros where there was none."""
    return torch.zeros_like(weight) if total is None else total.to(weight.dtype)


def softmax_parts(logits: Tensor, sides: int = 1) -> Iterator[slice]:
    """A few rows at a time, so few that they stay in a core's cache; on a GPU all, each operation being a launch.

    Args:
        sides: tensors of this size that are read together.
    """
    rows, vocab_size = logits.shape
    size = max(1, _SOFTMAX_AT_ONCE // (sides * vocab_size) if logits.device.type == "cpu" else rows)
    return (slice(start, start + size) for start in range(0, rows, size))


def _softmax_in_place(
    logits: Tensor, labels: Tensor, scale: Tensor | None, nll: Tensor, with_grad: bool, z_loss: float
) -> None:
    """Write the losses into `nll` and, with_grad, their gradient over `logits`."""
    for part in softmax_parts(logits):
        target = labels[part].unsqueeze(1)
        wide = logits[part].to(nll.dtype)  # float32: sums in bf16 would lose the tail of the vocabulary
        largest = wide.amax(dim=1, keepdim=True)
        wide -= largest
        picked = wide.gather(1, target)
        total = wide.exp_().sum(dim=1, keepdim=True)
        log_total = total.log()
        loss = log_total - picked
        if z_loss:
            log_sum = log_total + largest
            loss += z_loss * log_sum.square()
        nll[part] = loss.squeeze(1)
        if with_grad:
            wide *= (1 + 2 * z_loss * log_sum) / total if z_loss else 1 / total
            wide.scatter_add_(1, target, wide.new_full(target.shape, -1.0))
            if scale is not None:
                wide *= scale[part].unsqueeze(1)
            if wide.dtype != logits.dtype:  # else it is the logits
                logits[part] = wide
