"""Where somebody left the screens is where they find them at the next start."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from textual.widgets import Input

from workbench.locations import state_folder
from workbench.runs.store import RunState, create_run
from workbench.tui.app import WorkbenchApp
from workbench.tui.screens.data import DataScreen
from workbench.tui.screens.home import HomeScreen
from workbench.tui.screens.inspect import InspectScreen
from workbench.tui.screens.profile import ProfileScreen
from workbench.tui.widgets.row_list import RowList

MakeApp = Callable[..., WorkbenchApp]


def rows_file(folder: Path) -> Path:
    """A file of a thousand rows."""
    path = folder / "rows.jsonl"
    path.write_text("".join(f'{{"text": "row {number}"}}\n' for number in range(1000)), encoding="utf-8")
    return path


async def leave(pilot: Any, app: WorkbenchApp) -> None:
    """Leave as a person does."""
    await app.action_go("data")
    await pilot.press("q")
    await pilot.pause()
    assert app.return_code == 0


async def test_every_screen_is_found_as_it_was_left(
    workbench: MakeApp, wait_until: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    app, rows = workbench(), rows_file(tmp_path)
    for name in ("one", "two", "three"):
        create_run(app.workspace, name, "").write_state(RunState("failed", ("pretrain",), "pretrain", 3, 9))
    async with app.run_test(size=(120, 36)) as pilot:
        home = app.current
        assert isinstance(home, HomeScreen)
        await wait_until(pilot, lambda: home.run is not None)
        await pilot.press("G")
        await pilot.pause()
        run = home.run.name  # type: ignore[union-attr]
        await app.action_go("inspect")
        inspect = app.current
        inspect.query_one("#text", Input).value = "从前 there was"
        await pilot.press("f2")
        await app.action_go("profile")
        profile = app.current
        assert isinstance(profile, ProfileScreen)
        await wait_until(pilot, lambda: profile.draft is not None)
        profile.receive("dpo")
        await wait_until(pilot, lambda: profile.draft is not None and profile.draft.name == "dpo")
        await pilot.press("right_square_bracket")
        await pilot.pause()
        part = profile.section.title
        await app.action_go("data", rows)
        data = app.current
        await wait_until(pilot, lambda: data.query_one(RowList).total == 1000)
        data.query_one(RowList).go_to(700)
        await pilot.press("t")
        await leave(pilot, app)

    again = workbench()
    async with again.run_test(size=(120, 36)) as pilot:
        await wait_until(pilot, lambda: again.current.MODE == "data")
        data = again.current
        assert isinstance(data, DataScreen)
        await wait_until(pilot, lambda: any(rows.cursor == 700 for rows in data.query(RowList)))
        assert data.file is not None and data.file.path == rows and data.view == "tokens"
        await again.action_go("home")
        home = again.current
        assert isinstance(home, HomeScreen)
        await wait_until(pilot, lambda: home.run is not None and home.run.name == run)
        await again.action_go("inspect")
        inspect = again.current
        assert isinstance(inspect, InspectScreen)
        assert (inspect.query_one("#text", Input).value, inspect.view) == ("从前 there was", "next")
        await again.action_go("profile")
        profile = again.current
        assert isinstance(profile, ProfileScreen)
        await wait_until(pilot, lambda: profile.draft is not None and profile.draft.name == "dpo")
        await wait_until(pilot, lambda: profile.section.title == part)


async def test_what_is_gone_meanwhile_is_passed_over(workbench: MakeApp, wait_until: Any, tmp_path: Path) -> None:
    app, rows = workbench(), rows_file(tmp_path)
    async with app.run_test() as pilot:
        await app.action_go("data", rows)
        await leave(pilot, app)
    rows.unlink()
    again = workbench()
    async with again.run_test() as pilot:
        await wait_until(pilot, lambda: again.current.MODE == "data")
        data = again.current
        assert isinstance(data, DataScreen)
        await wait_until(pilot, lambda: bool(data.query(RowList)) and data.file is not None)
        assert data.file is not None and data.file.path.is_file()


@pytest.mark.parametrize(
    "text",
    ["", "[1, 2]", "{", '{"version": 99, "workspaces": {}}', '{"version": 1, "workspaces": 3}', "here", "[" * 100_000],
)
async def test_a_damaged_file_counts_as_none(workbench: MakeApp, text: str) -> None:
    app = workbench()
    path = state_folder() / "screens.json"
    path.parent.mkdir(parents=True)
    key = str(app.workspace.absolute())
    odd = {"mode": "data", "run": 3, "screens": {"data": {"file": 1, "row": "x"}, "home": [], "profile": {"part": 2}}}
    if text == "here":
        text = json.dumps({"version": 1, "workspaces": {key: odd}})
    path.write_text(text, encoding="utf-8")
    app = workbench()
    async with app.run_test() as pilot:
        await pilot.pause()
        for mode in ("data", "home", "profile"):
            await app.action_go(mode)
            await pilot.pause()
            assert mode == app.current.MODE


async def test_another_workspace_begins_at_home(workbench: MakeApp, tmp_path: Path) -> None:
    app = workbench()
    async with app.run_test() as pilot:
        await leave(pilot, app)
    other = WorkbenchApp(tmp_path / "elsewhere")
    async with other.run_test() as pilot:
        await pilot.pause(0.3)
        assert other.current.MODE == "home"


async def test_after_a_screen_broke_the_next_start_begins_at_home(workbench: MakeApp, tmp_path: Path) -> None:
    app = workbench()
    async with app.run_test() as pilot:
        await app.action_go("data", rows_file(tmp_path))
        await leave(pilot, app)
    broken = workbench()
    assert broken.places.of("data")
    with pytest.raises(ZeroDivisionError):
        async with broken.run_test() as pilot:
            broken.call_later(lambda: 1 // 0)
            await pilot.pause(0.2)
    assert not workbench().places.of("data")


async def test_two_workbenches_do_not_forget_each_others_places(workbench: MakeApp, tmp_path: Path) -> None:
    first, second = workbench(), WorkbenchApp(tmp_path / "elsewhere")
    for app in (first, second):
        async with app.run_test() as pilot:
            await leave(pilot, app)
    kept = json.loads((state_folder() / "screens.json").read_text(encoding="utf-8"))["workspaces"]
    assert set(kept) == {str(app.workspace.absolute()) for app in (first, second)}
