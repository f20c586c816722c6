"""How a kernel is launched: block sizes, warps and stages from a table, by architecture and shape."""

from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple, TypeVar

import torch

Row = TypeVar("Row")

INTERPRETER = "interpreter"
"""The architecture of tensors on the CPU: programs cost most there, so blocks should be large and few."""

_SMALL_SHARED_MEMORY = (86, 89, 120, 121)
"""Compute capabilities whose blocks hold 99 KB at most, where their siblings hold 163 or 227."""

_INTERPRETED_MULTIPROCESSORS = 2  # at least two, so that strided loops over rows are tested


class Launch(NamedTuple):
    """One configuration of a kernel.

    Args:
        blocks: its `tl.constexpr` sizes by name.
        note: the shapes that it is for.
    """

    blocks: Mapping[str, int]
    num_warps: int = 4
    num_stages: int = 2
    note: str = ""

    def options(self) -> dict[str, int]:
        """The keyword arguments of the launch."""
        return {**self.blocks, "num_warps": self.num_warps, "num_stages": self.num_stages}


@lru_cache(maxsize=64)
def architecture(device: torch.device) -> str:
    """`sm_90` and the like on NVIDIA, `gfx942` and the like on AMD, `INTERPRETER` on the CPU."""
    if device.type != "cuda":
        return INTERPRETER
    if torch.version.hip is not None:
        return str(torch.cuda.get_device_properties(device).gcnArchName).split(":")[0]
    major, minor = torch.cuda.get_device_capability(device)
    return f"sm_{major}{minor}"


@lru_cache(maxsize=64)
def multiprocessors(device: torch.device) -> int:
    """How many blocks run side by side at least; for kernels whose programs stay and loop."""
    if device.type != "cuda":
        return _INTERPRETED_MULTIPROCESSORS
    return int(torch.cuda.get_device_properties(device).multi_processor_count)


def lookup(table: Mapping[str, Row], architecture: str) -> Row:
    """The row for `architecture`: its own, else that of the nearest older relative, else the one named `default`.

    Relatives share the limit of shared memory: a row for sm_80 is too large for sm_86, one for sm_86 fits sm_120.
    """
    if architecture in table:
        return table[architecture]
    if architecture.startswith("sm_"):
        older = [name for name in table if _is_older_relative(name, architecture)]
        if older:
            return table[max(older, key=_capability)]
    return table["default"]


def _is_older_relative(name: str, architecture: str) -> bool:
    if not name.startswith("sm_"):
        return False
    small = [_capability(each) in _SMALL_SHARED_MEMORY for each in (name, architecture)]
    return small[0] == small[1] and _capability(name) <= _capability(architecture)


def _capability(architecture: str) -> int:
    return int(architecture.removeprefix("sm_"))


def next_power_of_2(size: int) -> int:
    """The smallest power of two that is at least `size`: what a block must be."""
    return 1 << max(0, size - 1).bit_length()
