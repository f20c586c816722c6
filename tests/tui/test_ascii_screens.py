"""`--ascii`: every screen in characters that any font has, without a hole in it."""

from collections.abc import Callable
from typing import Any

from workbench.language import use_language
from workbench.runs.store import RunState, create_run
from workbench.tui.actions import MODES
from workbench.tui.app import WorkbenchApp
from workbench.tui.bridge import JobRequest

MakeApp = Callable[..., WorkbenchApp]
ReadScreen = Callable[[WorkbenchApp], str]


async def test_every_screen_is_drawn_in_ascii(
    workbench: MakeApp,
    run_beginning: Any,
    make_step: Any,
    request_of_tiny: JobRequest,
    screen_text: ReadScreen,
    wait_until: Any,
) -> None:
    app = workbench([*run_beginning(), *(make_step(number, 9 / number) for number in range(1, 60))])
    create_run(app.workspace, "one", "").write_state(RunState("done", ("pretrain",), "pretrain", 9, 9))
    app.draw_in_ascii()
    async with app.run_test(size=(120, 36)) as pilot:
        await app.start_job(request_of_tiny)
        await wait_until(pilot, lambda: app.bridge.active.state.status == "running")  # type: ignore[union-attr]
        for mode in ("train", *MODES):
            await app.action_go(mode)
            await pilot.pause(0.3)
            text = screen_text(app)
            left = {each for each in text if 0x2000 < ord(each) < 0x2E80}
            assert not left and "+-" in text and "#=" in text, f"{mode}: {left}\n{text}"
        await app.action_go("home")
        await pilot.press("question_mark")
        await pilot.pause()
        assert "enter" in screen_text(app) and "?" in screen_text(app)


async def test_letters_are_drawn_as_they_are(workbench: MakeApp, screen_text: ReadScreen, wait_until: Any) -> None:
    use_language("zh")
    app = workbench()
    app.draw_in_ascii()
    async with app.run_test(size=(120, 36)) as pilot:
        await wait_until(pilot, lambda: screen_text(app).splitlines()[1].startswith("+- 运行 -"))
        assert "主页" in screen_text(app).splitlines()[0]
    use_language("en")
