"""What an optimizer remembers between steps, in float32 or in fewer bits.

AdamW's two memories take twice the weights' own room. In bfloat16 they take half of that, in int8 a quarter; the update
itself is computed in float32, so that only the rounding of what is kept differs. Rounding is stochastic (up or down by
chance, right on average): rounding to the nearest would let a slow memory stand still once its changes are smaller
than half a step of the format. The random numbers follow from the optimizer's step and the parameter's place, so that a
resumed run rounds as it would have.

Source: blockwise 8-bit state, Dettmers et al. 2022, arXiv:2110.02861; stochastic rounding, Gupta et al. 2015,
arXiv:1502.02551.
"""

from typing import Any, Literal

import torch
from torch import Tensor

StateFormat = Literal["fp32", "bf16", "int8"]

BLOCK = 256  # numbers that share a scale in int8
SMALLEST = 4096  # numbers of a parameter; below, what is saved is not worth its rounding

# Codes are spread by a power law, so that numbers far below a block's largest keep their sign and size: the square for
# what has a sign, the fourth power for squares of gradients.
_SIGNED_LEVELS, _SQUARE_LEVELS = 127, 255
# The least root of a remembered square, (2/255)^2 of the block's largest, is no smaller than the least remembered
# gradient, (1/127)^2: what was rounded up by chance must not be divided by something far smaller.
_LEAST_SQUARE_CODE = 2


class StateFormatter:
    """Reads and writes one parameter's memories in a format.

    Args:
        state_format: of parameters with SMALLEST numbers or more; smaller ones stay in float32.
    """

    def __init__(self, state_format: StateFormat) -> None:
        self.format = state_format
        self._generators: dict[torch.device, torch.Generator] = {}

    def read(self, state: dict[str, Any], key: str, like: Tensor) -> Tensor:
        """The memory `key` as float32 in the shape of `like`, zeros where there is none yet.

        A float32 memory is the stored tensor itself; another format gives a copy to be written back.
        """
        stored = state.get(key)
        if stored is None:
            zeros = torch.zeros_like(like, dtype=torch.float32)
            if not self.shortens(like):
                state[key] = zeros
            return zeros
        if stored.dtype == torch.float32:
            return stored
        if stored.dtype == torch.bfloat16:
            return stored.float()
        codes, largest = stored.float(), state[f"{key}_scale"].unsqueeze(1)
        if stored.dtype == torch.uint8:
            values = (codes / _SQUARE_LEVELS).pow_(4).mul_(largest)
        else:
            values = codes.div_(_SIGNED_LEVELS)
            values = values.mul_(values.abs()).mul_(largest)
        return values.flatten()[: like.numel()].view_as(like)

    def write(self, state: dict[str, Any], key: str, values: Tensor, seed: tuple[int, int], square: bool) -> None:
        """Keep `values` as the memory `key`.

        Args:
            seed: the optimizer's step and the parameter's place in it.
            square: the values are means of squares, never below zero.
        """
        if not self.shortens(values):
            state[key] = values
            return
        generator = self._seeded(values.device, (*seed, square))
        if self.format == "bf16":
            state[key] = rounded_to_bf16(values, generator)
            return
        blocks = _in_blocks(values)
        largest = blocks.abs().amax(dim=1)
        shares = blocks / largest.clamp_min(torch.finfo(torch.float32).tiny).unsqueeze(1)
        noise = torch.rand(blocks.shape, generator=generator, device=blocks.device)
        if square:
            codes = shares.sqrt_().sqrt_().mul_(_SQUARE_LEVELS).add_(noise).floor_()
            codes = codes.clamp_(_LEAST_SQUARE_CODE, _SQUARE_LEVELS).mul_(blocks > 0).to(torch.uint8)
        else:
            codes = shares.abs().sqrt_().mul_(_SIGNED_LEVELS).add_(noise).floor_().clamp_(max=_SIGNED_LEVELS)
            codes = codes.copysign_(blocks).to(torch.int8)
        state[key], state[f"{key}_scale"] = codes, largest

    def shortens(self, parameter: Tensor) -> bool:
        """Whether a parameter's memories are kept in fewer bits."""
        return self.format != "fp32" and parameter.numel() >= SMALLEST

    def _seeded(self, device: torch.device, seed: tuple[int, int, bool]) -> torch.Generator:
        generator = self._generators.get(device)
        if generator is None:
            generator = self._generators[device] = torch.Generator(device)
        step, place, square = seed
        return generator.manual_seed(((step << 20) + place << 1) + square)


def rounded_to_bf16(values: Tensor, generator: torch.Generator) -> Tensor:
    """`values` (float32) in bfloat16, each rounded up or down by chance so that the mean of many is the value."""
    bits = values.contiguous().view(torch.int32)
    noise = torch.randint(0, 1 << 16, values.shape, generator=generator, device=values.device, dtype=torch.int32)
    return (bits + noise).bitwise_and_(-(1 << 16)).view(torch.float32).to(torch.bfloat16)


def _in_blocks(values: Tensor) -> Tensor:
    """`values` as (blocks, BLOCK), the last block filled up with zeros."""
    flat = values.flatten()
    missing = -flat.numel() % BLOCK
    return torch.nn.functional.pad(flat, (0, missing)).view(-1, BLOCK)
