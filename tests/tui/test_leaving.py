"""Leaving with a run at work: what is asked, what is saved, and when another process goes on."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from workbench import events
from workbench.events import Event
from workbench.tui.app import WorkbenchApp
from workbench.tui.bridge import JobRequest
from workbench.tui.modals.quit import QuitModal

MakeApp = Callable[..., WorkbenchApp]
Beginning = Callable[..., list[Event]]
Wait = Callable[..., Any]


@pytest.fixture
def handed(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The runs that other processes were to go on with."""
    directories: list[Path] = []

    def hand_over(directory: Path) -> int:
        directories.append(directory)
        return 123

    monkeypatch.setattr("workbench.tui.handover.hand_over", hand_over)
    return directories


@pytest.fixture
def begin(workbench: MakeApp, request_of_tiny: JobRequest, run_beginning: Beginning, wait_until: Wait) -> Any:
    """An app with a run at work; give it the pilot."""
    app = workbench(run_beginning())

    class Begun:
        def __init__(self) -> None:
            self.app = app

        async def __call__(self, pilot: Any) -> None:
            await app.start_job(request_of_tiny)
            await wait_until(pilot, lambda: app.bridge.active.state.status == "running")  # type: ignore[union-attr]

    return Begun()


async def test_quitting_with_a_run_going_asks_and_cancel_has_the_focus(begin: Any) -> None:
    app = begin.app
    async with app.run_test(size=(80, 24)) as pilot:
        await begin(pilot)
        await pilot.press("ctrl+q")
        await pilot.pause()
        assert isinstance(app.screen, QuitModal)
        await pilot.press("ctrl+q")  # asking twice asks once
        await pilot.pause()
        assert len(app.screen_stack) == 2
        await pilot.press("enter")
        await pilot.pause()
        assert app.is_running and app.bridge.busy and len(app.screen_stack) == 1


@pytest.mark.parametrize("key", ["s", "b"])
async def test_quitting_saves_first_and_then_stops_or_hands_over(
    begin: Any, handed: list[Path], wait_until: Wait, key: str
) -> None:
    app = begin.app
    async with app.run_test(size=(80, 24)) as pilot:
        await begin(pilot)
        await pilot.press("ctrl+q")
        await pilot.pause()
        await pilot.press(key)
        await wait_until(pilot, lambda: app.return_code is not None)
    assert app.return_code == 0
    assert app.bridge.active.state.status == "stopped"
    assert handed == ([Path("runs/tiny")] if key == "b" else [])
    words = "goes on in the background" if key == "b" else "stopped and saved; go on with: llm-workbench resume"
    assert words in app.farewell


async def test_the_question_goes_when_the_run_ends_by_itself(begin: Any, wait_until: Wait) -> None:
    app = begin.app
    async with app.run_test(size=(80, 24)) as pilot:
        await begin(pilot)
        await pilot.press("ctrl+q")
        await pilot.pause()
        app.bridge.active.job.emitter.emit(events.RunFinished(run="tiny", seconds=1.0, scores={}, report=""))
        app.bridge.active.control.stop()
        await wait_until(pilot, lambda: not isinstance(app.screen, QuitModal))
        assert app.is_running


async def test_a_lost_terminal_hands_the_run_over_once(begin: Any, handed: list[Path], wait_until: Wait) -> None:
    app = begin.app
    async with app.run_test(size=(80, 24)) as pilot:
        await begin(pilot)
        app.hang_up()
        app.hang_up()  # the shell's, after the kernel's
        assert app.is_running
        await wait_until(pilot, lambda: app.return_code is not None)
        app.hang_up()
    assert app.return_code == 129
    assert handed == [Path("runs/tiny")]
    assert app.patience_seconds > 0


async def test_a_paused_run_is_saved_and_waits(begin: Any, handed: list[Path], wait_until: Wait) -> None:
    app = begin.app
    async with app.run_test(size=(80, 24)) as pilot:
        await begin(pilot)
        app.bridge.active.pause()
        await wait_until(pilot, lambda: app.bridge.active.state.status == "paused")
        app.hang_up()
        await wait_until(pilot, lambda: app.return_code is not None)
    assert (app.return_code, handed) == (129, [])
    assert app.bridge.active.state.status == "stopped"


async def test_a_lost_terminal_without_a_run_only_ends_the_program(
    workbench: MakeApp, handed: list[Path], wait_until: Wait
) -> None:
    app = workbench()
    async with app.run_test(size=(80, 24)) as pilot:
        app.hang_up()
        await wait_until(pilot, lambda: app.return_code is not None)
    assert (app.return_code, handed) == (129, [])


async def test_an_end_that_is_asked_for_after_the_terminal_was_lost_counts(
    begin: Any, handed: list[Path], wait_until: Wait
) -> None:
    app = begin.app
    async with app.run_test(size=(80, 24)) as pilot:
        await begin(pilot)
        app.hang_up()
        app.terminate()
        await wait_until(pilot, lambda: app.return_code is not None)
    assert (app.return_code, handed) == (143, [])


async def test_terminating_stops_after_the_step_and_twice_is_impatient(begin: Any, wait_until: Wait) -> None:
    app = begin.app
    async with app.run_test(size=(80, 24)) as pilot:
        await begin(pilot)
        app.terminate()
        await wait_until(pilot, lambda: app.return_code is not None)
        assert app.patience_seconds > 0
        app.terminate()
    assert app.return_code == 143 and app.patience_seconds == 0
    assert app.farewell == "stopped and saved; go on with: llm-workbench resume runs/tiny"


async def test_a_process_that_cannot_be_started_is_told(
    begin: Any, monkeypatch: pytest.MonkeyPatch, wait_until: Wait
) -> None:
    def hand_over(directory: Path) -> int:
        raise OSError(12, "Cannot allocate memory")

    monkeypatch.setattr("workbench.tui.handover.hand_over", hand_over)
    app = begin.app
    async with app.run_test(size=(80, 24)) as pilot:
        await begin(pilot)
        app.hang_up()
        await wait_until(pilot, lambda: app.return_code is not None)
    assert "Cannot allocate memory" in app.farewell and "llm-workbench resume" in app.farewell
