"""Jump mode: letters at the panes, and where they lead."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from textual.widgets import Static

from workbench.tui.app import WorkbenchApp
from workbench.tui.bridge import JobRequest
from workbench.tui.modals.help import HelpModal
from workbench.tui.modals.jump import JumpModal, targets_of
from workbench.tui.widgets.log_tail import LogTail

MakeApp = Callable[..., WorkbenchApp]
ReadScreen = Callable[[WorkbenchApp], str]
Wait = Callable[..., Any]


async def jumping(pilot: Any, wait: Wait) -> JumpModal:
    await pilot.press("ctrl+o")
    await wait(pilot, lambda: isinstance(pilot.app.screen, JumpModal))
    await pilot.pause()
    modal: JumpModal = pilot.app.screen
    return modal


async def test_a_letter_leads_to_its_pane(
    workbench: MakeApp, wait_until: Wait, request_of_tiny: JobRequest, run_beginning: Callable[..., Any]
) -> None:
    app = workbench(run_beginning())
    async with app.run_test(size=(120, 36)) as pilot:
        await app.start_job(request_of_tiny)
        await wait_until(pilot, lambda: app.current.MODE == "train" and len(targets_of(app.screen)) > 3)
        screen = app.current
        modal = await jumping(pilot, wait_until)
        log = screen.query_one(LogTail)
        letter = next(letter for letter, target in modal.targets.items() if target is log)
        await pilot.press(letter)
        await wait_until(pilot, lambda: app.screen is screen)
        assert screen.focused is log


async def test_every_letter_stands_on_the_pane_it_leads_to(
    workbench: MakeApp, wait_until: Wait, screen_text: ReadScreen
) -> None:
    app = workbench()
    async with app.run_test(size=(80, 24)) as pilot:
        await app.action_go("profile")
        await wait_until(pilot, lambda: len(targets_of(app.screen)) > 8)
        modal = await jumping(pilot, wait_until)
        lines = screen_text(app).splitlines()
        for label, (letter, target) in zip(modal.query(Static), modal.targets.items(), strict=True):
            x, y = label.region.offset
            assert f" {letter} " in lines[y][max(0, x - 1) : x + 4]
            assert target.region.y == y and abs(target.region.x - x) <= 3


async def test_fields_that_are_scrolled_away_have_no_letter(workbench: MakeApp, wait_until: Wait) -> None:
    app = workbench()
    async with app.run_test(size=(80, 24)) as pilot:
        await app.action_go("profile")
        await wait_until(pilot, lambda: len(targets_of(app.screen)) > 8)
        await pilot.press("j", "j")  # the model: more settings than lines
        await wait_until(pilot, lambda: len(app.screen.focus_chain) > 20)
        await pilot.pause(0.1)
        assert 8 < len(targets_of(app.screen)) < len(app.screen.focus_chain)


@pytest.mark.parametrize("key", ["escape", "ctrl+o", "0", "f5"])
async def test_other_keys_leave_everything_as_it_was(workbench: MakeApp, wait_until: Wait, key: str) -> None:
    app = workbench()
    async with app.run_test(size=(120, 36)) as pilot:
        await app.action_go("profile")
        await wait_until(pilot, lambda: len(targets_of(app.screen)) > 8)
        before = app.screen.focused
        await jumping(pilot, wait_until)
        await pilot.press(key)
        await wait_until(pilot, lambda: not isinstance(app.screen, JumpModal))
        assert app.screen.focused is before


async def test_the_key_can_be_changed_and_the_help_says_so(
    workbench: MakeApp, wait_until: Wait, screen_text: ReadScreen, tmp_path: Path
) -> None:
    config = tmp_path / "home" / "config" / "config.toml"
    config.parent.mkdir(parents=True)
    config.write_text('[keymap]\n"app.jump" = "f7"\n', encoding="utf-8")
    app = workbench()
    async with app.run_test(size=(120, 50)) as pilot:
        await pilot.press("f7")
        await wait_until(pilot, lambda: isinstance(app.screen, JumpModal))
        await pilot.press("escape")
        await wait_until(pilot, lambda: not isinstance(app.screen, JumpModal))
        await pilot.press("question_mark")
        await wait_until(pilot, lambda: isinstance(app.screen, HelpModal))
        await pilot.pause(0.1)
        line = next(line for line in screen_text(app).splitlines() if "Show a letter at every pane" in line)
        assert "f7" in line.lower()
