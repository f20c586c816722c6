"""The frame of all screens, driven by keys."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from textual.events import Key
from textual.widgets import Input

from workbench import events
from workbench.events import Event
from workbench.tui.app import WorkbenchApp
from workbench.tui.bridge import JobRequest
from workbench.tui.modals.confirm import ConfirmModal
from workbench.tui.modals.error import ErrorModal
from workbench.tui.modals.help import HelpModal
from workbench.tui.modals.log import LogModal
from workbench.tui.widgets.key_bar import KeyBar

MakeApp = Callable[..., WorkbenchApp]
ReadScreen = Callable[[WorkbenchApp], str]
Beginning = Callable[..., list[Event]]


@pytest.mark.parametrize(
    ("key", "mode"), [("2", "data"), ("3", "profile"), ("4", "train"), ("5", "chat"), ("alt+2", "data")]
)
async def test_digits_go_to_the_screens(workbench: MakeApp, key: str, mode: str) -> None:
    app = workbench()
    async with app.run_test(size=(120, 36)) as pilot:
        await pilot.press(key)
        assert mode == app.current.MODE
        await pilot.press("alt+1")  # Chat begins in its text field
        assert app.current.MODE == "home"


async def test_a_digit_in_a_text_field_is_text_and_alt_digit_still_goes(
    workbench: MakeApp, wait_until: Callable[..., Any]
) -> None:
    app = workbench()
    async with app.run_test(size=(120, 36)) as pilot:
        await pilot.press("slash", "4", "q", "question_mark")
        field = app.screen.query_one(Input)
        assert field.value == "4q?"
        app.post_message(Key("alt+4", "4"))  # as a terminal's reader makes it, with its character
        await wait_until(pilot, lambda: app.current.MODE == "train")
        assert field.value == "4q?"


async def test_a_click_on_a_name_goes_there(workbench: MakeApp) -> None:
    app = workbench()
    async with app.run_test(size=(120, 36)) as pilot:
        await pilot.click("ModeTab", offset=(2, 0))
        tabs = list(app.screen.query("ModeTab"))
        await pilot.click(tabs[3])
        assert app.current.MODE == "train"


async def test_escape_goes_home_and_never_leaves(workbench: MakeApp) -> None:
    app = workbench()
    async with app.run_test(size=(120, 36)) as pilot:
        await pilot.press("4", "escape")
        assert app.current.MODE == "home"
        await pilot.press("escape", "escape")
        assert app.is_running and app.current.MODE == "home"


@pytest.mark.parametrize("key", ["question_mark", "f1"])
async def test_help_lists_the_keys_of_the_screen(workbench: MakeApp, screen_text: ReadScreen, key: str) -> None:
    app = workbench()
    async with app.run_test(size=(120, 36)) as pilot:
        await pilot.press("4", key)
        await pilot.pause()
        assert isinstance(app.screen, HelpModal)
        text = screen_text(app)
        assert "Help: Train" in text and "Save a checkpoint now." in text
        await pilot.press("escape")
        assert not isinstance(app.screen, HelpModal)


async def test_the_palette_finds_actions_by_name(workbench: MakeApp) -> None:
    app = workbench()
    async with app.run_test(size=(120, 36)) as pilot:
        await pilot.press("ctrl+p", *"go train")
        await pilot.pause(0.4)
        await pilot.press("enter")
        await pilot.pause(0.2)
        assert app.current.MODE == "train"


@pytest.mark.parametrize("size", [(59, 24), (80, 17), (20, 5)])
async def test_below_the_floor_one_line_says_what_is_needed(
    workbench: MakeApp, screen_text: ReadScreen, size: tuple[int, int]
) -> None:
    app = workbench()
    async with app.run_test(size=size) as pilot:
        await pilot.pause()
        text = screen_text(app)
        assert "needs 60x18" in " ".join(text.split()) and "Runs" not in text
        await pilot.press("4")
        assert app.current.MODE == "train"
        await pilot.resize_terminal(80, 24)
        await pilot.pause()
        assert "needs 60x18" not in screen_text(app)


async def test_quitting_an_idle_workbench_needs_no_question(workbench: MakeApp) -> None:
    app = workbench()
    async with app.run_test() as pilot:
        await pilot.press("q")
        await pilot.pause()
    assert app.return_code == 0


async def running(app: WorkbenchApp, pilot: Any, request: JobRequest, wait_until: Callable[..., Any]) -> None:
    await app.start_job(request)
    await wait_until(pilot, lambda: app.bridge.active.state.status == "running")  # type: ignore[union-attr]


async def test_a_job_that_crashes_is_a_message_and_not_the_end(
    workbench: MakeApp,
    request_of_tiny: JobRequest,
    run_beginning: Beginning,
    wait_until: Callable[..., Any],
    screen_text: ReadScreen,
) -> None:
    app = workbench(run_beginning(), error=RuntimeError("tensor of [/shape] exploded"))
    async with app.run_test(size=(80, 24)) as pilot:
        await app.start_job(request_of_tiny)
        await wait_until(pilot, lambda: isinstance(app.screen, ErrorModal))
        await pilot.pause()
        text = screen_text(app)
        assert "tiny crashed" in text and "tensor of [/shape] exploded" in text
        await pilot.press("escape")
        job: Any = app.bridge.active.job  # type: ignore[union-attr]
        job.emitter.emit(events.Warned(stage="", message="a late word"))
        await pilot.pause(0.6)
        assert not isinstance(app.screen, ErrorModal)  # told once
        assert app.bridge.active is not None and app.bridge.active.state.status == "failed"
        await pilot.press("1")
        assert app.current.MODE == "home"


HOSTILE = "[/INST] [bold] [@click=app.quit] \\[x] <|im_end|> 从前 \x1b[31m"


async def test_what_a_model_said_is_never_markup(
    workbench: MakeApp,
    request_of_tiny: JobRequest,
    run_beginning: Beginning,
    wait_until: Callable[..., Any],
    screen_text: ReadScreen,
) -> None:
    script = [
        *run_beginning(),
        events.SampleMade(stage="pretrain", step=1, prompt="[/prompt]", text=HOSTILE, seed=1),
        events.Warned(stage="pretrain", message=HOSTILE),
        events.WorkProgressed(stage="pretrain", task="[/task]", done=1, total=2, unit="[b]"),
    ]
    app = workbench(script)
    async with app.run_test(size=(120, 36)) as pilot:
        await running(app, pilot, request_of_tiny, wait_until)
        await pilot.pause(0.6)
        text = screen_text(app)
        assert "[/prompt][/INST] [bold]" in text and "[/task]" in text
        await pilot.press("ctrl+l")
        await pilot.pause(0.3)
        assert isinstance(app.screen, LogModal)
        assert "[/INST] [bold]" in screen_text(app)
        app.show_error(HOSTILE, HOSTILE)
        await pilot.pause()
        assert "[/INST] [bold]" in screen_text(app)
        app.push_screen(ConfirmModal(HOSTILE, HOSTILE))
        await pilot.pause()
        assert "[/INST] [bold]" in screen_text(app)


async def test_keys_of_the_users_configuration_are_used(workbench: MakeApp, tmp_path: Path) -> None:
    config = tmp_path / "home" / "config" / "config.toml"
    config.parent.mkdir(parents=True)
    config.write_text('[keymap]\n"app.train" = "f7"\n"app.trian" = "f8"\n', encoding="utf-8")
    app = workbench()
    async with app.run_test(size=(120, 36), notifications=True) as pilot:
        assert any("unknown action app.trian" in note.message for note in app._notifications)
        await pilot.press("f7")
        assert app.current.MODE == "train"


async def test_a_broken_configuration_is_told_and_ignored(workbench: MakeApp, tmp_path: Path) -> None:
    config = tmp_path / "home" / "config" / "config.toml"
    config.parent.mkdir(parents=True)
    config.write_text("[keymap\n", encoding="utf-8")
    app = workbench()
    async with app.run_test(notifications=True) as pilot:
        assert any("config.toml" in note.message for note in app._notifications)
        await pilot.press("4")
        assert app.current.MODE == "train"


async def test_the_footer_never_cuts_a_key_in_half(workbench: MakeApp, screen_text: ReadScreen) -> None:
    app = workbench()
    for width in (60, 80, 100, 120, 200):
        async with app.run_test(size=(width, 30)) as pilot:
            await pilot.pause(0.2)
            footer = screen_text(app).splitlines()[-1]
            assert "Help" in footer and footer.endswith("Quit")
            await pilot.press("q")
        app = workbench()


async def test_an_error_points_to_a_log_only_where_something_was_written(
    workbench: MakeApp, request_of_tiny: JobRequest, run_beginning: Beginning, wait_until: Callable[..., Any]
) -> None:
    app = workbench(run_beginning())
    app.log_path = Path("workbench.log")
    async with app.run_test(size=(80, 24)) as pilot:
        await running(app, pilot, request_of_tiny, wait_until)
        await app.start_job(request_of_tiny)
        await wait_until(pilot, lambda: isinstance(app.screen, ErrorModal))
        assert isinstance(app.screen, ErrorModal)
        assert app.screen.log_path is None
        assert app.screen.message == "a new run: cannot start while tiny is running here; stop tiny first"


async def test_below_the_floor_the_run_is_named_where_there_is_one(
    workbench: MakeApp,
    request_of_tiny: JobRequest,
    run_beginning: Beginning,
    wait_until: Callable[..., Any],
    screen_text: ReadScreen,
) -> None:
    app = workbench(run_beginning())
    async with app.run_test(size=(50, 14)) as pilot:
        assert "the run goes on" not in " ".join(screen_text(app).split())
        await running(app, pilot, request_of_tiny, wait_until)
        await pilot.resize_terminal(51, 14)
        await wait_until(pilot, lambda: "the run goes on" in " ".join(screen_text(app).split()))


async def test_a_click_on_a_key_presses_it(workbench: MakeApp) -> None:
    app = workbench()
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        footer = app.screen.query_one(KeyBar)
        place = next(x for x in range(80) if (hint := footer.hint_at(x)) is not None and hint.label == "Help")
        await pilot.click(KeyBar, offset=(place, 0))
        await pilot.pause()
        assert isinstance(app.screen, HelpModal)
