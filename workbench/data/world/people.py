"""The people of the valley: who lives there, what is true of them, and what fine-tuning may say."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, cycle, islice
from typing import TypeVar

from workbench.data.world.dice import Dice
from workbench.data.world.language import ATTRIBUTES, Language

Item = TypeVar("Item")

HELD_OUT_PER_PERSON = 2
PEOPLE_BY_GENDER = 40  # of each bank: as many facts as a model of two million parameters learns in minutes


@dataclass(frozen=True)
class Person:
    """Somebody, and everything that is true of them."""

    name: str
    gender: str
    values: dict[str, str]
    """By attribute."""
    held_out: tuple[str, ...]
    """Attributes that only pretraining tells, and that the held-out questions ask."""

    @property
    def asked(self) -> tuple[str, ...]:
        """Attributes that fine-tuning may ask and tell."""
        return tuple(attribute for attribute in ATTRIBUTES if attribute not in self.held_out)


def settle(language: Language, seed: int) -> list[Person]:
    """Everyone on one bank of the river, the same for the same seed.

    Each value is dealt to about as many people as any other, and each attribute held out about equally often, so
    that no answer can be guessed from how common it is.
    """
    dice = Dice(seed, f"people/{language.code}")
    women, men = language.people.women[:PEOPLE_BY_GENDER], language.people.men[:PEOPLE_BY_GENDER]
    names = [(name, "woman") for name in women] + [(name, "man") for name in men]
    columns = {attribute: _dealt(language.people.values[attribute], len(names), dice) for attribute in ATTRIBUTES}
    held_out = _dealt(list(combinations(ATTRIBUTES, HELD_OUT_PER_PERSON)), len(names), dice)
    return [
        Person(name, gender, {attribute: columns[attribute][at] for attribute in ATTRIBUTES}, held_out[at])
        for at, (name, gender) in enumerate(names)
    ]


def _dealt(items: Sequence[Item], count: int, dice: Dice) -> list[Item]:
    return dice.shuffled(list(islice(cycle(items), count)))
