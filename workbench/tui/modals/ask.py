"""A question whose answer is one line of text."""

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.widgets import Input, Static

from workbench.language import tr
from workbench.tui.modals.base import WorkbenchModal


class AskModal(WorkbenchModal[str]):
    """Asks for a name, a path or a number; the answer is stripped and never empty.

    Args:
        question: the title, plain text.
        detail: what to know before answering.
        proposed: stands in the field at first.
        topics: what Learn explains of it.
    """

    def __init__(self, question: str, detail: str = "", proposed: str = "", topics: tuple[str, ...] = ()) -> None:
        super().__init__()
        self.topics = topics
        self.question, self.detail, self.proposed = question, detail, proposed

    def compose(self) -> ComposeResult:
        """The question, the field."""
        with Vertical(classes="box -ask") as box:
            box.border_title = self.question.replace("[", r"\[")
            box.border_subtitle = tr("enter ok   esc close")
            yield Input(self.proposed, select_on_focus=False, compact=True)
            if self.detail:
                yield Static(self.detail, classes="detail", markup=False)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Answer."""
        event.stop()
        if event.value.strip():
            self.dismiss(event.value.strip())
