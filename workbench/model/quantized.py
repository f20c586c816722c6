"""A linear layer whose weights are frozen as int8: a quarter of the memory, and gradients only for what flows through.

Source: training small matrices over a quantised base, Dettmers et al. 2023, arXiv:2305.14314.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

import workbench_kernels


class Int8Linear(nn.Module):
    """x times a frozen matrix that is kept in int8, each row with a scale of its own.

    Args:
        linear: the layer to take the weights of; it must have no bias.
    """

    weight: Tensor
    scale: Tensor
    in_features: int
    out_features: int

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        assert linear.bias is None, "linear layers of these models have no bias"
        self.in_features, self.out_features = linear.in_features, linear.out_features
        weight, scale = workbench_kernels.quantize_int8(linear.weight)
        self.register_buffer("weight", weight)  # (out_features, in_features) int8
        self.register_buffer("scale", scale)  # (out_features,) float32

    def forward(self, x: Tensor) -> Tensor:
        """x: (..., in_features); the result: (..., out_features)."""
        return _FrozenProduct.apply(x, self.weight, self.scale)

    def dense(self) -> Tensor:
        """The matrix in float32 that the int8 numbers stand for."""
        return self.weight * self.scale.unsqueeze(1)


class _FrozenProduct(torch.autograd.Function):
    """Keeps the int8 matrix for the backward pass, not its float copy."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, scale: Tensor) -> Tensor:
        kind = x.device.type
        ctx.dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype
        ctx.given = x.dtype
        ctx.save_for_backward(weight, scale)
        return nn.functional.linear(x.to(ctx.dtype), _dense(weight, scale, ctx.dtype))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None, None]:
        weight, scale = ctx.saved_tensors
        return (upstream.to(ctx.dtype) @ _dense(weight, scale, ctx.dtype)).to(ctx.given), None, None


def _dense(weight: Tensor, scale: Tensor, dtype: torch.dtype) -> Tensor:
    return (weight * scale.unsqueeze(1)).to(dtype)


def quantize_linears(model: nn.Module) -> None:
    """Put an `Int8Linear` in the place of every linear layer below `model`."""
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.Linear):
                setattr(parent, name, Int8Linear(child))
