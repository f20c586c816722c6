"""Attention in plain PyTorch: the definition, the CPU path and the test oracle."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from workbench_kernels.documents import Documents, Tile, plain_tiles, sliding_window


def attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    causal: bool = True,
    window: int | None = None,
    document_starts: Tensor | Documents | None = None,
) -> Tensor:
    """Softmax attention; each group of query heads shares a key and value head.

    Args:
        q: (batch, heads, seq, head_dim).
        k: (batch, kv_heads, kv_seq, head_dim), heads a multiple of kv_heads; v likewise.
        causal: a query sees keys up to its own position, the last query standing at the last key.
        window: a query sees no key before the last `window` ones up to and including its own position.
        document_starts: (batch, seq): with `causal`, the key position at which each query's document starts, never
            decreasing along a row; or the same prepared as `Documents`, which many layers can share.
    Returns:
        (batch, heads, seq, head_dim), in the dtype of q; 0 for queries that see no key.
    """
    check(causal, window, document_starts)
    k, v = k.to(q.dtype), v.to(q.dtype)
    seq, kv_seq = q.shape[2], k.shape[2]
    documents = document_starts
    if isinstance(documents, Tensor):
        documents = Documents(documents, kv_seq)
    if window is not None and window >= kv_seq:
        window = None
    if window is not None and causal:
        if documents is not None:
            documents = documents.windowed(window)
        elif seq == 1:
            k, v = k[:, :, -window:], v[:, :, -window:]
        else:
            documents = sliding_window(seq, kv_seq, window, q.device)
        window = None
    if torch.is_grad_enabled() and _tiles_win(q, documents):
        return _TiledBackward.apply(q, k, v, causal, window, documents)
    return _attend(q, k, v, causal, window, documents)


def check(causal: bool, window: int | None, document_starts: Tensor | Documents | None) -> None:
    """Refuse what has no meaning."""
    assert causal or document_starts is None, "documents are for causal attention"
    assert window is None or window >= 1, "a window holds at least the query's own position"


def _tiles_win(q: Tensor, documents: Documents | None) -> bool:
    """True where plain matrix products, tile by tile, are faster than PyTorch's own backward.

    Its backward for the CPU takes up to five times the forward in bf16, and cannot skip what other documents hold.
    """
    return q.device.type == "cpu" and (q.dtype == torch.bfloat16 or (documents is not None and documents.long))


class _TiledBackward(torch.autograd.Function):
    """Saves q, k and v; backward makes the scores again, a tile at a time, by plain matrix products."""

    @staticmethod
    def forward(
        ctx: Any, q: Tensor, k: Tensor, v: Tensor, causal: bool, window: int | None, documents: Documents | None
    ) -> Tensor:
        ctx.save_for_backward(q, k, v)
        ctx.seen = causal, window, documents
        return _attend(q, k, v, causal, window, documents)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None, None]:
        q, k, v = ctx.saved_tensors
        grads = _attend_backward(q, k, v, grad, _tiles(q, k, *ctx.seen))
        return (*grads, None, None, None)


def _attend(q: Tensor, k: Tensor, v: Tensor, causal: bool, window: int | None, documents: Documents | None) -> Tensor:
    seq, kv_seq = q.shape[2], k.shape[2]
    if documents is None and window is None and (not causal or seq == 1):
        return F.scaled_dot_product_attention(q, k, v, enable_gqa=True)
    if documents is None and causal and seq == kv_seq:
        return F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
    if documents is not None and not documents.long:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=documents.mask(q.dtype), enable_gqa=True)
    # PyTorch's causal flag aligns the diagonal to the first key; with a cache it must end at the last: masks then.
    out = torch.empty_like(q)
    for rows, queries, keys, mask in _tiles(q, k, causal, window, documents):
        out[rows, :, queries] = F.scaled_dot_product_attention(
            q[rows, :, queries], k[rows, :, keys], v[rows, :, keys], attn_mask=mask, enable_gqa=True
        )
    return out


def _tiles(q: Tensor, k: Tensor, causal: bool, window: int | None, documents: Documents | None) -> list[Tile]:
    if documents is not None:
        return documents.tiles(q.dtype)
    return plain_tiles(q.shape[2], k.shape[2], causal, window, q.dtype, q.device)


def _attend_backward(q: Tensor, k: Tensor, v: Tensor, grad: Tensor, tiles: list[Tile]) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of q, k and v; query heads that share keys are rows of one matrix."""
    scale = q.shape[-1] ** -0.5
    k, v = k.contiguous(), v.contiguous()
    grad_q = _like_projection(q)
    # float32 (or wider): the parts of several tiles are summed here
    wide = torch.promote_types(q.dtype, torch.float32)
    grad_k, grad_v = torch.zeros_like(k, dtype=wide), torch.zeros_like(v, dtype=wide)
    # Queries before the first key see none: a plain softmax would give them NaN, and the careful one is slower.
    softmax = torch.softmax if q.shape[2] <= k.shape[2] else torch.ops.aten._safe_softmax
    for rows, queries, keys, mask in tiles:
        k_tile, v_tile = k[rows, :, keys].flatten(0, 1), v[rows, :, keys].flatten(0, 1)
        q_tile, grad_tile = _grouped(q[rows, :, queries], k), _grouped(grad[rows, :, queries], k)
        p = softmax(_scores(q_tile, k_tile, mask, scale, k.shape[1]), -1)
        grad_p = torch.bmm(grad_tile, v_tile.mT)
        grad_scores = torch.ops.aten._softmax_backward_data(grad_p, p, -1, p.dtype)
        q_part = grad_q[rows, :, queries]
        q_part.copy_(torch.bmm(grad_scores, k_tile).view(q_part.shape))
        k_part, v_part = grad_k[rows, :, keys], grad_v[rows, :, keys]
        k_part += torch.bmm(grad_scores.mT, q_tile).view(k_part.shape)
        v_part += torch.bmm(p.mT, grad_tile).view(v_part.shape)
    return grad_q.mul_(scale), grad_k.mul_(scale).to(k.dtype), grad_v.to(v.dtype)


def _grouped(x: Tensor, k: Tensor) -> Tensor:
    """(rows, heads, queries, head_dim) as (rows * kv_heads, heads by group * queries, head_dim)."""
    rows, heads, queries, head_dim = x.shape
    kv_heads = k.shape[1]
    return x.reshape(rows * kv_heads, heads // kv_heads * queries, head_dim)


def _scores(q: Tensor, k: Tensor, mask: Tensor | None, scale: float, kv_heads: int) -> Tensor:
    """Scaled, masked products of grouped queries with keys: (rows * kv_heads, group * queries, keys)."""
    if mask is None:
        return torch.bmm(q, k.mT).mul_(scale)
    group = q.shape[1] // mask.shape[2]
    if len(mask) == 1:
        bias = mask[0].repeat(1, group, 1)
    else:
        bias = mask.unsqueeze(1).expand(-1, kv_heads, group, -1, -1).reshape(*q.shape[:2], k.shape[1])
    return torch.baddbmm(bias, q, k.mT, alpha=scale)


def _like_projection(x: Tensor) -> Tensor:
    """An empty tensor shaped as `x` (batch, heads, seq, head_dim), laid out as the projection before it makes it."""
    batch, heads, seq, head_dim = x.shape
    return x.new_empty(batch, seq, heads, head_dim).transpose(1, 2)
