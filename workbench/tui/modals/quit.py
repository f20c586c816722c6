"""What becomes of a run when the workbench closes."""

from typing import ClassVar, Literal

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.widgets import Button, Static

from workbench.language import tr
from workbench.tui.modals.base import WorkbenchModal

Answer = Literal["background", "stop"]


class QuitModal(WorkbenchModal[Answer]):
    """Asks what to do with the run at work; no answer stays here. The harmless answer has the focus.

    Args:
        name: of the run; data, never markup.
    """

    topics = ("state", "checkpoint", "run")
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("b", "answer('background')", "Background", id="quit.background"),
        Binding("s", "answer('stop')", "Stop", id="quit.stop"),
        Binding("n", "close", "Stay", show=False),
        Binding("left,up", "app.focus_previous", show=False),
        Binding("right,down", "app.focus_next", show=False),
    ]

    def __init__(self, name: str) -> None:
        super().__init__()
        self.run_name = name

    def compose(self) -> ComposeResult:
        """The question, what follows, three buttons."""
        with Vertical(classes="box -confirm -quit") as box:
            box.border_subtitle = tr("b background   s stop   esc cancel")
            yield Static(tr("{run} is running.", run=self.run_name), classes="question", markup=False)
            detail = tr(
                "In the background it goes on without this window; the next start of the workbench shows it again. "
                "Stopped, it goes on from its last step when you resume it."
            )
            yield Static(detail, classes="detail", markup=False)
            with Vertical(classes="buttons"):
                yield Button(tr("Keep training in the background"), id="background", variant="primary")
                yield Button(tr("Stop after this step and save"), id="stop", variant="error")
                yield Button(tr("Cancel"), id="cancel")

    def on_mount(self) -> None:
        """Focus the answer that changes nothing."""
        self.query_one("#cancel").focus()

    def on_button_pressed(self, event: Button.Pressed) -> None:
        """Answer."""
        chosen = event.button.id
        self.dismiss(chosen if chosen in ("background", "stop") else None)  # type: ignore[arg-type]

    def action_answer(self, answer: Answer) -> None:
        """Answer by key."""
        self.dismiss(answer)
