"""A seeded shuffle of any number of rows, computed where it is needed and never stored."""

import numpy as np
from numpy.typing import NDArray

ROUNDS = 6  # four mix a Feistel network in theory; six keep also the tiny domains of tiny data well mixed
MASK = (1 << 64) - 1


def mix(*numbers: int) -> int:
    """One well-mixed 64-bit number from any integers; the same ones give the same (splitmix64, chained)."""
    state = 0
    for number in numbers:
        state = (state + 0x9E3779B97F4A7C15 + (number & MASK)) & MASK
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & MASK
        state ^= state >> 31
    return state


class Permutation:
    """The numbers 0 ... size - 1 in a seeded random order, each found alone in constant time and memory.

    A Feistel network permutes the next larger power of two; what falls outside `size` is sent through again until
    it falls inside (cycle walking), which keeps it a permutation.

    Source: Black and Rogaway 2002, "Ciphers with arbitrary finite domains".
    """

    def __init__(self, size: int, *key: int) -> None:
        bits = max((size - 1).bit_length(), 4)  # smaller networks favour some orders too much
        self.size = size
        self._low_bits = np.uint64(bits // 2)
        self._low_mask = np.uint64((1 << bits // 2) - 1)
        self._high_mask = np.uint64((1 << bits - bits // 2) - 1)
        self._keys = [np.uint64(mix(*key, number)) for number in range(ROUNDS)]

    def __getitem__(self, places: NDArray[np.int64]) -> NDArray[np.int64]:
        """What stands at `places`, each of them at least 0 and below `size`."""
        values = self._scramble(places.astype(np.uint64))
        outside = np.flatnonzero(values >= self.size)
        while outside.size:
            values[outside] = self._scramble(values[outside])
            outside = outside[values[outside] >= self.size]
        return values.astype(np.int64)

    def _scramble(self, values: NDArray[np.uint64]) -> NDArray[np.uint64]:
        high, low = values >> self._low_bits, values & self._low_mask
        for even, odd in zip(self._keys[::2], self._keys[1::2], strict=True):
            high = high ^ (_mix_array(low ^ even) & self._high_mask)
            low = low ^ (_mix_array(high ^ odd) & self._low_mask)
        return (high << self._low_bits) | low


def _mix_array(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    values = (values ^ (values >> np.uint64(32))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(29))) * np.uint64(0x94D049BB133111EB)
    return values >> np.uint64(32)  # the upper bits depend on all lower ones
