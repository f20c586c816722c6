"""What the sides of a comparison were asked on the Compare screen, and what they said."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from workbench.language import tr
from workbench.runs.compare import Saying, Side

LARGEST_SEED = 2**53 - 1  # what keeps exact in JSON, and torch takes


@dataclass
class Asked:
    """One prompt, and the answers that have come so far.

    Args:
        texts: by side; of a side that is missing there is none yet.
        waiting: the sides that are still to answer or are answering.
    """

    prompt: str
    seed: int
    texts: dict[Side, str] = field(default_factory=dict)
    waiting: list[Side] = field(default_factory=list)

    def saying(self, sides: Sequence[Side]) -> Saying:
        """The answers of these sides, in their order."""
        texts = tuple(self._text(side) for side in sides)
        return Saying(self.prompt, texts, (None,) * len(sides), (self.seed,) * len(sides))

    def _text(self, side: Side) -> str | None:
        text = self.texts.get(side)
        return f"{text or ''}…" if side in self.waiting else text


def seed_of(text: str) -> int | None:
    """The seed that somebody typed; None where it is none."""
    return int(text) if text.isdecimal() and int(text) <= LARGEST_SEED else None


def proposals(asked: Sequence[Asked], sayings: Sequence[Saying]) -> tuple[str, int]:
    """Prompt and seed to begin with: what was asked last with the next seed, or what the runs were asked themselves."""
    if asked:
        return asked[0].prompt, asked[0].seed + 1
    for saying in sayings:
        seeds = [seed for seed in saying.seeds if seed is not None]
        if saying.prompt.strip() and seeds:
            return saying.prompt, seeds[0]
    return tr("Once upon a time"), 0
