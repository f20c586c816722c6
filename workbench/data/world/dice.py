"""Seeded choices that come out the same on every Python."""

import random
from collections.abc import Sequence
from typing import TypeVar

Item = TypeVar("Item")


class Dice:
    """Choices drawn from one seed and one purpose.

    Only `Random.random` is used: of all of Python's generators its numbers alone are promised to stay the same in
    later versions, and the committed files must come out bit by bit.

    Args:
        seed: the seed of the whole world.
        purpose: what is being decided; each purpose has numbers of its own, so that a change in one leaves the
            others as they were.
    """

    def __init__(self, seed: int, purpose: str) -> None:
        self._random = random.Random(f"{seed}/{purpose}")

    def below(self, limit: int) -> int:
        """A whole number from 0 to `limit` - 1."""
        return int(self._random.random() * limit)

    def chance(self, share: float) -> bool:
        """True in `share` of all throws."""
        return self._random.random() < share

    def pick(self, items: Sequence[Item]) -> Item:
        """One of `items`."""
        return items[self.below(len(items))]

    def shuffled(self, items: Sequence[Item]) -> list[Item]:
        """All of `items`, in another order."""
        mixed = list(items)
        for last in range(len(mixed) - 1, 0, -1):
            other = self.below(last + 1)
            mixed[last], mixed[other] = mixed[other], mixed[last]
        return mixed

    def some(self, items: Sequence[Item], count: int) -> list[Item]:
        """`count` different ones of `items`, in any order."""
        return self.shuffled(items)[:count]
