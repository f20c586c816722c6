"""Rotary position embeddings: the tables of cosines and sines (Su et al. 2021, arXiv:2104.09864).

Contexts longer than the one a model was trained on are read with scaled frequencies, in one of three ways.
"""

import math

import torch
from torch import Tensor

from workbench.errors import ModelError
from workbench.model.configuration import ModelConfig, RopeScaling

_FIRST_TABLE = 256  # positions; a table grows by doubling from here


class RotaryTables:
    """Cosines and sines by position, in float32, made when first needed and grown as texts get longer.

    A plain object, not a buffer: casting a model to bfloat16 must not round its positions.
    """

    def __init__(self, config: ModelConfig) -> None:
        self.config = config
        self._tables: dict[torch.device, tuple[Tensor, Tensor]] = {}

    def at(self, start: int, length: int, device: torch.device) -> tuple[Tensor, Tensor]:
        """Cosines and sines of `length` positions from `start`, each (length, head_dim) float32.

        The second half of a row repeats the first: Hugging Face pairs dimension i with i + head_dim / 2.

        Raises:
            ModelError: beyond max_position_embeddings.
        """
        end = start + length
        limit = self.config.max_position_embeddings
        if end > limit:
            raise ModelError(
                "context",
                f"{end} tokens are more than max_position_embeddings = {limit}",
                "shorten the text, or train a model with a longer context",
            )
        table = self._tables.get(device)
        if table is None or len(table[0]) < end:
            size = min(limit, max(_FIRST_TABLE, 1 << (end - 1).bit_length()))
            table = self._tables[device] = self._make(size, device)
        return table[0][start:end], table[1][start:end]

    # Tables first needed by an evaluation must serve training too, which refuses tensors made in inference mode.
    @torch.inference_mode(False)
    def _make(self, size: int, device: torch.device) -> tuple[Tensor, Tensor]:
        frequencies, length = rotary_frequencies(self.config)
        angles = torch.outer(torch.arange(size, dtype=torch.float32, device=device), frequencies.to(device))
        angles = torch.cat((angles, angles), dim=-1)  # (size, head_dim)
        return angles.cos().mul_(length), angles.sin().mul_(length)


def rotary_frequencies(config: ModelConfig) -> tuple[Tensor, float]:
    """Radians by position of each pair of dimensions, and the factor on cosines and sines.

    Returns:
        (head_dim / 2,) float32 on the CPU, fastest first; and 1 but for yarn.
    """
    even = torch.arange(0, config.head_dim, 2, dtype=torch.float32, device="cpu")
    frequencies = 1.0 / config.rope_theta ** (even / config.head_dim)
    scaling = config.rope_scaling
    if scaling is None:
        return frequencies, 1.0
    if scaling.rope_type == "linear":
        return frequencies / scaling.factor, 1.0
    if scaling.rope_type == "llama3":
        return _llama3(frequencies, scaling), 1.0
    assert scaling.rope_type == "yarn", scaling.rope_type
    length = 0.1 * math.log(scaling.factor) + 1.0 if scaling.attention_factor is None else scaling.attention_factor
    return _yarn(frequencies, scaling, config), length


def _llama3(frequencies: Tensor, scaling: RopeScaling) -> Tensor:
    """Divided where the original context holds few rotations, kept where it holds many, blended in between.

    Source: Grattafiori et al. 2024, arXiv:2407.21783, and the reference code of Llama 3.1.
    """
    context, low, high = scaling.original_max_position_embeddings, scaling.low_freq_factor, scaling.high_freq_factor
    assert context is not None and low is not None and high is not None, "checked where it was read"
    rotations = context * frequencies / (2 * math.pi)
    kept = ((rotations - low) / (high - low)).clamp(0, 1)
    return (1 - kept) * frequencies / scaling.factor + kept * frequencies


def _yarn(frequencies: Tensor, scaling: RopeScaling, config: ModelConfig) -> Tensor:
    """As `_llama3`, but blended evenly over dimensions, not over rotations.

    Source: Peng et al. 2023, arXiv:2309.00071, section 3.2.
    """
    fast, slow = scaling.beta_fast or 32.0, scaling.beta_slow or 1.0
    context, pairs = scaling.original_max_position_embeddings, len(frequencies)
    assert context is not None, "filled in where it was read"

    def dimension(rotations: float) -> float:
        """The pair that turns so often within the original context."""
        return pairs * math.log(context / (rotations * 2 * math.pi)) / math.log(config.rope_theta)

    first, last = dimension(fast), dimension(slow)
    if scaling.truncate is not False:
        first, last = math.floor(first), math.ceil(last)
    first, last = max(first, 0), min(last, config.head_dim - 1)
    divided = ((torch.arange(pairs, dtype=torch.float32) - first) / max(last - first, 0.001)).clamp(0, 1)
    return (1 - divided) * frequencies + divided * frequencies / scaling.factor
