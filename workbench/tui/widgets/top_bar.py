"""The line at the top of every screen: its name among the others, and the run at work."""

from typing import TYPE_CHECKING, cast

from rich.cells import cell_len, set_cell_size
from textual.app import ComposeResult, RenderResult
from textual.containers import Horizontal
from textual.content import Content
from textual.widget import Widget

from workbench.language import mark, tr
from workbench.narration import count
from workbench.tui.actions import MODES
from workbench.tui.run_state import RunState

if TYPE_CHECKING:
    from workbench.tui.app import WorkbenchApp

SHAPES: dict[str, tuple[str, str]] = {
    "starting": ("◌", "accent"),
    "running": ("●", "success"),
    "paused": ("‖", "warning"),
    "stopped": ("■", "warning"),
    "interrupted": ("!", "warning"),
    "done": ("✓", "success"),
    "failed": ("✗", "error"),
    "new": ("◌", "accent"),
}
"""A shape and a theme colour for each status: never the colour alone."""

STATUS_WORDS = {
    "starting": mark("starting"),
    "running": mark("running"),
    "paused": mark("paused"),
    "stopped": mark("stopped"),
    "interrupted": mark("interrupted"),
    "done": mark("done"),
    "failed": mark("failed"),
    "new": mark("new"),
    "pausing": mark("pausing"),
    "continuing": mark("continuing"),
    "stopping": mark("stopping"),
}
"""What stands beside the shape, and what a person asked for."""


def status_words(state: RunState) -> str:
    """The status for people; a wish that is not confirmed yet stands in its place."""
    return f"{tr(STATUS_WORDS[state.wish])}…" if state.wish and state.live else tr(STATUS_WORDS[state.status])


class ModeTab(Widget):
    """One mode's name; a click goes there."""

    DEFAULT_CSS = """
    ModeTab { width: auto; height: 1; padding: 0 1; color: $text-muted; }
    ModeTab:hover { color: $foreground; background: $surface; }
    ModeTab.-current { color: $foreground; background: $primary 35%; text-style: bold; }
    """

    def __init__(self, mode: str, digit: int, current: bool) -> None:
        super().__init__(classes="-current" if current else "")
        self.mode, self.digit = mode, digit
        self.speak_again()

    def speak_again(self) -> None:
        """Explain the tab."""
        name = tr(MODES[self.mode])
        self.tooltip = tr("Go to {screen}: {digit}, or alt+{digit} in a text field", screen=name, digit=self.digit)

    def render(self) -> RenderResult:
        """The digit that goes there, and the name."""
        return Content.assemble((f"{self.digit} ", "$foreground 60%"), tr(MODES[self.mode]))

    async def on_click(self) -> None:
        """Go there."""
        await cast("WorkbenchApp", self.app).action_go(self.mode)


class RunIndicator(Widget):
    """The run at work, on every screen; a click shows it."""

    DEFAULT_CSS = """
    RunIndicator { width: 1fr; height: 1; padding: 0 1; text-align: right; text-wrap: nowrap; text-overflow: ellipsis; }
    """

    def __init__(self) -> None:
        super().__init__()
        self.state: RunState | None = None

    def show(self, state: RunState | None) -> None:
        """Draw what is known of the run."""
        self.state = state
        self.refresh()

    def render(self) -> RenderResult:
        """The shape of the status, the run, the stage and how far it is."""
        return _describe(self.state, self.content_size.width)

    async def on_click(self) -> None:
        """Show the run."""
        await cast("WorkbenchApp", self.app).action_go("train")


class TopBar(Horizontal):
    """Names of the screens at the left, the run at the right."""

    DEFAULT_CSS = """
    TopBar { height: 1; dock: top; background: $panel; }
    TopBar .brand { width: auto; padding: 0 1; color: $primary; text-style: bold; }
    """

    def __init__(self, mode: str) -> None:
        super().__init__()
        self.mode = mode

    def compose(self) -> ComposeResult:
        """The name of the program, the tabs, the indicator."""
        yield Brand(classes="brand")
        for digit, mode in enumerate(MODES, start=1):
            yield ModeTab(mode, digit, current=mode == self.mode)
        yield RunIndicator()


class Brand(Widget):
    """The name of the program."""

    DEFAULT_CSS = "Brand { height: 1; }"

    def render(self) -> RenderResult:
        """The name."""
        return "llm-workbench"


def _describe(state: RunState | None, width: int) -> Content:
    if state is None:
        return Content.assemble((f"○ {tr('idle')}", "$foreground 60%"))
    shape, colour = SHAPES[state.status]
    status = f"{status_words(state)} " if state.wish or state.status != "running" else ""
    stage = state.stage
    place = f" {stage.name} {count(stage.step)}/{count(stage.steps)}" if stage is not None and stage.steps else ""
    room = max(6, width - cell_len(f"{shape} {status}{place}"))  # a long name gives way to how far the run is
    name = state.name if cell_len(state.name) <= room else f"{set_cell_size(state.name, room - 1)}…"
    return Content.assemble((f"{shape} {status}", f"${colour}"), (name, "bold"), (place, "$foreground 60%"))
