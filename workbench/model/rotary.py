"""Rotary position embeddings: the tables of cosines and sines (Su et al. 2021, arXiv:2104.09864)."""

import torch
from torch import Tensor

from workbench.errors import ModelError
from workbench.model.configuration import ModelConfig

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
        even = torch.arange(0, self.config.head_dim, 2, dtype=torch.float32, device=device)
        frequencies = 1.0 / self.config.rope_theta ** (even / self.config.head_dim)
        angles = torch.outer(torch.arange(size, dtype=torch.float32, device=device), frequencies)
        angles = torch.cat((angles, angles), dim=-1)  # (size, head_dim)
        return angles.cos(), angles.sin()
