"""The Train screen tells what is wrong with a run, and takes it back to an earlier checkpoint."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from workbench import events
from workbench.events import Event, StepFinished
from workbench.tui.app import WorkbenchApp
from workbench.tui.bridge import JobRequest
from workbench.tui.modals.ask import AskModal
from workbench.tui.modals.choice import ChoiceModal
from workbench.tui.modals.confirm import ConfirmModal
from workbench.tui.modals.diagnosis import DiagnosisModal
from workbench.tui.widgets.finding_line import FindingLine

MakeApp = Callable[..., WorkbenchApp]
ReadScreen = Callable[[WorkbenchApp], str]
Wait = Callable[..., Any]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A run with three checkpoints on the disk."""
    stage = tmp_path / "runs/tiny/pretrain"
    for step in (10, 20, 30):
        (stage / f"checkpoints/step-{step:06d}").mkdir(parents=True)
    records = [{"step": step, "val_loss": 3 - step / 100} for step in (10, 20, 30)]
    (stage / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return tmp_path / "runs/tiny"


@pytest.fixture
def script(
    directory: Path, run_beginning: Callable[..., list[Event]], make_step: Callable[..., StepFinished]
) -> list[Event]:
    """A run at step 35 whose loss has jumped behind step 25."""
    history = [*run_beginning(str(directory)), *(make_step(number, loss=3.0) for number in range(1, 36))]
    history.append(
        events.Diagnosed(
            stage="pretrain",
            step=35,
            finding="learning_rate_high",
            severity="error",
            since=25,
            cause="the loss is 12.0 [/INST] after 3.0",
            cure="go back [bold]",
        )
    )
    return history


async def begin(app: WorkbenchApp, pilot: Any, wait: Wait) -> None:
    await app.start_job(JobRequest(name="tiny"))
    await wait(pilot, lambda: any(line.findings for line in app.current.query(FindingLine)))
    await pilot.pause(0.3)


@pytest.mark.parametrize("size", [(80, 24), (120, 36)])
async def test_a_finding_stands_in_a_line_and_d_explains_it(
    workbench: MakeApp, screen_text: ReadScreen, wait_until: Wait, script: list[Event], size: tuple[int, int]
) -> None:
    app = workbench(script)
    async with app.run_test(size=size) as pilot:
        await begin(app, pilot, wait_until)
        text = screen_text(app)
        assert "learning rate high" in text and "d explains" in text
        assert text.splitlines()[-2].startswith("╰"), "nothing is pushed below the edge"
        await pilot.press("d")
        await pilot.pause()
        assert isinstance(app.screen, DiagnosisModal)
        text = screen_text(app)
        assert "[/INST]" in text and "go back [bold]" in text and "ln(2,048) = 7.62" in text
        await pilot.press("escape")
        await pilot.pause()
        assert not isinstance(app.screen, DiagnosisModal)


async def test_going_back_asks_for_checkpoint_and_rate_then_stops_and_goes_on(
    workbench: MakeApp, screen_text: ReadScreen, wait_until: Wait, script: list[Event], directory: Path
) -> None:
    app = workbench(script)
    async with app.run_test(size=(120, 36)) as pilot:
        await begin(app, pilot, wait_until)
        first = app.bridge.active
        await pilot.press("b")
        await wait_until(pilot, lambda: isinstance(app.screen, ChoiceModal))
        await pilot.pause()
        text = screen_text(app)
        assert "step       20   val 2.800   the last before the trouble" in text
        assert "step       30   val 2.700   best" in text
        await pilot.press("enter")  # the cursor stands on the last good one
        await wait_until(pilot, lambda: isinstance(app.screen, AskModal))
        await pilot.pause()
        assert "0.0001" in screen_text(app), "a third of 3e-4"
        await pilot.press("enter")
        await wait_until(pilot, lambda: isinstance(app.screen, ConfirmModal))
        assert app.bridge.busy, "nothing happens before the last answer"
        await pilot.press("y")
        await wait_until(pilot, lambda: app.bridge.active is not first)
        request = app.bridge.active.request_made  # type: ignore[union-attr]
        assert (request.resume, request.from_step, request.stage) == (directory, 20, "pretrain")
        assert request.learning_rate == pytest.approx(1e-4)
        assert first is not None and first.finished


async def test_leaving_a_question_changes_nothing(workbench: MakeApp, wait_until: Wait, script: list[Event]) -> None:
    app = workbench(script)
    async with app.run_test(size=(120, 36)) as pilot:
        await begin(app, pilot, wait_until)
        first = app.bridge.active
        await pilot.press("d")
        await pilot.pause()
        await pilot.press("b")
        await wait_until(pilot, lambda: isinstance(app.screen, ChoiceModal))
        await pilot.press("enter")
        await wait_until(pilot, lambda: isinstance(app.screen, AskModal))
        await pilot.press("x", "enter")  # no number
        await pilot.pause(0.3)
        assert not isinstance(app.screen, ConfirmModal)
        assert app.bridge.busy and app.bridge.active is first


async def test_without_a_checkpoint_it_says_so(
    workbench: MakeApp, wait_until: Wait, script: list[Event], directory: Path
) -> None:
    for path in (directory / "pretrain/checkpoints").iterdir():
        path.rmdir()
    app = workbench(script)
    async with app.run_test(size=(120, 36)) as pilot:
        await begin(app, pilot, wait_until)
        await pilot.press("b")
        await wait_until(pilot, lambda: any("No checkpoint" in notice.message for notice in app._notifications))
