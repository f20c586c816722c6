"""Going from screen to screen costs a painting and no more: checked by what is done, not by the clock."""

import threading
from collections.abc import Callable

import pytest
from textual.screen import Screen

from workbench.tui.actions import MODES
from workbench.tui.app import WorkbenchApp
from workbench.tui.screens.base import WorkbenchScreen
from workbench.tui.screens.home import HomeScreen


async def test_a_screen_that_is_shown_again_is_not_styled_again(
    workbench: Callable[..., WorkbenchApp], monkeypatch: pytest.MonkeyPatch
) -> None:
    app = workbench()
    async with app.run_test(size=(120, 36)) as pilot:
        for mode in MODES:
            await app.action_go(mode)
            await pilot.pause()
        styled: list[str] = []
        monkeypatch.setattr(Screen, "update_node_styles", lambda *_, **__: styled.append("a screen"))
        monkeypatch.setattr(app, "refresh_css", lambda *_, **__: styled.append("everything"))
        for mode in MODES:
            await app.action_go(mode)
            await pilot.pause()
        assert styled == []


async def test_other_colours_reach_the_screens_that_are_not_shown(workbench: Callable[..., WorkbenchApp]) -> None:
    app = workbench()
    async with app.run_test(size=(120, 36)) as pilot:
        await app.action_go("data")
        await pilot.pause()
        dark = app.current.query_one("#body").background_colors
        await app.action_go("home")
        app.theme = next(name for name in app.available_themes if name.endswith("light"))
        await pilot.pause()
        await app.action_go("data")
        await pilot.pause()
        assert app.current.query_one("#body").background_colors != dark


async def test_curves_and_the_disk_wait_until_a_screen_is_painted(
    workbench: Callable[..., WorkbenchApp], monkeypatch: pytest.MonkeyPatch
) -> None:
    app = workbench()
    order: list[str] = []
    paint, catch_up = Screen._compositor_refresh, WorkbenchScreen.catch_up

    def painted(screen: Screen) -> None:
        order.append("painted")
        paint(screen)

    def caught_up(screen: WorkbenchScreen) -> None:
        order.append("caught up")
        catch_up(screen)

    async with app.run_test(size=(120, 36)) as pilot:
        await app.action_go("data")
        await pilot.pause()
        monkeypatch.setattr(Screen, "_compositor_refresh", painted)
        monkeypatch.setattr(WorkbenchScreen, "catch_up", caught_up)
        order.clear()
        await app.action_go("home")
        while "caught up" not in order:
            await pilot.pause()
        assert isinstance(app.current, HomeScreen)
        assert "painted" in order[: order.index("caught up")]


async def test_what_a_first_opening_made_is_not_looked_through_again(
    workbench: Callable[..., WorkbenchApp], monkeypatch: pytest.MonkeyPatch
) -> None:
    frozen: list[str] = []

    def freeze() -> None:
        if threading.current_thread() is threading.main_thread():  # another thread does so once it has loaded the rest
            frozen.append(app.current.MODE)

    monkeypatch.setattr("workbench.tui.app.freeze_garbage", freeze)
    app = workbench()
    async with app.run_test(size=(120, 36)) as pilot:
        await app.action_go("data")
        while not frozen:
            await pilot.pause()
        frozen.clear()
        for mode in ("home", "data"):
            await app.action_go(mode)
            await pilot.pause(0.1)
    assert frozen == []


async def test_the_first_painting_fits_the_terminal(
    workbench: Callable[..., WorkbenchApp], monkeypatch: pytest.MonkeyPatch
) -> None:
    heights: list[int] = []
    paint = Screen._compositor_refresh

    def painted(screen: Screen) -> None:
        paint(screen)
        heights.extend(sections.region.height for sections in screen.query("#sections"))

    monkeypatch.setattr(Screen, "_compositor_refresh", painted)
    app = workbench()
    async with app.run_test(size=(80, 24)) as pilot:
        await app.action_go("profile")
        while not heights:
            await pilot.pause()
        await pilot.pause(0.1)
    assert set(heights) == {1}, "the parts of a profile stand in one line where there is little room"
