"""A curve in a few lines of text, for reports that are read anywhere."""

import math
from collections.abc import Sequence
from itertools import pairwise

from workbench.language import tr

Point = tuple[float, float]

# Bits of a braille cell, by row and column of its 4 x 2 dots.
_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
_BLANK = 0x2800
_MARK = "●"


def text_curve(line: Sequence[Point], marks: Sequence[Point] = (), width: int = 60, height: int = 10) -> list[str]:
    """Points as a line of dots and others as marks, such as training and validation losses, with axes.

    Args:
        line: (step, value) pairs; those that are not finite are left out. Without any the curve is empty.
        width: columns of the plot; height: its rows. Labels come on top.
    """
    line, marks = _finite(line), _finite(marks)
    points = [*line, *marks]
    if not points:
        return []
    left, right = min(x for x, _ in points), max(x for x, _ in points)
    low, high = min(y for _, y in points), max(y for _, y in points)
    columns, rows = width * 2, height * 4

    def place(point: Point) -> tuple[int, int]:
        x = (point[0] - left) / ((right - left) or 1) * (columns - 1)
        y = (high - point[1]) / ((high - low) or 1) * (rows - 1)
        return round(x), round(y)

    cells = [[_BLANK] * width for _ in range(height)]
    for column, row in _joined([place(point) for point in _averaged(line, left, right, columns)]):
        cells[row // 4][column // 2] |= _DOTS[row % 4][column % 2]
    drawn = [[chr(cell) for cell in row_of_cells] for row_of_cells in cells]
    for column, row in map(place, marks):
        drawn[row // 4][column // 2] = _MARK
    labels = _labels(low, high, height)
    margin = max(map(len, labels.values()))
    plot = [f"{labels.get(index, ''):>{margin}} ┤{''.join(row)}".rstrip() for index, row in enumerate(drawn)]
    first, last = f"{left:,.0f}", tr("{count:,} steps", count=round(right))
    steps = f"{first}{last:>{max(width - len(first), len(last) + 1)}}"
    return [*plot, f"{'':{margin}} └{'─' * width}", f"{'':{margin}}  {steps}"]


def _finite(points: Sequence[Point]) -> list[Point]:
    return [(x, y) for x, y in points if math.isfinite(x) and math.isfinite(y)]


def _averaged(points: Sequence[Point], left: float, right: float, columns: int) -> list[Point]:
    """One point a dot column: a long run's noise would otherwise fill the plot."""
    share = (columns - 1) / ((right - left) or 1)
    by_column: dict[int, list[Point]] = {}
    for point in sorted(points):
        by_column.setdefault(round((point[0] - left) * share), []).append(point)
    return [
        (sum(x for x, _ in group) / len(group), sum(y for _, y in group) / len(group)) for group in by_column.values()
    ]


def _joined(places: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """The places with the columns between them filled along straight lines."""
    joined = list(places)
    for (column, row), (next_column, next_row) in pairwise(places):
        slope = (next_row - row) / max(next_column - column, 1)
        joined += [(between, round(row + slope * (between - column))) for between in range(column + 1, next_column)]
    return joined


def _labels(low: float, high: float, height: int) -> dict[int, str]:
    """What stands beside the top, the middle and the bottom row."""
    middle = (height - 1) // 2
    between = high - (high - low) * middle / max(height - 1, 1)
    return {row: f"{value:.3g}" for row, value in ((middle, between), (0, high), (height - 1, low))}
