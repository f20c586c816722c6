"""What looks at a model in training without changing it: passed into the trainer by whoever composes the run."""

from dataclasses import dataclass
from typing import Protocol

from workbench.model.transformer import Transformer


@dataclass(frozen=True)
class Measured:
    """A validation: nats by target token, and bits by byte of the text those tokens stand for."""

    loss: float
    perplexity: float
    bits_per_byte: float


@dataclass(frozen=True)
class Sample:
    """A text that the model made."""

    prompt: str
    text: str
    seed: int


class Probe(Protocol):
    """Looks at the model at a step boundary; random numbers of its own, gradients off, the model left as it was."""

    def validate(self, model: Transformer) -> Measured | None:
        """The loss on validation data, or None where there is none."""

    def sample(self, model: Transformer) -> list[Sample]:
        """The fixed prompts continued or answered; empty where there are none."""
