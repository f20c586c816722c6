"""What the losses over a vocabulary share: chunks of tokens, the buffer of their logits, sums over chunks."""

from collections.abc import Iterator

import torch
from torch import Tensor

FEWEST_ROWS = 2048  # of a chunk, however large the vocabulary: the weight's gradient is read and written after each
LOGITS_BYTES = 512 << 20  # of a chunk, while that leaves it FEWEST_ROWS
_ALIGNMENT = 16  # elements; keeps every row of logits on a 16-byte border, and Triton's divisibility hint true


def chunks(rows: int, vocab_size: int, dtype: torch.dtype) -> Iterator[slice]:
    """Slices of nearly one size that cover the rows."""
    most = max(FEWEST_ROWS, LOGITS_BYTES // (max(1, vocab_size) * dtype.itemsize))
    size = -(-rows // max(1, -(-rows // most))) or 1
    for start in range(0, rows, size):
        yield slice(start, min(start + size, rows))


def logits_of(rows: Tensor, weight: Tensor) -> Tensor:
    """rows @ weight.T in the first columns of a buffer, (rows, vocab_size rounded up); the rest is arbitrary.

    Kernels read and write whole rows of the buffer, so that a vocabulary of any size moves by 128 bits at a time.
    """
    buffer = rows.new_empty(len(rows), -(-len(weight) // _ALIGNMENT) * _ALIGNMENT)
    torch.mm(rows, weight.T, out=buffer[:, : len(weight)])
    return buffer


def add_product(total: Tensor | None, a: Tensor, b: Tensor, last: bool) -> Tensor:
    """total + a @ b; over several chunks in float32, since bf16 sums stop growing.

    Args:
        total: what the chunks before gave, None for the first.
        last: no chunk follows: the only chunk of all needs no accumulator.
    """
    if total is None and last:
        return a @ b
    if total is None:
        total = torch.zeros(a.shape[0], b.shape[1], dtype=torch.float32, device=a.device)
    if a.dtype == torch.float32:
        return torch.addmm(total, a, b, out=total)
    if a.is_cuda and torch.version.cuda and hasattr(torch.ops.aten.addmm, "dtype_out"):
        return torch.ops.aten.addmm.dtype_out(total, a, b, torch.float32, out=total)
    return total.add_(a @ b)


def weight_gradient(total: Tensor | None, weight: Tensor) -> Tensor:
    """The sum over the chunks in the weight's dtype; zeros where there was none."""
    return torch.zeros_like(weight, memory_format=torch.contiguous_format) if total is None else total.to(weight.dtype)


def kept_rows(labels: Tensor, ignored: int) -> Tensor | None:
    """The positions of the labels that count, None where all do.

    The host waits for their number: the products must be as small as it is.
    """
    kept = (labels != ignored).nonzero().squeeze(1)
    return None if len(kept) == len(labels) else kept


def spread(part: Tensor, kept: Tensor | None, rows: int) -> Tensor:
    """The rows of `part` at the positions `kept`, zero elsewhere."""
    if kept is None:
        return part
    return part.new_zeros(rows, *part.shape[1:]).index_copy_(0, kept, part)
