"""The line at the top of every screen: its name among the others, and the run at work."""

from typing import TYPE_CHECKING, cast

from rich.cells import cell_len, set_cell_size
from textual.app import ComposeResult, RenderResult
from textual.containers import Horizontal
from textual.content import Content
from textual.events import Resize
from textual.widget import Widget
from textual.widgets import Input, TextArea

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


BRAND = "llm-workbench"
ALT = "alt+"
ROOMY, CLOSE, DIGITS = "-roomy", "-close", "-digits"
"""How the names of the screens stand: with room about them, side by side, or as digits but for the current one."""
ROOM_FOR_RUN = 18  # cells that the run keeps; the names give way to it


class ModeTab(Widget):
    """One mode's name; a click goes there."""

    DEFAULT_CSS = """
    ModeTab { width: auto; height: 1; padding: 0 1; color: $text-muted; text-wrap: nowrap; }
    TopBar.-close ModeTab, TopBar.-digits ModeTab { padding: 0 1 0 0; }
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

    @property
    def words(self) -> str:
        """The digit that goes there, and the name where it is shown."""
        named = self.has_class("-current") or not (self.parent and self.parent.has_class(DIGITS))
        return f"{self.digit} {tr(MODES[self.mode])}" if named else str(self.digit)

    def render(self) -> RenderResult:
        """The digit fainter than the name."""
        digit, gap, name = self.words.partition(" ")
        return Content.assemble((f"{digit}{gap}", "$foreground 60%"), name)

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
    """Names of the screens at the left, the run at the right.

    Where there is little room, the name of the program goes first, then the names of the other screens; their digits
    stay. While somebody types, digits are letters: then `alt+` stands before them.
    """

    DEFAULT_CSS = """
    TopBar { height: 1; dock: top; background: $panel; }
    TopBar .brand { width: auto; padding: 0 1; color: $primary; text-style: bold; }
    TopBar.-close .brand, TopBar.-digits .brand { display: none; }
    TopBar.-close .alt, TopBar.-digits .alt { padding: 0 0 0 1; }
    TopBar .alt { display: none; width: auto; color: $accent; }
    TopBar.-typing .alt { display: block; }
    TopBar.-close .edge, TopBar.-digits .edge { width: 1; height: 1; }
    TopBar .edge { width: 0; height: 1; }
    TopBar.-typing .edge { width: 0; }
    """

    def __init__(self, mode: str) -> None:
        super().__init__()
        self.mode = mode
        self._form = ""

    def compose(self) -> ComposeResult:
        """The name of the program, the tabs, the indicator."""
        yield Words(BRAND, classes="brand")
        yield Words("", classes="edge")
        yield Words(ALT, classes="alt")
        for digit, mode in enumerate(MODES, start=1):
            yield ModeTab(mode, digit, current=mode == self.mode)
        yield RunIndicator()

    def on_mount(self) -> None:
        """Fit the terminal, and follow what is typed in."""
        self._fit(self.app.size.width)
        self.watch(self.screen, "focused", self._follow_focus)

    def on_resize(self, event: Resize) -> None:
        """Fit the new width."""
        self._fit(event.size.width)

    def speak_again(self) -> None:
        """Names of another language are as wide as they are."""
        self._fit(self.size.width)

    def _follow_focus(self, focused: Widget | None) -> None:
        self.set_class(isinstance(focused, Input | TextArea), "-typing")

    def _fit(self, width: int) -> None:
        """Choose the widest form that leaves the run its room."""
        names = sum(cell_len(f"{digit} {tr(name)}") for digit, name in enumerate(MODES.values(), start=1))
        room = width - ROOM_FOR_RUN - names
        form = ROOMY if room >= len(BRAND) + 2 + 2 * len(MODES) else CLOSE if room > len(MODES) else DIGITS
        if form != self._form:
            self._form = form
            for each in (ROOMY, CLOSE, DIGITS):
                self.set_class(each == form, each)
            for tab in self.query(ModeTab):
                tab.refresh(layout=True)


class Words(Widget):
    """A few words that never change."""

    DEFAULT_CSS = "Words { height: 1; }"

    def __init__(self, words: str, *, classes: str) -> None:
        super().__init__(classes=classes)
        self.words = words

    def render(self) -> RenderResult:
        """The words."""
        return self.words


def _describe(state: RunState | None, width: int) -> Content:
    if state is None:
        return Content.assemble((f"○ {tr('idle')}", "$foreground 60%"))
    shape, colour = SHAPES[state.status]
    if width < _SHORT:
        return _briefly(state, width)
    status = f"{status_words(state)} " if state.wish or state.status != "running" else ""
    stage = state.stage
    place = f" {stage.name} {count(stage.step)}/{count(stage.steps)}" if stage is not None and stage.steps else ""
    room = max(6, width - cell_len(f"{shape} {status}{place}"))  # a long name gives way to how far the run is
    name = state.name if cell_len(state.name) <= room else f"{set_cell_size(state.name, room - 1)}…"
    return Content.assemble((f"{shape} {status}", f"${colour}"), (name, "bold"), (place, "$foreground 60%"))


_SHORT = 28  # cells below which only the shape, the name and how far it is are told


def _briefly(state: RunState, width: int) -> Content:
    shape, colour = SHAPES[state.status]
    stage = state.stage
    place = f" {stage.step / stage.steps:.0%}" if stage is not None and stage.steps else ""
    room = max(3, width - cell_len(f"{shape} {place}"))
    name = state.name if cell_len(state.name) <= room else f"{set_cell_size(state.name, room - 1).rstrip()}…"
    return Content.assemble((f"{shape} ", f"${colour}"), (name, "bold"), (place, "$foreground 60%"))
