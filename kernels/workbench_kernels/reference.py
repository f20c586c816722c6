"""Norm, rotary positions and the gated unit in plain PyTorch: the definition, the CPU path and the test oracle.

The backward passes are written out: a CPU step of a small model is bound by the number of operations and by memory
traffic, and these need about half of what autograd records.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable


def compute_dtype(x: Tensor) -> torch.dtype:
    """The dtype to compute products with `x` in: autocast's where autocast is on, else its own."""
    device = x.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype


def statistics_dtype(x: Tensor) -> torch.dtype:
    """The dtype for sums over `x`: float32, or float64 where `x` is that."""
    return torch.promote_types(x.dtype, torch.float32)


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """Scale each row of `x` to unit root mean square, then by `weight`.

    Args:
        x: (..., hidden_size), any float dtype; statistics are taken in float32.
        weight: (hidden_size,).
        eps: added to the mean square before the root.
    Returns:
        Same shape as `x`, in its dtype or, under autocast, in autocast's: products come next.
    Source: Zhang and Sennrich 2019, arXiv:1910.07467.
    """
    return _RMSNorm.apply(x, weight, eps)


class _RMSNorm(torch.autograd.Function):
    """Saves x and one number a row."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        wide = x.to(statistics_dtype(x))
        norm = torch.linalg.vector_norm(wide, dim=-1, keepdim=True)
        inverse_rms = norm.square_().div_(x.shape[-1]).add_(eps).rsqrt_()
        ctx.save_for_backward(x, weight, inverse_rms)
        return (wide * inverse_rms).mul_(weight).to(compute_dtype(x))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        x, weight, inverse_rms = ctx.saved_tensors
        wide = inverse_rms.dtype
        grad, weight_wide, size = grad.to(wide), weight.to(wide), x.shape[-1]
        # Layer norm with a mean of zero is this norm, and its backward is one pass instead of eight. It also takes
        # the mean of the gradient out, as if the mean depended on x: that is put back.
        mask = [ctx.needs_input_grad[0], ctx.needs_input_grad[1], False]
        grad_x, grad_weight, _ = torch.ops.aten.native_layer_norm_backward(
            grad, x.to(wide), [size], torch.zeros_like(inverse_rms), inverse_rms, weight_wide, None, mask
        )
        if grad_x is not None:
            mean_taken_out = torch.matmul(grad, weight_wide).unsqueeze(-1).mul_(inverse_rms)
            grad_x = grad_x.add_(mean_taken_out, alpha=1 / size).to(x.dtype)
        return grad_x, None if grad_weight is None else grad_weight.to(weight.dtype), None


def add_rms_norm(x: Tensor, residual: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """Add `x` to the residual stream, and norm the sum.

    Args:
        x: (..., hidden_size); residual likewise.
        weight: (hidden_size,).
        eps: added to the mean square before the root.
    Returns:
        The norm of the sum as `rms_norm` gives it, and the sum in the wider of both dtypes.
    """
    total = x + residual
    return rms_norm(total, weight, eps), total


def apply_rotary(q: Tensor, k: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor]:
    """Turn the pairs (i, i + rotary_dim / 2) of every query and key by the angles of their positions.

    Args:
        q: (batch, heads, seq, head_dim).
        k: (batch, kv_heads, seq, head_dim).
        cos: (seq, rotary_dim), float32; the second half repeats the first. Dimensions of a head from rotary_dim on
            stay as they are.
        sin: likewise.
    Returns:
        q and k turned, in their own dtypes.
    Source: Su et al. 2021, arXiv:2104.09864.
    """
    return _Rotary.apply(q, cos, sin), _Rotary.apply(k, cos, sin)


def qk_norm_rotary(
    q: Tensor, k: Tensor, q_weight: Tensor, k_weight: Tensor, cos: Tensor, sin: Tensor, eps: float
) -> tuple[Tensor, Tensor]:
    """Norm every head of q and k on its own, then turn it: `rms_norm` over head_dim followed by `apply_rotary`.

    Args:
        q: (batch, heads, seq, head_dim).
        k: (batch, kv_heads, seq, head_dim).
        q_weight: (head_dim,), shared by the heads; k_weight likewise.
        cos: (seq, rotary_dim), float32; sin likewise.
        eps: added to the mean square before the root.
    Returns:
        q and k, in their own dtypes or, under autocast, in autocast's.
    """
    return apply_rotary(rms_norm(q, q_weight, eps), rms_norm(k, k_weight, eps), cos, sin)


class _Rotary(torch.autograd.Function):
    """Saves only the tables; backward turns the other way."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        ctx.save_for_backward(cos, sin)
        return _turn(x, cos, sin, 1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        cos, sin = ctx.saved_tensors
        return _turn(grad, cos, sin, -1), None, None


def _turn(x: Tensor, cos: Tensor, sin: Tensor, direction: int) -> Tensor:
    rotary_dim = cos.shape[-1]
    if rotary_dim < x.shape[-1]:
        return torch.cat((_turn(x[..., :rotary_dim], cos, sin, direction), x[..., rotary_dim:]), dim=-1)
    half = rotary_dim // 2
    wide = x.to(statistics_dtype(x))
    turned = wide * cos
    turned[..., :half].addcmul_(wide[..., half:], sin[..., half:], value=-direction)
    turned[..., half:].addcmul_(wide[..., :half], sin[..., :half], value=direction)
    return turned.to(x.dtype)


def swiglu(gate: Tensor, up: Tensor) -> Tensor:
    """silu(gate) * up, element by element.

    Args:
        gate: any shape and float dtype.
        up: the same.
    Source: Shazeer 2020, arXiv:2002.05202.
    """
    return F.silu(gate) * up  # autograd keeps silu(gate): made again in backward, it would cost more than it weighs
