"""How much text a token holds."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


class Encoder(Protocol):
    """Anything that turns texts into ids."""

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of each text."""


@dataclass(frozen=True)
class Compression:
    """The size of the same text in bytes (UTF-8), characters and tokens."""

    size_bytes: int
    characters: int
    tokens: int

    @property
    def bytes_per_token(self) -> float:
        """UTF-8 bytes by one token; 0 where there is no text."""
        return self.size_bytes / self.tokens if self.tokens else 0.0

    @property
    def characters_per_token(self) -> float:
        """Characters by one token; 0 where there is no text."""
        return self.characters / self.tokens if self.tokens else 0.0


@dataclass(frozen=True)
class TrainingSample:
    """What a tokenizer was trained on.

    Args:
        size_bytes: UTF-8 bytes of text that training looked at.
        complete: False if there was more text than the settings allow to look at.
        bytes_per_token: UTF-8 bytes by one token, measured on the beginning of the sample; None without text.
    """

    size_bytes: int
    complete: bool
    bytes_per_token: float | None


def measure_compression(tokenizer: Encoder, texts: Sequence[str]) -> Compression:
    """The size of `texts` with and without `tokenizer`."""
    return Compression(
        size_bytes=sum(len(text.encode("utf-8", "replace")) for text in texts),
        characters=sum(len(text) for text in texts),
        tokens=sum(len(ids) for ids in tokenizer.encode_batch(texts)),
    )
