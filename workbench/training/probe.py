"""What looks at a model in training without changing it: passed into the trainer by whoever composes the run."""

from dataclasses import dataclass, field
from typing import Protocol

from workbench.model.transformer import Transformer


@dataclass(frozen=True)
class Measured:
    """A validation: nats by target token, and bits by byte of the text those tokens stand for.

    Of preferences: the loss by pair, the other two over the chosen answers, and further measures by their names.
    """

    loss: float
    perplexity: float
    bits_per_byte: float
    measures: dict[str, float] = field(default_factory=dict)


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
