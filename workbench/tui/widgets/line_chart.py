"""A pane with live curves: logarithmic axis, smoothing, zoom and pan."""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from rich.style import Style
from rich.text import Text
from textual.app import RenderResult
from textual.color import Color
from textual.reactive import reactive
from textual.widget import Widget

from workbench.language import tr
from workbench.narration import count, duration, measure_name
from workbench.tui.series import Series
from workbench.tui.widgets.plot import Colour, Curve, Plot, Renderer, draw_with_plotext

MIDDLE_COLOURS: dict[str, Colour] = {"primary": (58, 134, 200), "accent": (205, 120, 40)}
MARK = "◆"
CURSOR = "┃"
SMALLEST_WINDOW = 8.0  # steps; below that there is nothing to see


@dataclass(frozen=True)
class Shown:
    """A curve of the chart.

    Args:
        name: for the title.
        series: the points; the chart reads them when it draws.
        colour: the name of a theme colour, such as `primary`.
        value: its latest value as text, for the title.
        smooth: whether smoothing applies to it.
        mark: a point to point out.
        background: faint, for comparison, and no further than the others have come.
    """

    name: str
    series: Series
    colour: str
    value: str = ""
    smooth: bool = False
    mark: tuple[float, float] | None = None
    background: bool = False


class LineChart(Widget, can_focus=True):
    """Curves over steps. It keeps no points of its own: `show` names the series, `refresh` draws them again.

    Args:
        heading: what the curves measure, marked for `tr`; `along` is what they run along: step, tokens or seconds.
        renderer: draws a `Plot`; any function with that signature can take its place.
    """

    DEFAULT_CSS = "LineChart { min-height: 6; }"
    log_y: reactive[bool] = reactive(False)
    smoothing: reactive[float] = reactive(0.0)
    cursor: reactive[float | None] = reactive[float | None](None)
    window: reactive[tuple[float, float] | None] = reactive[tuple[float, float] | None](None)

    def __init__(self, heading: str, *, renderer: Renderer = draw_with_plotext, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id, classes="pane")
        self.heading, self.renderer = heading, renderer
        self.shown: Sequence[Shown] = ()
        self.along = "step"
        self.border_title = tr(heading)

    def show(self, shown: Sequence[Shown]) -> None:
        """Draw these curves from now on."""
        self.shown = shown
        self._label()
        self.refresh()

    def zoom(self, factor: float) -> None:
        """Show `factor` times as many steps; the newest stay in view when they are in view now."""
        extent = self._extent()
        if extent is None:
            return
        low, high = self._current_window() or extent
        width = max(SMALLEST_WINDOW, (high - low) * factor)
        if width >= extent[1] - extent[0]:
            self.window = None
            return
        right = extent[1] if high >= extent[1] else (low + high + width) / 2
        self._move_to(right - width, width, extent)

    def pan(self, share: float) -> None:
        """Move a zoomed window by a share of its width."""
        extent, window = self._extent(), self._current_window()
        if extent is not None and window is not None:
            low, high = window
            self._move_to(low + share * (high - low), high - low, extent)

    def render(self) -> RenderResult:
        """The picture at the size the pane has now."""
        width, height = self.content_size
        curves = [curve for shown in self.shown for curve in self._curves(shown)]
        curves += [Curve([[shown.mark]], self._colour(shown.colour), MARK) for shown in self.shown if shown.mark]
        curves += [Curve([[(x, y)]], self._colour(shown.colour), CURSOR) for shown, x, y in self._read()]
        picture = self.renderer(Plot(curves, width, height, self._current_window(), self.log_y))
        return Text(style=Style(color=self._axis_colour())).append_text(picture)

    def speak_again(self) -> None:
        """Title and notes in another language."""
        self._label()

    def place_beside(self, step: int) -> float | None:
        """The x of the point `step` points behind the cursor; of the newest, without a cursor. None without points."""
        series = next((shown.series for shown in self.shown if shown.series and not shown.background), None)
        if series is None:
            return None
        places = [bucket.last_x for bucket in series.buckets]
        at = len(places) - 1 if self.cursor is None else bisect_left(places, self.cursor)
        return places[max(0, min(len(places) - 1, at + step))]

    def watch_cursor(self) -> None:
        """Say what stands there."""
        self._label()

    def watch_log_y(self) -> None:
        """Say so."""
        self._label()

    def watch_smoothing(self) -> None:
        """Say so."""
        self._label()

    def watch_window(self) -> None:
        """Say so."""
        self._label()

    def _curves(self, shown: Shown) -> list[Curve]:
        colour = self._colour(shown.colour)
        if shown.background:
            end = max(
                (each.series.buckets[-1].last_x for each in self.shown if each.series and not each.background),
                default=0,
            )
            lines = [[point for point in line if point[0] <= end] for line in shown.series.lines()]
            return [Curve(lines, Color(*colour).blend(Color(*self._colour("background")), 0.55).rgb)]
        if not shown.smooth or not self.smoothing:
            return [Curve(shown.series.lines(), colour)]
        faint = Color(*colour).blend(Color(*self._colour("background")), 0.65).rgb
        return [Curve(shown.series.lines(), faint), Curve(shown.series.smoothed(self.smoothing), colour)]

    def _read(self) -> list[tuple[Shown, float, float]]:
        """What each curve has at the cursor: its last point there or before."""
        found = []
        for shown in self.shown if self.cursor is not None else ():
            place = bisect_right(shown.series.buckets, self.cursor or 0.0, key=lambda bucket: bucket.last_x) - 1
            if place >= 0:
                bucket = shown.series.buckets[place]
                found.append((shown, bucket.last_x, bucket.mean))
        return found

    def _axis_colour(self) -> str | None:
        """Fainter than text; themes of the terminal's own colours leave the choice to the terminal."""
        if self.app.native_ansi_color:
            return None
        return Color(*self._colour("foreground")).blend(Color(*self._colour("background")), 0.35).hex6

    def _colour(self, name: str) -> Colour:
        parsed = Color.parse(self.app.theme_variables.get(name, "white"))
        # What a terminal's own colours look like is not known; these can be told apart on black and on white.
        return parsed.rgb if parsed.ansi is None else MIDDLE_COLOURS.get(name, (128, 128, 128))

    def _extent(self) -> tuple[float, float] | None:
        ends = [
            (shown.series.buckets[0].first_x, shown.series.buckets[-1].last_x)
            for shown in self.shown
            if shown.series and not shown.background
        ]
        if not ends:
            return None
        return min(low for low, _ in ends), max(high for _, high in ends)

    def _move_to(self, low: float, width: float, extent: tuple[float, float]) -> None:
        low = max(extent[0], min(low, extent[1] - width))
        self._follows = low + width >= extent[1]
        self.window = (low, low + width)

    _follows = False

    def _current_window(self) -> tuple[float, float] | None:
        """The window, moved along where it held the newest step."""
        extent = self._extent()
        if self.window is None or extent is None:
            return None
        low, high = self.window
        if self._follows and extent[1] > high:
            return low + extent[1] - high, extent[1]
        return self.window if low < extent[1] else None  # a run that was taken back has not come that far again

    def _label(self) -> None:
        legend = "  ".join(
            f"[${shown.colour}]━[/] {shown.name} {shown.value}" if shown.name else shown.value for shown in self.shown
        )
        self.border_title = f"{tr(self.heading)}  {legend}".rstrip()
        if self.cursor is not None:
            told = "  ".join(f"{shown.name} {y:.4g}".strip() for shown, _, y in self._read())
            self.border_subtitle = f"{tr('step {step:,}', step=round(self.cursor))}  {told}".replace("[", r"\[")
            return
        nonfinite = sum(shown.series.nonfinite for shown in self.shown)
        notes = [
            tr("{count} not finite", count=nonfinite) if nonfinite else "",
            tr("log axis") if self.log_y else "",
            tr("smooth {strength:g}", strength=self.smoothing) if self.smoothing else "",
            self._window_words(),
        ]
        self.border_subtitle = "  ".join(note for note in notes if note)

    def _window_words(self) -> str:
        window = self._current_window()
        if window is None:
            return ""
        if self.along == "step":
            return tr("steps {first:.0f}-{last:.0f}", first=window[0], last=window[1])
        first, last = (count(end) if self.along == "tokens" else duration(end) for end in window)
        return f"{measure_name(self.along)} {first} - {last}"
