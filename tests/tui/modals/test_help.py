"""Help for what has the focus, then for the screen, then for everywhere."""

from collections.abc import Callable
from typing import Any

from workbench.tui.app import WorkbenchApp
from workbench.tui.modals.help import HelpModal, help_of_pane
from workbench.tui.widgets.row_list import RowList
from workbench.tui.widgets.section_list import SectionList

MakeApp = Callable[..., WorkbenchApp]
ReadScreen = Callable[[WorkbenchApp], str]


async def test_the_focused_pane_comes_first_with_its_own_keys(
    workbench: MakeApp, screen_text: ReadScreen, wait_until: Any
) -> None:
    app = workbench()
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.press("2")
        await wait_until(pilot, lambda: isinstance(app.current.focused, RowList))
        await wait_until(pilot, lambda: "pretrain.jsonl" in screen_text(app))
        await pilot.press("question_mark")
        await wait_until(pilot, lambda: isinstance(app.screen, HelpModal))
        await wait_until(pilot, lambda: "This pane: pretrain.jsonl" in screen_text(app))
        text = screen_text(app)
        assert "Move a page down." in text
        assert text.index("This pane") < text.index("This screen") < text.index("Everywhere") + 200
        await pilot.press("escape", "3")
        await wait_until(pilot, lambda: isinstance(app.current.focused, SectionList))
        pane = help_of_pane(app.current.focused)
        assert pane is not None and not pane.typing
        keys = {action.tooltip: action.keys for action in pane.actions}
        assert keys["Next part"] == "down,j,right,l" and "Scroll Down" not in keys


async def test_who_types_is_told_how_to_get_out(workbench: MakeApp, screen_text: ReadScreen, wait_until: Any) -> None:
    app = workbench()
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.press("slash", "f1")
        await wait_until(pilot, lambda: "keys are letters: esc leaves the field" in screen_text(app))
