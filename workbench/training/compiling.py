"""torch.compile on trial: what cannot be compiled here trains all the same."""

import logging
from collections.abc import Callable

import torch

from workbench.data.loader import Batch
from workbench.model.moe import Experts
from workbench.model.precision import autocast
from workbench.model.transformer import Transformer
from workbench.training.objectives import Compute
from workbench.training.random_numbers import same_random_numbers

logger = logging.getLogger(__name__)

_REASON_LENGTH = 200


def compiled(
    compute: Compute, model: Transformer, batch: Batch, precision: str, on_failure: Callable[[str], None]
) -> Compute:
    """`compute` compiled, once forward and backward have been seen to work on `batch`; itself where they do not.

    Weights, gradients and random numbers are afterwards what they were.

    Args:
        on_failure: told that it stays as it is, and why.
    """
    for module in model.modules():
        if isinstance(module, Experts):  # how many tokens each gets changes in every step: a compiler would start anew
            module.forward = torch.compiler.disable(module.forward)  # type: ignore[method-assign]
    candidate: Compute = torch.compile(compute)
    try:
        with same_random_numbers(model.device):
            with autocast(model.device, precision):
                sums, _ = candidate(model, batch)
            torch.stack(list(sums.values())).sum().backward()
    except Exception as error:
        logger.exception("torch.compile failed")
        on_failure(f"torch.compile does not work here, so training goes on without it: {_reason(error)}")
        candidate = compute
    finally:
        model.zero_grad(set_to_none=True)
    return candidate


def _reason(error: Exception) -> str:
    """The first lines of a compiler's long message."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = " ".join([f"{type(error).__name__}:", *lines[:2]])
    return told if len(told) <= _REASON_LENGTH else told[: _REASON_LENGTH - 3] + "..."
