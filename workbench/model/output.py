"""What becomes of hidden states behind the last norm; (tokens, vocabulary) never exists all at once."""

import torch
from torch import Tensor

import workbench_kernels
from workbench_kernels.reference_kl import Direction as Direction

_LOGITS_AT_ONCE = 1 << 23


def token_losses(hidden: Tensor, head: Tensor, labels: Tensor) -> Tensor:
    """The negative log-likelihood of each label, float32, 0 where it carries no loss.

    Args:
        hidden: (..., hidden_size); labels: (...), -100 where there is none.
        head: (vocab_size, hidden_size), the output matrix.
    """
    return workbench_kernels.linear_cross_entropy(hidden, head, labels)


def divergences(
    hidden: Tensor,
    head: Tensor,
    teacher_hidden: Tensor,
    teacher_head: Tensor,
    labels: Tensor,
    temperature: float,
    direction: Direction,
) -> Tensor:
    """The divergence of each next token's distribution from a teacher's, likewise.

    Args:
        teacher_hidden: (..., teacher_hidden_size), of the same tokens; no gradient flows into the teacher.
        teacher_head: (vocab_size, teacher_hidden_size); both matrices have the same tokens.
        temperature: divides the logits of both.
    """
    return workbench_kernels.linear_kl(
        hidden, head, teacher_hidden, teacher_head, labels, temperature=temperature, direction=direction
    )


def likeliest(hidden: Tensor, head: Tensor) -> Tensor:
    """The likeliest next token of each row of `hidden`, which is (tokens, hidden_size); (tokens,)."""
    size = max(1, _LOGITS_AT_ONCE // len(head))
    parts = [hidden[start : start + size] for start in range(0, len(hidden), size)]
    found = [torch.nn.functional.linear(part, head.to(part.dtype)).argmax(dim=1) for part in parts]
    return torch.cat(found) if found else hidden.new_zeros(0, dtype=torch.long)
