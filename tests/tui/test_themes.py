"""Every theme on every screen: nothing ends the program, and the cursor of a list can be seen."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from textual.css import stylesheet
from textual.theme import BUILTIN_THEMES

from workbench.runs.store import RunState, create_run
from workbench.tui.actions import MODES
from workbench.tui.app import WorkbenchApp
from workbench.tui.screens.profile import ProfileScreen
from workbench.tui.themes import THEMES
from workbench.tui.widgets.list_view import KeyList
from workbench.tui.widgets.row_list import RowList
from workbench.tui.widgets.toml_editor import TomlEditor

ALL = [*(theme.name for theme in THEMES), *BUILTIN_THEMES]
MakeApp = Callable[..., WorkbenchApp]


def app_with_runs(workbench: MakeApp) -> WorkbenchApp:
    """An app over a workspace of two runs."""
    app = workbench()
    for name in ("one", "two"):
        create_run(app.workspace, name, "").write_state(RunState("failed", ("pretrain",), "pretrain", 3, 9))
    return app


def invisible(app: WorkbenchApp) -> list[str]:
    """Words in the colour of what is behind them."""
    strips: Any = app.screen._compositor.render_strips(app.screen.size)
    drawn = [segment for strip in strips for segment in strip if segment.style and any(map(str.isalnum, segment.text))]
    mixed = [each for each in drawn if each.style.color is not None and not each.style.color.is_default]
    return [each.text for each in mixed if each.style.color == each.style.bgcolor]


@pytest.mark.parametrize("theme", ALL)
async def test_every_screen_can_be_drawn(
    workbench: MakeApp, theme: str, screen_text: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEXTUAL_THEME", theme)
    app = app_with_runs(workbench)
    async with app.run_test(size=(120, 36)) as pilot:
        assert app.theme == theme
        for mode in MODES:
            await app.action_go(mode)
            await pilot.pause()
            assert "Quit" in screen_text(app)
            assert not invisible(app), f"{mode}: {invisible(app)}"


@pytest.mark.parametrize("theme", ["ansi-dark", "ansi-light"])
async def test_the_text_of_a_profile_can_be_edited_in_the_terminals_own_colours(
    workbench: MakeApp, wait_until: Any, theme: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TEXTUAL_THEME", theme)
    monkeypatch.chdir(tmp_path)
    app = workbench()
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("3")
        screen = app.current
        assert isinstance(screen, ProfileScreen)
        await wait_until(pilot, lambda: screen.draft is not None)
        await pilot.press("f3")
        await wait_until(pilot, lambda: screen.query_one(TomlEditor).has_focus)
        await pilot.press("#")
        await wait_until(pilot, lambda: bool(screen.unsaved()))
        await pilot.press("escape")
        assert not screen.query_one(TomlEditor).has_focus


@pytest.mark.parametrize("theme", ["ansi-dark", "ansi-light"])
async def test_where_colours_cannot_be_mixed_the_cursor_is_turned_round(
    workbench: MakeApp, wait_until: Any, theme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEXTUAL_THEME", theme)
    app = app_with_runs(workbench)
    async with app.run_test(size=(120, 36)) as pilot:
        rows = app.screen.query_one(KeyList)
        await wait_until(pilot, lambda: rows.option_count == 2)
        await wait_until(pilot, lambda: rows.has_focus)
        turned = [any(segment.style and segment.style.reverse for segment in rows.render_line(y)) for y in (0, 1)]
        assert turned == [True, False]
        await pilot.press("2")
        await pilot.pause()
        cursor = app.screen.query_one(RowList)
        assert cursor.get_component_rich_style("row-list--cursor").reverse


async def test_style_sheets_are_read_once_until_the_colours_change(
    workbench: MakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[tuple[Any, str]] = []

    def parse(scope: str, css: str, read_from: Any, **more: Any) -> Any:
        read.append((read_from, scope))
        return stylesheet.parse_as_ever(scope, css, read_from, **more)  # type: ignore[attr-defined]

    monkeypatch.setattr(stylesheet, "parse_as_ever", stylesheet.parse, raising=False)
    monkeypatch.setattr(stylesheet, "parse", parse)
    app = workbench()
    async with app.run_test(size=(120, 36)) as pilot:
        for mode in (*MODES, "home"):
            await app.action_go(mode)
            await pilot.pause()
        kinds = len(set(read))
        assert kinds > 30 and len(read) < 1.5 * kinds  # a sheet that another kind inherits is read for both
        before = app.current.styles.background
        read.clear()
        app.theme = "workbench-light"
        await pilot.pause()
        assert len(read) > 30 and app.current.styles.background != before
