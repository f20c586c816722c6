"""The dry run on the Profile screen: what it is at, what it measured, why it could not."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from workbench import events
from workbench.dry_run import StageTrial, Trial
from workbench.errors import WorkbenchError
from workbench.tui.app import WorkbenchApp
from workbench.tui.modals import dry_run as modal
from workbench.tui.modals.dry_run import DryRunModal
from workbench.tui.screens.profile import ProfileScreen

MakeApp = Callable[..., WorkbenchApp]
ReadScreen = Callable[[WorkbenchApp], str]
Wait = Callable[..., Any]
TRIAL = Trial((StageTrial("pretrain", 20, 0.25, 1.0, 0.5, 2, 800 * 2**20, 2048.0),), 3.0, "cpu", "fp32", 1)
PROFILE = '[[stage]]\nkind = "pretrain"\ndata = "bundled:pretrain.jsonl"\nsteps = 20\nsequence_length = 64\n'


async def measured(app: WorkbenchApp, pilot: Any, wait: Wait, path: Path) -> None:
    await app.action_go("profile", path)
    screen = app.current
    assert isinstance(screen, ProfileScreen)
    await wait(pilot, lambda: screen.examined)
    await pilot.press("f7")
    await wait(pilot, lambda: isinstance(app.screen, DryRunModal))


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    path = tmp_path / "own.toml"
    path.write_text(PROFILE, encoding="utf-8")
    return path


@pytest.mark.parametrize("size", [(80, 24), (120, 36)])
async def test_what_was_measured_is_shown(
    workbench: MakeApp,
    screen_text: ReadScreen,
    wait_until: Wait,
    profile: Path,
    monkeypatch: pytest.MonkeyPatch,
    size: tuple[int, int],
) -> None:
    given: list[Any] = []

    def run(profile: Any, lengths: Any, on_event: Any, should_stop: Any) -> Trial:
        given.append((profile, lengths))
        return TRIAL

    monkeypatch.setattr(modal, "dry_run", run)
    app = workbench()
    async with app.run_test(size=size) as pilot:
        await measured(app, pilot, wait_until, profile)
        await wait_until(pilot, lambda: "250 ms" in screen_text(app))
        text = screen_text(app)
        assert "pretrain" in text and "800 MiB" in text and "10 s" in text and "cpu fp32" in text
        assert given[0][1] == {"pretrain": 20} and given[0][0].stage[0].steps == 20
        await pilot.press("escape")
        await wait_until(pilot, lambda: not isinstance(app.screen, DryRunModal))


async def test_closing_stops_it_and_it_says_what_it_is_at(
    workbench: MakeApp, screen_text: ReadScreen, wait_until: Wait, profile: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped: list[bool] = []

    def run(profile: Any, lengths: Any, on_event: Any, should_stop: Any) -> None:
        sizes = {
            "parameters": 1,
            "trained_parameters": 1,
            "vocab_size": 8,
            "tokens_per_step": 8,
            "flops_per_token": 1.0,
        }
        on_event(
            events.StageStarted(stage="pretrain", kind="pretrain", step=0, steps=5, micro_batch_size=1, **sizes)  # type: ignore[arg-type]
        )
        while not should_stop():
            time.sleep(0.01)
        stopped.append(True)

    monkeypatch.setattr(modal, "dry_run", run)
    app = workbench()
    async with app.run_test(size=(80, 24)) as pilot:
        await measured(app, pilot, wait_until, profile)
        await wait_until(pilot, lambda: "Training pretrain for a few steps" in screen_text(app))
        await pilot.press("escape")
        await wait_until(pilot, lambda: bool(stopped))
        assert not isinstance(app.screen, DryRunModal)


@pytest.mark.parametrize("error", [WorkbenchError("dry run", "[/INST] is empty"), ValueError("[/INST] is empty")])
async def test_a_failure_is_told(
    workbench: MakeApp,
    screen_text: ReadScreen,
    wait_until: Wait,
    profile: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
) -> None:
    def run(*_: Any) -> None:
        raise error

    monkeypatch.setattr(modal, "dry_run", run)
    app = workbench()
    async with app.run_test(size=(80, 24)) as pilot:
        await measured(app, pilot, wait_until, profile)
        await wait_until(pilot, lambda: "[/INST] is empty" in screen_text(app))
