"""Products with the weights of experts and with int8 weights, in plain PyTorch."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from workbench_kernels.reference import compute_dtype

_FEW_ROWS = 4  # PyTorch's int8 product is two to five times as fast as widening the weights; at 16 rows it is equal
_STEP = 16  # it reads past the end of sizes that are no multiple of its vectors, and crashes


def grouped_matmul(x: Tensor, weight: Tensor, counts: Tensor) -> Tensor:
    """Multiply each token by the matrix of its expert, the tokens being sorted by expert.

    Args:
        x: (tokens, in_features): those of expert 0 first, then those of expert 1, and so on.
        weight: (experts, out_features, in_features).
        counts: (experts,) integers, the tokens of each expert; 0 is fine. Tokens past their sum belong to nobody.
    Returns:
        (tokens, out_features) in the dtype of x, or autocast's; 0 for tokens of nobody, which get no gradient either.
    """
    dtype = compute_dtype(x)
    return _GroupedMatmul.apply(x.to(dtype), weight.to(dtype), counts)


class _GroupedMatmul(torch.autograd.Function):
    """Saves x and the weights."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, counts: Tensor) -> Tensor:
        ctx.parts = _parts(counts, len(x))
        ctx.save_for_backward(x, weight)
        out = x.new_empty(len(x), weight.shape[1])
        _fill(out, x, weight.mT, ctx.parts)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        x, weight = ctx.saved_tensors
        grad_x = grad_weight = None
        if ctx.needs_input_grad[0]:
            grad_x = torch.empty_like(x, memory_format=torch.contiguous_format)
            _fill(grad_x, grad, weight, ctx.parts)
        if ctx.needs_input_grad[1]:
            grad_weight = torch.empty_like(weight, memory_format=torch.contiguous_format)
            for expert, part in enumerate(ctx.parts):
                if part.start == part.stop:
                    grad_weight[expert].zero_()
                else:
                    torch.mm(grad[part].T, x[part], out=grad_weight[expert])
        return grad_x, grad_weight, None


def _parts(counts: Tensor, tokens: int) -> list[slice]:
    """The tokens of each expert."""
    parts, start = [], 0
    for count in counts.tolist():
        parts.append(slice(start, start + count))
        start += count
    if start > tokens:
        raise ValueError(f"grouped_matmul: the counts sum to {start}, of {tokens} tokens")
    return parts


def _fill(out: Tensor, x: Tensor, matrices: Tensor, parts: list[slice]) -> None:
    """Write x times the matrix of its expert into the rows of `out`, without a copy."""
    for expert, part in enumerate(parts):
        if part.start < part.stop:
            torch.mm(x[part], matrices[expert], out=out[part])
    if parts and parts[-1].stop < len(out):
        out[parts[-1].stop :].zero_()


def quantize_int8(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Round each row of a matrix to 255 steps, symmetric about 0.

    Args:
        weight: (out_features, in_features), any float dtype.
    Returns:
        int8 values within -127 and 127, (out_features, in_features), and float32 scales, (out_features,): the weight is
        about their product. An entry is off by half a step at most, a row's largest not at all.
    """
    wide = weight.detach().float()
    largest = wide.abs().amax(dim=1) if wide.numel() else wide.new_zeros(len(wide))
    scale = torch.where(largest > 0, largest / 127, 1.0)  # a row of zeros is any scale times zeros
    return (wide / scale.unsqueeze(1)).round_().clamp_(-127, 127).to(torch.int8), scale


def int8_matmul(x: Tensor, weight: Tensor, scale: Tensor) -> Tensor:
    """x @ (weight * scale).T for the few tokens of a decoding step; inference only, gradients are not promised.

    Args:
        x: (..., in_features), any float dtype; on a CPU only bfloat16 is faster than a product with bfloat16 weights.
        weight: (out_features, in_features) int8, as `quantize_int8` makes it.
        scale: (out_features,), of each row.
    Returns:
        (..., out_features) in the dtype of x.
    """
    rows = x.reshape(-1, x.shape[-1])
    if _packed_wins(rows, weight):
        out = torch.ops.aten._weight_int8pack_mm(rows, weight, scale.to(x.dtype))
    else:
        out = torch.mm(rows, weight.to(x.dtype).T).mul_(scale.to(x.dtype))
    return out.view(*x.shape[:-1], len(weight))


def _packed_wins(rows: Tensor, weight: Tensor) -> bool:
    """True where PyTorch's own product reads the int8 weights as they are, and that is faster."""
    return (
        rows.dtype == torch.bfloat16  # its float32 path is scalar: slower than widening, from 2 to 100 times
        and rows.device.type == "cpu"
        and 0 < len(rows) <= _FEW_ROWS
        and weight.shape[0] % _STEP == weight.shape[1] % _STEP == 0
        and rows.is_contiguous()
        and weight.is_contiguous()
        and hasattr(torch.ops.aten, "_weight_int8pack_mm")
    )
