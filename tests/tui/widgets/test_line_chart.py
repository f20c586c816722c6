"""The pane with live curves."""

import math

import pytest
from rich.text import Text
from textual.app import App, ComposeResult

from workbench.tui.series import Series
from workbench.tui.widgets.line_chart import LineChart, Shown
from workbench.tui.widgets.plot import Plot


class ChartApp(App[None]):
    """A chart alone, whose renderer remembers what it was asked for."""

    def __init__(self, series: Series) -> None:
        super().__init__()
        self.series, self.plots = series, list[Plot]()

    def compose(self) -> ComposeResult:
        yield LineChart("loss", renderer=self.draw)

    def draw(self, plot: Plot) -> Text:
        self.plots.append(plot)
        return Text("picture")

    def on_mount(self) -> None:
        self.chart.show([Shown("train", self.series, "primary", "2.0", smooth=True)])

    @property
    def chart(self) -> LineChart:
        return self.query_one(LineChart)


@pytest.fixture
def chart_app() -> ChartApp:
    series = Series(limit=None)
    for step in range(1001):
        series.append(step, 8 - step / 200)
    return ChartApp(series)


async def test_any_renderer_can_draw(chart_app: ChartApp) -> None:
    async with chart_app.run_test(size=(60, 20)) as pilot:
        await pilot.pause()
        assert chart_app.plots[-1].window is None
        assert chart_app.plots[-1].curves[0].lines[0][0] == (0, 8.0)


async def test_zooming_in_keeps_the_newest_step_in_view(chart_app: ChartApp) -> None:
    async with chart_app.run_test(size=(60, 20)) as pilot:
        chart_app.chart.zoom(0.5)
        assert chart_app.chart.window == (500, 1000)
        chart_app.series.append(1100, 2.0)
        chart_app.chart.show(chart_app.chart.shown)
        await pilot.pause()
        assert chart_app.plots[-1].window == (600, 1100)


async def test_zooming_again_and_panning_begin_where_the_window_has_moved_to(chart_app: ChartApp) -> None:
    async with chart_app.run_test(size=(60, 20)):
        chart = chart_app.chart
        chart.zoom(0.5)
        for step in range(1001, 2001):
            chart_app.series.append(step, 2.0)
        chart.show(chart.shown)
        assert "1500-2000" in str(chart.border_subtitle)
        chart.zoom(0.5)
        assert chart.window == (1750, 2000)
        for step in range(2001, 2501):
            chart_app.series.append(step, 2.0)
        chart.pan(-1.0)
        assert chart.window == (2000, 2250)


async def test_a_run_that_was_taken_back_behind_the_window_is_shown_whole(chart_app: ChartApp) -> None:
    async with chart_app.run_test(size=(60, 20)) as pilot:
        chart_app.chart.zoom(0.25)
        chart_app.series.cut_back(300)
        chart_app.chart.show(chart_app.chart.shown)
        await pilot.pause()
        assert chart_app.plots[-1].window is None


async def test_a_window_on_the_past_stays_there(chart_app: ChartApp) -> None:
    async with chart_app.run_test(size=(60, 20)) as pilot:
        chart_app.chart.zoom(0.5)
        chart_app.chart.pan(-0.5)
        assert chart_app.chart.window == (250, 750)
        chart_app.series.append(1100, 2.0)
        chart_app.chart.show(chart_app.chart.shown)
        await pilot.pause()
        assert chart_app.plots[-1].window == (250, 750)


async def test_panning_stops_at_the_ends_and_zooming_out_ends_in_the_whole(chart_app: ChartApp) -> None:
    async with chart_app.run_test(size=(60, 20)):
        chart_app.chart.zoom(0.5)
        chart_app.chart.pan(-9)
        assert chart_app.chart.window == (0, 500)
        chart_app.chart.zoom(2.0)
        assert chart_app.chart.window is None


async def test_smoothing_draws_the_raw_curve_beneath(chart_app: ChartApp) -> None:
    async with chart_app.run_test(size=(60, 20)) as pilot:
        chart_app.chart.smoothing = 0.9
        await pilot.pause()
        raw, smooth = chart_app.plots[-1].curves
        assert raw.colour != smooth.colour
        assert "smooth 0.9" in str(chart_app.chart.border_subtitle)


async def test_values_that_are_not_finite_are_counted_in_the_frame(chart_app: ChartApp) -> None:
    chart_app.series.append(1001, math.nan)
    async with chart_app.run_test(size=(60, 20)):
        assert "1 not finite" in str(chart_app.chart.border_subtitle)


@pytest.mark.parametrize("theme", ["textual-dark", "textual-light", "ansi-dark", "ansi-light"])
async def test_every_theme_has_colours_for_curves(chart_app: ChartApp, theme: str) -> None:
    chart_app.theme = theme
    async with chart_app.run_test(size=(60, 20)) as pilot:
        await pilot.pause()
        assert len(chart_app.plots[-1].curves[0].colour) == 3
