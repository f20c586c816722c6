"""The newest lines of a run's log, as many as fit."""

from textual.app import RenderResult
from textual.content import Content
from textual.widget import Widget

from workbench.narration import Line
from workbench.tui.run_state import RunState
from workbench.tui.words import say

TONES = {"plain": "foreground", "good": "success", "warning": "warning", "error": "error", "quiet": "foreground 60%"}
SHAPES = {"warning": "! ", "error": "✗ "}


class LogTail(Widget, can_focus=True):
    """Follows the log; the whole of it is in the drawer."""

    DEFAULT_CSS = "LogTail { text-wrap: nowrap; text-overflow: ellipsis; }"

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id, classes="pane")
        say(self, border_title="Log", border_subtitle="^l full log")
        self.state: RunState | None = None
        self._drawn = (-1, -1)

    def show(self, state: RunState | None) -> None:
        """Draw the end of this run's log."""
        self.state = state
        drawn = (id(state), state.logged if state else 0)
        if drawn != self._drawn:
            self._drawn = drawn
            self.refresh()

    def render(self) -> RenderResult:
        """The newest lines, the last at the bottom."""
        if self.state is None:
            return ""
        return Content("\n").join(_styled(line) for line in self._newest(self.state, self.content_size.height))

    def _newest(self, state: RunState, height: int) -> list[Line]:
        """The newest highlights, and of the many quiet lines, such as steps, only one that is the very last."""
        quiet_end = [line for line in list(state.log)[-1:] if line.tone == "quiet"]
        room = max(0, height - len(quiet_end))
        return [*list(state.highlights)[max(0, len(state.highlights) - room) :], *quiet_end][-max(1, height) :]


def _styled(line: Line) -> Content:
    stamp, words = str(line)[:8], str(line)[8:]
    return Content.assemble(
        (stamp, "$foreground 60%"), (f"{words[:2]}{SHAPES.get(line.tone, '')}{words[2:]}", f"${TONES[line.tone]}")
    )
