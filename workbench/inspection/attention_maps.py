"""How much each token looks at each token before it, by layer and head."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

import workbench_kernels
from workbench.inference.generate import evaluating
from workbench.inspection.watching import as_row, blocks, hooked
from workbench.model.attention import Attention
from workbench.model.transformer import Transformer

MOST_TOKENS = 512  # layers * heads * tokens ** 2 float32 numbers are kept


def attention_maps(model: Transformer, ids: Sequence[int]) -> NDArray[np.float32]:
    """The attention weights of the model reading `ids`, made anew from each layer's own queries and keys.

    The kernels never hold these weights; here they are needed, for a text of moderate length.

    Returns:
        (layers, heads, seq, seq) float32: each row sums to one over the tokens up to its own.
    Raises:
        UsageError: no text, or more than the model can read.
    """
    found: list[Tensor] = []

    def watch(attention: Attention) -> Callable[[tuple[Any, ...], Any], object]:
        return lambda given, _: found.append(_weights(attention, given[0], given[1])[0].cpu())

    with evaluating(model), hooked() as hook:
        for layer in blocks(model):
            hook(layer.self_attn, watch(layer.self_attn))
        model.hidden_states(as_row(model, ids[-MOST_TOKENS:]))
    stacked: NDArray[np.float32] = torch.stack(found).numpy()
    return stacked


def _weights(attention: Attention, x: Tensor, rotary: tuple[Tensor, Tensor]) -> Tensor:
    """Softmax of the scaled products of queries and keys, (batch, heads, seq, seq) float32; later keys are unseen."""
    batch, seq, _ = x.shape
    q = attention.q_proj(x).view(batch, seq, -1, attention.head_dim).transpose(1, 2)
    k = attention.k_proj(x).view(batch, seq, -1, attention.head_dim).transpose(1, 2)
    for name in ("q_norm", "k_norm"):  # of families that have them
        norm = getattr(attention, name, None)
        if norm is not None:
            q, k = (norm(q), k) if name == "q_norm" else (q, norm(k))
    q, k = workbench_kernels.apply_rotary(q, k, *rotary)
    k = k.repeat_interleave(q.shape[1] // k.shape[1], dim=1)
    scores = (q.float() @ k.float().transpose(-1, -2)) / math.sqrt(attention.head_dim)
    unseen = torch.ones(seq, seq, dtype=torch.bool, device=x.device).triu(1)
    return scores.masked_fill(unseen, -math.inf).softmax(dim=-1)
