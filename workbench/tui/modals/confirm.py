"""A question before something is lost. The harmless answer has the focus."""

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.widgets import Button, Static

from workbench.language import tr
from workbench.tui.modals.base import WorkbenchModal


class ConfirmModal(WorkbenchModal[bool]):
    """Asks a yes-or-no question; True is the answer of the button that does it.

    Args:
        question: names the object, as in `Delete the run tiny-30m?`; data, never markup.
        detail: what happens then.
        yes: the label of the button that does it, a verb.
        no: the label of the harmless button.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "answer(True)", "Yes", id="confirm.yes"),
        Binding("n", "answer(False)", "No", id="confirm.no"),
        Binding("left,up", "app.focus_previous", show=False),
        Binding("right,down", "app.focus_next", show=False),
    ]

    def __init__(self, question: str, detail: str = "", yes: str = "", no: str = "") -> None:
        super().__init__()
        self.question, self.detail, self.yes, self.no = question, detail, yes or tr("Yes"), no or tr("Cancel")

    def compose(self) -> ComposeResult:
        """The question, what follows, two buttons."""
        with Vertical(classes="box -confirm") as box:
            box.border_subtitle = tr("y yes   n no   esc close")
            yield Static(self.question, classes="question", markup=False)
            if self.detail:
                yield Static(self.detail, classes="detail", markup=False)
            with Horizontal(classes="buttons"):
                yield Button(self.no, id="no", variant="primary")
                yield Button(self.yes, id="yes", variant="error")

    def on_mount(self) -> None:
        """Focus the harmless answer."""
        self.query_one("#no").focus()

    def on_button_pressed(self, event: Button.Pressed) -> None:
        """Answer."""
        self.dismiss(event.button.id == "yes")

    def action_answer(self, answer: bool) -> None:
        """Answer by key."""
        self.dismiss(answer)

    def action_close(self) -> None:
        """Closing is the harmless answer."""
        self.dismiss(False)
