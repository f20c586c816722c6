"""The whole log of a run, in a drawer over the screen."""

from collections.abc import Iterable
from itertools import islice
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.widgets import Log

from workbench.language import tr
from workbench.tui.modals.base import WorkbenchModal
from workbench.tui.run_state import LOG_LINES, RunState


class LogModal(WorkbenchModal[None]):
    """Every line of the run's log; follows the end until somebody scrolls up."""

    topics = ("log", "checkpoint", "tokens_per_step", "epochs")
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+l,q", "close", "Close", show=False),
        Binding("y", "copy", "Copy all", id="log.copy"),
    ]

    def __init__(self, state: RunState) -> None:
        super().__init__()
        self.state, self._shown = state, 0

    def compose(self) -> ComposeResult:
        """The lines."""
        with Vertical(classes="box -log") as box:
            box.border_title = tr("Log of {run}", run=self.state.name).replace("[", "\\[")
            box.border_subtitle = tr("end follows   y copy   esc close")
            yield Log(max_lines=LOG_LINES)

    def on_mount(self) -> None:
        """Show what there is and follow."""
        self.query_one(Log).focus()
        self._write_new()
        self.set_interval(0.5, self._write_new)

    def action_copy(self) -> None:
        """Copy all lines."""
        self.app.copy_to_clipboard("\n".join(str(line) for line in self.state.log))
        self.notify(tr("Copied"), timeout=2)

    def _write_new(self) -> None:
        fresh = self.state.logged - self._shown
        self._shown = self.state.logged
        if fresh:
            start = max(0, len(self.state.log) - fresh)
            self.query_one(Log).write_lines(_texts(islice(self.state.log, start, None)))


def _texts(lines: Iterable[object]) -> list[str]:
    return [str(line) for line in lines]
