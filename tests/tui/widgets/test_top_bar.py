"""The line at the top: seven screens and how to reach them, at every width, and the run that is at work."""

from collections.abc import Callable
from typing import Any

import pytest

from workbench.language import use_language
from workbench.tui.actions import MODES
from workbench.tui.app import WorkbenchApp
from workbench.tui.bridge import JobRequest

MakeApp = Callable[..., WorkbenchApp]
ReadScreen = Callable[[WorkbenchApp], str]


@pytest.mark.parametrize("spoken", ["en", "zh"])
@pytest.mark.parametrize("width", [60, 80, 100, 200])
async def test_every_screen_is_there_with_its_digit_and_in_reach_of_the_mouse(
    workbench: MakeApp, screen_text: ReadScreen, width: int, spoken: Any
) -> None:
    use_language(spoken)
    app = workbench()
    async with app.run_test(size=(width, 24)) as pilot:
        await pilot.pause()
        line = screen_text(app).splitlines()[0]
        assert all(str(digit) in line for digit in range(1, 8)), line
        tabs = list(app.screen.query("ModeTab"))
        assert all(tab.region in app.screen.region and tab.region.width for tab in tabs), line
        await pilot.click(tabs[4])
        assert app.current.MODE == "chat"
    use_language("en")


@pytest.mark.parametrize("width", [80, 120])
async def test_all_names_fit_and_leave_the_run_its_room(
    workbench: MakeApp,
    screen_text: ReadScreen,
    run_beginning: Any,
    make_step: Any,
    request_of_tiny: JobRequest,
    wait_until: Any,
    width: int,
) -> None:
    app = workbench([*run_beginning(), make_step(40)])
    async with app.run_test(size=(width, 24)) as pilot:
        await app.start_job(request_of_tiny)
        line = lambda: screen_text(app).splitlines()[0]  # noqa: E731
        await wait_until(pilot, lambda: "● tiny" in line() and "40" in line())
        assert all(name in line() for name in MODES.values()), line()


async def test_while_somebody_types_the_digits_are_reached_with_alt(
    workbench: MakeApp, screen_text: ReadScreen, wait_until: Any
) -> None:
    app = workbench()
    async with app.run_test(size=(80, 24)) as pilot:
        line = lambda: screen_text(app).splitlines()[0]  # noqa: E731
        await pilot.press("slash")
        await wait_until(pilot, lambda: "alt+1 Home" in line())
        await pilot.press("escape")
        await wait_until(pilot, lambda: "alt" not in line() and "7 Compare" in line())


async def test_names_follow_the_width_of_the_terminal(workbench: MakeApp, screen_text: ReadScreen) -> None:
    app = workbench()
    async with app.run_test(size=(120, 24)) as pilot:
        for width, brand, others in ((70, False, False), (80, False, True), (120, True, True)):
            await pilot.resize_terminal(width, 24)
            await pilot.pause(0.1)
            line = screen_text(app).splitlines()[0]
            assert ("llm-workbench" in line, "7 Compare" in line) == (brand, others), line
