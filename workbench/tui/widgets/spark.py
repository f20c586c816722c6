"""Small pictures made of block characters: a curve in one line, a bar in eighths of a cell."""

import math
from collections.abc import Sequence

BLOCKS = "▁▂▃▄▅▆▇█"
EIGHTHS = " ▏▎▍▌▋▊▉█"


def spark(values: Sequence[float], width: int) -> str:
    """The last values as a line of blocks, `width` cells at most; each cell is the mean of its share."""
    finite = [value for value in values if math.isfinite(value)]
    if not finite or width < 1:
        return ""
    cells = min(width, len(finite))
    shares = [finite[cell * len(finite) // cells : (cell + 1) * len(finite) // cells] for cell in range(cells)]
    means = [sum(share) / len(share) for share in shares]
    low, high = min(means), max(means)
    if high - low < 1e-9 * max(abs(high), 1e-9):
        return BLOCKS[3] * cells
    return "".join(BLOCKS[round((mean - low) / (high - low) * (len(BLOCKS) - 1))] for mean in means)


def levels(shares: Sequence[float], width: int) -> str:
    """The newest shares between 0 and 1 as blocks of that height, on a scale that does not move."""
    newest = shares[-width:] if width > 0 else []
    return "".join(BLOCKS[round(min(1.0, max(0.0, share)) * (len(BLOCKS) - 1))] for share in newest)


def bar(share: float, width: int) -> str:
    """A bar filled to `share` of its `width` cells, in eighths of a cell, padded to the width."""
    eighths = round(min(1.0, max(0.0, share)) * width * 8)
    full, rest = divmod(eighths, 8)
    return (EIGHTHS[8] * full + (EIGHTHS[rest] if rest else "")).ljust(width)
