"""The Home screen over real run directories."""

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from textual.widgets import Input

from workbench.profile import ProfileEntry
from workbench.runs.liveness import RunLock
from workbench.runs.metrics import MetricsWriter
from workbench.runs.store import RunDirectory, RunState, RunSummary, create_run, list_runs
from workbench.tui.app import WorkbenchApp
from workbench.tui.modals.ask import AskModal
from workbench.tui.modals.confirm import ConfirmModal
from workbench.tui.modals.start import StartModal
from workbench.tui.screens import home
from workbench.tui.screens.home import _ways_to_begin
from workbench.tui.widgets.figures import Figures
from workbench.tui.widgets.run_table import RunTable, _progress, _val_loss

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


@pytest.mark.parametrize(
    ("size", "seen"), [((200, 50), True), ((150, 42), True), ((200, 36), False), ((120, 50), False)]
)
async def test_the_curves_of_a_run_stand_below_its_details_where_there_is_room(
    workbench: MakeApp, screen_text: ReadScreen, wait_until: Wait, runs: Path, size: tuple[int, int], seen: bool
) -> None:
    app = workbench()
    async with app.run_test(size=size) as pilot:
        await shown(app, pilot, wait_until, 3)
        await wait_until(pilot, lambda: "best val" in screen_text(app))
        await pilot.pause()
        text = screen_text(app)
        assert ("loss of all stages  ━ pretrain 3.100" in text) is seen
        assert any("\u2801" <= character <= "\u28ff" for character in text) is seen
        assert app.screen.query_one("#details").region.bottom <= app.screen.query_one("#lower").region.y or size[1] < 30


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


async def test_filtering_by_name_and_back(
    workbench: MakeApp, screen_text: ReadScreen, wait_until: Wait, runs: Path
) -> None:
    app = workbench()
    async with app.run_test(size=(80, 24)) as pilot:
        table = await shown(app, pilot, wait_until, 3)
        await pilot.press("slash", *"gam")
        assert table.current is not None and table.current.name == "gamma"
        assert str(table.border_subtitle) == "1 of 3 runs   enter keeps, esc shows all"
        assert "filter: gam" in screen_text(app)
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
        for run in map(RunDirectory, runs.iterdir()):  # what is only shown, the next look at the disk turns back
            run.write_state(dataclasses.replace(run.state(), updated_at=2 * time.time() - run.state().updated_at))
        await wait_until(pilot, lambda: [run.name for run in table.runs] == ["gamma", "beta", "alpha"])
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


async def test_why_a_run_failed_is_told_in_full(
    workbench: MakeApp, screen_text: ReadScreen, wait_until: Wait, runs: Path
) -> None:
    message = "the loss is nan and the gradient norm nan, so this step was not taken; lower learning_rate, then resume"
    run = RunDirectory(runs / "beta")
    run.write_state(RunState(**{**run.state().__dict__, "message": message, "updated_at": time.time()}))
    app = workbench()
    async with app.run_test(size=(120, 36)) as pilot:
        await shown(app, pilot, wait_until, 3)
        pane = app.screen.query_one("#details", Figures)
        wanted = message.split()
        await wait_until(pilot, lambda: _holds(pane.plain.split(), wanted))
        assert all(len(figure.value) <= pane.content_size.width for figure in pane.figures)


def _holds(words: list[str], wanted: list[str]) -> bool:
    return any(words[place : place + len(wanted)] == wanted for place in range(len(words)))


async def test_without_room_for_details_the_failure_has_the_line_below(
    workbench: MakeApp, screen_text: ReadScreen, wait_until: Wait, runs: Path
) -> None:
    app = workbench()
    async with app.run_test(size=(80, 24)) as pilot:
        await shown(app, pilot, wait_until, 3)
        await pilot.press("j")
        await wait_until(pilot, lambda: "✗ no [/memory]" in screen_text(app))
        await pilot.press("j")
        await wait_until(pilot, lambda: "machine   cpu" in screen_text(app))


async def test_the_age_of_a_run_grows_while_the_cursor_stays(workbench: MakeApp, wait_until: Wait, runs: Path) -> None:
    app = workbench()
    async with app.run_test(size=(120, 36)) as pilot:
        table = await shown(app, pilot, wait_until, 3)
        pane = app.screen.query_one("#details", Figures)
        await wait_until(pilot, lambda: "done now" in pane.plain)
        details = app.screen._details  # type: ignore[attr-defined]
        old = dataclasses.replace(details.summary, updated_at=details.summary.updated_at - 100)
        app.screen._details = dataclasses.replace(details, summary=old)  # type: ignore[attr-defined]
        table.show(table.runs)  # as every two seconds
        await wait_until(pilot, lambda: "done 1 m ago" in pane.plain)


def test_a_run_at_work_has_a_bar_and_short_names_leave_room_for_columns() -> None:
    run = RunSummary("tiny", Path(), "running", "pretrain", 500, 1000, 2.0, 1000.0, time.time(), alive=True)
    text, _ = _progress(run)
    assert text == "███   "
    assert _progress(dataclasses.replace(run, alive=False))[0] == ""


