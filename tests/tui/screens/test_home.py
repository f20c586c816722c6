"""The Home screen over real run directories."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from workbench.runs.liveness import RunLock
from workbench.runs.metrics import MetricsWriter
from workbench.runs.store import RunState, create_run, list_runs
from workbench.tui.app import WorkbenchApp
from workbench.tui.modals.confirm import ConfirmModal
from workbench.tui.modals.start import StartModal
from workbench.tui.screens import home
from workbench.tui.widgets.run_table import RunTable

MakeApp = Callable[..., WorkbenchApp]
ReadScreen = Callable[[WorkbenchApp], str]
Wait = Callable[..., Any]


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Three runs: done, failed, and one that says it runs while nobody is at work."""
    workspace = tmp_path / "runs"
    told = [("alpha", "done", 1.84), ("beta", "failed", None), ("gamma", "running", 2.91)]
    for place, (name, status, val_loss) in enumerate(told):
        run = create_run(workspace, name, "")
        with MetricsWriter(run.stage("pretrain").metrics) as writer:
            for step in range(1, 20):
                writer.write({"step": step, "loss": 5 - step / 10, "val_loss": 5 - step / 11})
        state = RunState(status, ("pretrain",), "pretrain", 900, 1000, None, val_loss, 41_200.0)  # type: ignore[arg-type]
        values = {
            **state.__dict__,
            "updated_at": time.time() - 3600 * place,
            "message": "no [/memory]" if status == "failed" else "",
        }
        run.write_state(RunState(**values))
    return workspace


async def shown(app: WorkbenchApp, pilot: Any, wait: Wait, count: int) -> RunTable:
    table = app.screen.query_one(RunTable)
    await wait(pilot, lambda: len(table.runs) == count)
    await pilot.pause(0.1)
    return table


@pytest.mark.parametrize("size", [(80, 24), (120, 36), (200, 50), (60, 18)])
async def test_runs_are_listed_with_shape_and_word(
    workbench: MakeApp, screen_text: ReadScreen, wait_until: Wait, runs: Path, size: tuple[int, int]
) -> None:
    app = workbench()
    async with app.run_test(size=size) as pilot:
        await shown(app, pilot, wait_until, 3)
        text = screen_text(app)
        assert "✓ done" in text and "✗ failed" in text and "! interrupted" in text
        assert "alpha" in text and ("1.840" in text or size[0] < 80)
        assert max(map(len, text.splitlines())) <= size[0]


async def test_the_details_of_the_run_under_the_cursor_are_read(
    workbench: MakeApp, screen_text: ReadScreen, wait_until: Wait, runs: Path
) -> None:
    app = workbench()
    async with app.run_test(size=(120, 36)) as pilot:
        await shown(app, pilot, wait_until, 3)
        await pilot.press("j")
        await wait_until(pilot, lambda: "no [/memory]" in screen_text(app))
        assert "█" in screen_text(app)  # the curve starts high


async def test_an_empty_workspace_says_what_to_press(
    workbench: MakeApp, screen_text: ReadScreen, wait_until: Wait
) -> None:
    app = workbench()
    async with app.run_test(size=(80, 24)) as pilot:
        await wait_until(pilot, lambda: "start quickstart" in screen_text(app))
        assert "No runs yet" in screen_text(app)


async def test_enter_in_an_empty_workspace_starts_the_first_profile(
    workbench: MakeApp, wait_until: Wait, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    monkeypatch.setattr(home, "_read_profile", asked.append)
    app = workbench()
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause(0.2)
        await pilot.press("enter")
        await wait_until(pilot, lambda: app.bridge.active is not None)
        assert asked == ["quickstart"]
        assert app.current.MODE == "train"


async def test_a_profile_that_cannot_run_is_a_message(
    workbench: MakeApp, screen_text: ReadScreen, wait_until: Wait, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(home, "FIRST_PROFILE", "no-such-profile")
    app = workbench()
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause(0.2)
        await pilot.press("enter")
        await wait_until(pilot, lambda: "no such profile" in screen_text(app))
        assert app.bridge.active is None


async def test_enter_opens_the_run_under_the_cursor(workbench: MakeApp, wait_until: Wait, runs: Path) -> None:
    app = workbench()
    async with app.run_test(size=(80, 24)) as pilot:
        await shown(app, pilot, wait_until, 3)
        await pilot.press("j", "enter")
        await pilot.pause()
        assert app.current.MODE == "train"
        assert app.bridge.shown is not None and app.bridge.shown.state.name == "beta"


async def test_filtering_by_name_and_back(workbench: MakeApp, wait_until: Wait, runs: Path) -> None:
    app = workbench()
    async with app.run_test(size=(80, 24)) as pilot:
        table = await shown(app, pilot, wait_until, 3)
        await pilot.press("slash", *"gam")
        assert table.current is not None and table.current.name == "gamma"
        assert str(table.border_subtitle) == "1 of 3 runs"
        await pilot.press("escape")
        await pilot.pause()
        assert str(table.border_subtitle) == "3 runs"


async def test_deleting_asks_and_can_be_undone(workbench: MakeApp, wait_until: Wait, runs: Path) -> None:
    app = workbench()
    async with app.run_test(size=(80, 24)) as pilot:
        await shown(app, pilot, wait_until, 3)
        await pilot.press("d")
        await pilot.pause()
        assert isinstance(app.screen, ConfirmModal)
        await pilot.press("enter")  # the focus is on Cancel
        await pilot.pause()
        assert len(list_runs(runs)) == 3
        await pilot.press("d")
        await pilot.pause()
        await pilot.press("y")
        await wait_until(pilot, lambda: len(list_runs(runs)) == 2)
        await pilot.pause(0.2)
        await pilot.press("u")
        await wait_until(pilot, lambda: len(list_runs(runs)) == 3)


async def test_a_run_at_work_is_not_deleted(workbench: MakeApp, wait_until: Wait, runs: Path) -> None:
    with RunLock(runs / "alpha"):
        app = workbench()
        async with app.run_test(size=(80, 24)) as pilot:
            await shown(app, pilot, wait_until, 3)
            await pilot.press("d")
            await pilot.pause()
            assert not isinstance(app.screen, ConfirmModal)


async def test_the_cursor_stays_on_its_run_when_the_order_changes(
    workbench: MakeApp, wait_until: Wait, runs: Path
) -> None:
    app = workbench()
    async with app.run_test(size=(80, 24)) as pilot:
        table = await shown(app, pilot, wait_until, 3)
        await pilot.press("j")
        table.show(list(reversed(table.runs)))
        await pilot.pause()
        assert table.current is not None and table.current.name == "beta"
        await pilot.press("g")
        assert table.current.name == "gamma"
        await pilot.press("G")
        assert table.current.name == "alpha"


async def test_new_offers_the_profiles(workbench: MakeApp, wait_until: Wait) -> None:
    app = workbench()
    async with app.run_test(size=(80, 24)) as pilot:
        await wait_until(pilot, lambda: bool(app.screen.profiles))  # type: ignore[attr-defined]
        await pilot.press("n")
        await pilot.pause()
        assert isinstance(app.screen, StartModal)
        await pilot.press("escape")
        await pilot.pause()
        assert app.bridge.active is None
