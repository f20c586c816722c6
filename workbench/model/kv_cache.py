"""KVCache: the keys and values of the tokens seen so far, so that each new token costs one step."""

import torch
from torch import Tensor

from workbench.errors import ModelError
from workbench.model.configuration import ModelConfig


class KVCache:
    """Room for `max_length` tokens of `batch` texts, allocated once.

    A forward pass writes the new tokens' keys and values layer by layer, then moves `length` on.
    """

    def __init__(
        self,
        config: ModelConfig,
        batch: int = 1,
        max_length: int | None = None,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:
        self.max_length = config.max_position_embeddings if max_length is None else max_length
        shape = (config.num_hidden_layers, batch, config.num_key_value_heads, self.max_length, config.head_dim)
        self._keys = torch.empty(shape, dtype=dtype, device=device)
        self._values = torch.empty(shape, dtype=dtype, device=device)
        self.length = 0

    def update(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Store the new tokens' k and v, and give those of all tokens so far.

        Args:
            k: (batch, kv_heads, seq, head_dim); v likewise.
        Returns:
            Views of the cache, (batch, kv_heads, length + seq, head_dim).
        """
        end = self.length + k.shape[2]
        self._keys[layer, :, :, self.length : end] = k
        self._values[layer, :, :, self.length : end] = v
        return self._keys[layer, :, :, :end], self._values[layer, :, :, :end]

    def make_room(self, seq: int) -> None:
        """Check that `seq` more tokens fit.

        Raises:
            ModelError: they do not.
        """
        if self.length + seq > self.max_length:
            raise ModelError(
                "KV cache",
                f"{self.length + seq} tokens do not fit into the {self.max_length} it has room for",
                "make the cache longer, or shorten the text",
            )

    def advance(self, seq: int) -> None:
        """Count `seq` tokens as seen, once every layer has stored them."""
        self.length += seq

    def select(self, rows: Tensor) -> None:
        """Keep the texts of these numbers alone, in this order; `rows` is (kept,) int64."""
        self._keys, self._values = self._keys[:, rows], self._values[:, rows]

    def crop(self, length: int) -> None:
        """Forget all tokens after the first `length`."""
        assert 0 <= length <= self.length, f"cannot crop {self.length} tokens to {length}"
        self.length = length

    def reset(self) -> None:
        """Forget everything; the memory is kept."""
        self.length = 0
