"""What attention is, word by word, and inputs to try it on."""

import torch
from torch import Tensor


def hidden(
    seq: int, kv_seq: int, *, causal: bool = True, window: int | None = None, starts: Tensor | None = None
) -> Tensor:
    """(batch or 1, 1, seq, kv_seq): the keys that each query does not see."""
    key, query = torch.arange(kv_seq), torch.arange(kv_seq - seq, kv_seq).unsqueeze(1)
    unseen = (key > query) if causal else torch.zeros(seq, kv_seq, dtype=torch.bool)
    if window is not None:
        unseen = unseen | (key <= query - window)
    unseen = unseen.unsqueeze(0)
    if starts is not None:
        unseen = unseen | (key < starts.cpu().unsqueeze(-1))
    return unseen.unsqueeze(1)


def scores(q: Tensor, k: Tensor, **seen: bool | int | Tensor | None) -> Tensor:
    """Scaled products of queries and the keys of their group, minus infinity where hidden."""
    k = k.repeat_interleave(q.shape[1] // k.shape[1], 1)
    unseen = hidden(q.shape[2], k.shape[2], **seen).to(q.device)
    return (q @ k.mT / q.shape[-1] ** 0.5).masked_fill(unseen, float("-inf"))


def defined(q: Tensor, k: Tensor, v: Tensor, **seen: bool | int | Tensor | None) -> Tensor:
    """Softmax attention; 0 where a query sees no key."""
    logits = scores(q, k, **seen)
    if not logits.numel():
        return q * 0 + 0 * (k.sum() + v.sum())
    highest = logits.detach().amax(-1, keepdim=True)
    blind = highest == float("-inf")
    weights = (logits - highest.masked_fill(blind, 0)).exp()
    weights = weights / weights.sum(-1, keepdim=True).masked_fill(blind, 1)
    return weights @ v.repeat_interleave(q.shape[1] // v.shape[1], 1)


def tensors(
    batch: int, heads: int, kv_heads: int, seq: int, kv_seq: int, head_dim: int, dtype: torch.dtype = torch.float32
) -> tuple[Tensor, Tensor, Tensor]:
    """q, k and v laid out as projections make them."""
    q = torch.randn(batch, seq, heads, head_dim).transpose(1, 2).to(dtype)
    k, v = (torch.randn(batch, kv_seq, kv_heads, head_dim).transpose(1, 2).to(dtype) for _ in range(2))
    return q, k, v


def packed_views(batch: int, heads: int, kv_heads: int, seq: int, head_dim: int) -> tuple[Tensor, Tensor, Tensor]:
    """q, k and v as views of what one projection to all of them makes."""
    qkv = torch.randn(batch, seq, heads + 2 * kv_heads, head_dim).transpose(1, 2)
    q, k, v = qkv.split([heads, kv_heads, kv_heads], 1)
    return q, k, v


def random_starts(batch: int, seq: int, chance: float = 0.1, shift: int = 0) -> Tensor:
    """Where the document of each query starts; `shift` keys of a cache come before the queries."""
    cuts = torch.rand(batch, seq) < chance
    return torch.cummax(torch.where(cuts, torch.arange(seq) + shift, 0), dim=1).values
