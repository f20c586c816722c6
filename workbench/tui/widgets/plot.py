"""A picture of curves as styled text: what to draw (`Plot`), and one way to draw it (`draw_with_plotext`).

plotext 6.1 aborts the whole process on a NaN in a joined line and raises on infinities and on logarithms of zero,
so nothing reaches it but finite numbers that `Plot` has checked, already in the coordinates of the picture.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from rich.text import Text

from workbench.language import tr

Point = tuple[float, float]
Line = Sequence[Point]
Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Curve:
    """Unbroken lines of one colour; later curves are drawn over earlier ones.

    Args:
        sign: what its points are drawn with: dots of braille, or a character.
    """

    lines: Sequence[Line]
    colour: Colour
    sign: str = "braille"


@dataclass(frozen=True)
class Plot:
    """What to draw.

    Args:
        width, height: in cells, axes included.
        window: the x values of the left and right edge; None shows everything.
        log_y: a logarithmic y axis; values that have no logarithm are left out.
    """

    curves: Sequence[Curve]
    width: int
    height: int
    window: tuple[float, float] | None = None
    log_y: bool = False


@dataclass(frozen=True)
class Ticks:
    """Places on an axis and what stands there."""

    places: list[float]
    labels: list[str]


FLAT = 1e-5  # of its size: a curve that moves less is noise of the last digits
LARGEST = 1e30  # a curve beyond it has diverged, and its axis would overflow
Renderer = Callable[[Plot], Text]


def draw_with_plotext(plot: Plot) -> Text:
    """`plot` in braille; an explanation where there is nothing to draw or no room."""
    if plot.width < 14 or plot.height < 4:
        return Text(tr("too small"), style="dim")
    curves = [replace(curve, lines=_checked(curve.lines, plot)) for curve in plot.curves]
    points = [point for curve in curves for line in curve.lines for point in line]
    if not points:
        return Text(tr("nothing to draw yet"), style="dim italic")
    x_range = plot.window or _steps_span([x for x, _ in points])
    y_range = _span([y for _, y in points])
    return _picture(plot, curves, x_range, y_range)


def _picture(plot: Plot, curves: list[Curve], x_range: Point, y_range: Point) -> Text:
    plotext = _plotext()
    figure = plotext.figure
    figure.clear()
    figure.plot_size(plot.width, plot.height)
    figure.theme("colorless")
    figure.canvas("default")
    figure.legend(active=False)
    figure.axes(False, axis="x", side="upper")
    figure.axes(False, axis="y", side="right")
    for curve in curves:
        marker = plotext.marker(curve.sign, curve.colour)
        for line in curve.lines:
            thinned = thin(line, x_range, 2 * plot.width)
            signal = figure.signal([x for x, _ in thinned], [y for _, y in thinned], marker=marker)
            figure.draw(signal.lines() if len(thinned) > 1 else signal)
    for name, span, ticks in (
        ("x", x_range, step_ticks(x_range, max(2, plot.width // 16))),
        ("y", y_range, value_ticks(y_range, max(2, plot.height // 3), plot.log_y)),
    ):
        ruler = figure.ruler(name)
        ruler.lim(*span)
        ruler.ticks(ticks.places, ticks.labels)
    return Text.from_ansi(figure.build().string().rstrip("\n"), no_wrap=True)


@cache
def _plotext() -> Any:
    """The library, set up once: the widget decides the size, not the terminal."""
    import plotext

    plotext.terminal.limit(False, False)
    return plotext


def _checked(lines: Iterable[Line], plot: Plot) -> list[list[Point]]:
    """The lines within the window, finite, in the picture's coordinates."""
    low, high = plot.window or (-math.inf, math.inf)
    kept = []
    for line in lines:
        points = [(x, y) for x, y in line if _drawable(x, y, plot.log_y) and low <= x <= high]
        if points:
            kept.append([(x, math.log10(y)) for x, y in points] if plot.log_y else points)
    return kept


