"""Tensors of which each rank holds a part, beside ordinary ones: whole, own part, and cut the same way.

Ordinary tensors pass through unchanged. What gathers waits for every rank.
"""

from typing import Any

from torch import Tensor


def is_sharded(tensor: Any) -> bool:
    """Whether other ranks hold parts of it: a DTensor, by what it can do, as its package takes long to import."""
    return hasattr(tensor, "full_tensor")


def whole(tensor: Any) -> Tensor:
    """All of it, gathered from the ranks."""
    return tensor.full_tensor() if is_sharded(tensor) else tensor


def own_part(tensor: Any) -> Tensor:
    """The part of it that lies here, in the same memory."""
    return tensor.detach().to_local() if is_sharded(tensor) else tensor


def cut_like(full: Tensor, parameter: Any) -> Tensor:
    """`full`, which every rank has, on the device of `parameter` and cut as that is."""
    full = full.to(parameter.device)
    if not is_sharded(parameter):
        return full
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(full, parameter.device_mesh, parameter.placements, src_data_rank=None)
