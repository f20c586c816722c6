"""The field to write a message in."""

from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.widgets import TextArea

from workbench.tui.words import say


class MessageField(TextArea):
    """A field for a message: enter sends, ctrl+j begins a new line, up in an empty field brings back the last one."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+j", "new_line", "New line", show=False),
    ]

    class Sent(Message):
        """A message is to be sent."""

        def __init__(self, text: str) -> None:
            super().__init__()
            self.text = text

    def __init__(self) -> None:
        super().__init__(id="message", classes="pane", compact=True, soft_wrap=True)
        say(self, border_title="Message", border_subtitle="enter send   ctrl+j new line")
        self.sent: list[str] = []

    def compose(self) -> ComposeResult:
        """A text area has no children of its own."""
        return ()

    async def _on_key(self, event: events.Key) -> None:
        if event.key == "enter":
            event.prevent_default().stop()
            self.post_message(self.Sent(self.text))
        elif event.key == "up" and not self.text and self.sent:
            event.prevent_default().stop()
            self.load_text(self.sent[-1])
            self.move_cursor(self.document.end)
        else:
            await super()._on_key(event)

    def action_cut(self) -> None:
        """Cut what is selected; never a whole line, as the same key stops an answer that may just have ended."""
        if self.selected_text:
            super().action_cut()

    def action_new_line(self) -> None:
        """Begin a new line in the message."""
        self.insert("\n")

    def take(self) -> str:
        """The message, which leaves the field and is remembered."""
        text = self.text
        if text.strip():
            self.sent.append(text)
        self.load_text("")
        return text