def _drawable(x: float | None, y: float | None, log_y: bool) -> bool:
    if x is None or y is None or not (abs(x) < LARGEST and abs(y) < LARGEST):  # false for NaN, too
        return False
    return y > 1 / LARGEST or not log_y


def thin(line: Line, x_range: Point, columns: int) -> list[Point]:
    """The lowest and highest point of each column, so that spikes survive; in the order of x."""
    low, high = x_range
    if len(line) <= 2 * columns or high <= low:
        return list(line)
    lowest: dict[int, Point] = {}
    highest: dict[int, Point] = {}
    for point in line:
        column = int((point[0] - low) / (high - low) * columns)
        if point[1] < lowest.get(column, (0, math.inf))[1]:
            lowest[column] = point
        if point[1] > highest.get(column, (0, -math.inf))[1]:
            highest[column] = point
    return sorted({*lowest.values(), *highest.values()})


def _span(values: list[float]) -> Point:
    """The range of `values`, widened a little; of values that hardly differ, wide enough to show that they do not."""
    low, high = min(values), max(values)
    if high - low <= FLAT * max(abs(low), abs(high), 1e-300):
        margin = abs(low) * 0.5 or 1.0
        return low - margin, high + margin
    return low - 0.04 * (high - low), high + 0.04 * (high - low)


def _steps_span(steps: list[float]) -> Point:
    """The range of steps, from 0 where that is near: a run's first report is rarely its step 0."""
    low, high = min(steps), max(steps)
    if low == high:
        return 0.0, max(1.0, high)
    return (0.0, high) if 0 < low < 0.05 * high else (low, high)


def nice_places(span: Point, wanted: int) -> list[float]:
    """Round numbers within `span`, about `wanted` of them."""
    low, high = span
    rough = (high - low) / max(1, wanted)
    magnitude = 10.0 ** math.floor(math.log10(rough))
    step = min((factor * magnitude for factor in (1, 2, 5, 10)), key=lambda step: abs(math.log(step / rough)))
    first = math.ceil(low / step)
    return [(first + index) * step for index in range(int((high - first * step) / step + 1e-9) + 1)]


def step_ticks(span: Point, wanted: int) -> Ticks:
    """Ticks of an axis of steps: 0, 500, 1k, 1.5k."""
    places = [place for place in nice_places(span, wanted) if place == round(place)]
    return Ticks(places, [_short_count(place) for place in places])


def value_ticks(span: Point, wanted: int, log: bool) -> Ticks:
    """Ticks of an axis of values; on a logarithmic one the places are exponents of ten and the labels values."""
    if not log:
        places = nice_places(span, wanted)
        return Ticks(places, _even_labels(places))
    low, high = 10.0 ** span[0], 10.0 ** span[1]
    if high / low < 10:  # within a decade, powers of ten would leave the axis empty
        values = [value for value in nice_places((low, high), wanted) if value > 0]
    else:
        decades = range(math.floor(span[0]), math.ceil(span[1]) + 1)
        factors = (1, 2, 5) if span[1] - span[0] < 3 else (1,)
        values = [factor * 10.0**decade for decade in decades for factor in factors]
        values = [value for value in values if low <= value <= high]
    return Ticks([math.log10(value) for value in values], [f"{value:.4g}" for value in values])


def _short_count(value: float) -> str:
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.4g}{letter}"
    return f"{value:.0f}"


def _even_labels(places: list[float]) -> list[str]:
    """Labels with as many decimals as tell neighbours apart; tiny and huge values with an exponent."""
    if not places:
        return []
    largest = max(abs(place) for place in places)
    step = places[1] - places[0] if len(places) > 1 else largest or 1.0
    if largest >= 1000:
        return [_short_count(place) for place in places]
    if 0 < largest < 0.01:
        digits = max(1, math.floor(math.log10(largest)) - math.floor(math.log10(step) + 1e-9))
        labels = [f"{place:.{digits}e}".replace("e-0", "e-") if place else "0" for place in places]
        return [label.replace(".0e", "e") for label in labels]
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    return [f"{place:.{decimals}f}" for place in places]