@pytest.mark.parametrize("size", [(80, 24), (100, 30), (120, 36)])
async def test_short_names_give_their_room_to_columns(
    workbench: MakeApp, screen_text: ReadScreen, wait_until: Wait, runs: Path, size: tuple[int, int]
) -> None:
    app = workbench()
    async with app.run_test(size=size) as pilot:
        await shown(app, pilot, wait_until, 3)
        header = screen_text(app).splitlines()[2]
        assert "stage" in header and "when" in header and "val" in header


def test_the_machine_of_all_measurements_is_named_once() -> None:
    measured = "3 m, 95 % (2-core Xeon)"
    entries = [ProfileEntry(name, Path(name), "", measured) for name in ("a", "b")]
    text = _ways_to_begin(entries).plain
    assert text.count("2-core Xeon") == 1 and text.count("3 m, 95 %") == 2
    mixed = _ways_to_begin([*entries, ProfileEntry("c", Path("c"), "", "1 m (H100)")]).plain
    assert mixed.count("2-core Xeon") == 2 and "1 m (H100)" in mixed


@pytest.mark.parametrize("size", [(80, 24), (120, 36)])
async def test_the_bar_of_a_run_at_work_has_its_place(
    workbench: MakeApp, screen_text: ReadScreen, wait_until: Wait, runs: Path, size: tuple[int, int]
) -> None:
    with RunLock(runs / "gamma"):
        app = workbench()
        async with app.run_test(size=size) as pilot:
            await shown(app, pilot, wait_until, 3)
            row = next(line for line in screen_text(app).splitlines() if "gamma" in line)
            assert "█████▍" in row and "● running" in row


async def test_marked_runs_are_deleted_together_and_come_back_together(
    workbench: MakeApp, screen_text: ReadScreen, wait_until: Wait, runs: Path
) -> None:
    app = workbench()
    async with app.run_test(size=(120, 36)) as pilot:
        table = app.current.query_one(RunTable)
        await wait_until(pilot, lambda: len(table.runs) > 2)
        quiet = [run.name for run in table.runs if not run.alive][:2]
        total = len(table.runs)
        table.marked = set(quiet)
        await pilot.press("d")
        await wait_until(pilot, lambda: isinstance(app.screen, ConfirmModal))
        assert "Delete 2 runs?" in screen_text(app) and quiet[0] in screen_text(app)
        await pilot.press("y")
        await wait_until(pilot, lambda: len(table.runs) == total - 2)
        assert not table.marked
        await pilot.press("u")
        await wait_until(pilot, lambda: len(table.runs) == total)


async def test_space_marks_goes_on_and_escape_takes_the_marks_away(
    workbench: MakeApp, screen_text: ReadScreen, wait_until: Wait, runs: Path
) -> None:
    app = workbench()
    async with app.run_test(size=(80, 24)) as pilot:
        table = app.current.query_one(RunTable)
        await wait_until(pilot, lambda: len(table.runs) > 2)
        names = [run.name for run in table.runs]
        await pilot.press("g", "space", "space")
        assert table.marked == set(names[:2]) and table.current is not None and table.current.name == names[2]
        await wait_until(pilot, lambda: "2 marked" in screen_text(app) and f"▪ {names[0]}" in screen_text(app))
        await pilot.press("v")
        screen: Any = app.current
        await wait_until(pilot, lambda: {side.directory.name for side in screen.marked} <= set(names[:2]))
        await pilot.press("1", "escape")
        await wait_until(pilot, lambda: not table.marked)


async def test_exporting_asks_for_a_file_and_tells_what_came_of_it(
    workbench: MakeApp, screen_text: ReadScreen, wait_until: Wait, runs: Path, tmp_path: Path
) -> None:
    app = workbench()
    async with app.run_test(size=(80, 24)) as pilot:
        table = app.current.query_one(RunTable)
        await wait_until(pilot, lambda: bool(table.runs))
        for name, told in (("model.gguf", "was not exported"), ("model", "was not exported")):
            await pilot.press("e")
            await wait_until(pilot, lambda: isinstance(app.screen, AskModal))
            app.screen.query_one(Input).value = str(tmp_path / name)
            await pilot.press("enter")
            await wait_until(pilot, lambda told=told: told in screen_text(app))
            await pilot.press("escape")
            await wait_until(pilot, lambda: app.screen is app.current)
        assert not (tmp_path / "model.gguf").exists() and not (tmp_path / "model").exists()


@pytest.mark.parametrize(("loss", "told"), [(1.13e-6, "1e-06"), (0.0052, "5e-03"), (2.5, "2.500"), (None, "-")])
def test_a_tiny_loss_is_not_cut_to_look_large(loss: float | None, told: str) -> None:
    run = SimpleNamespace(val_loss=loss)
    assert _val_loss(cast(RunSummary, run))[0] == told
