"""What was said: turns of plain text that follow the end until the reader scrolls up, and the field to write in."""

from typing import ClassVar

from rich.text import Text
from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.message import Message
from textual.widgets import Static, TextArea


class TurnView(Static):
    """One turn: who, and what was said. The text is data: never markup, control characters shown, not obeyed."""

    def __init__(self, who: str, text: str = "", mine: bool = False) -> None:
        super().__init__(classes="turn -mine" if mine else "turn")
        self.who, self.text, self.note, self.mine = who, text, "", mine

    def on_mount(self) -> None:
        """Draw what is there already."""
        self.redraw()

    def say(self, piece: str) -> None:
        """Add to the text."""
        self.text += piece
        self.redraw()

    def finish(self, note: str) -> None:
        """Put figures beside the name."""
        self.note = note
        self.redraw()

    def redraw(self) -> None:
        """Name and text, as plain characters."""
        style = "bold $primary" if self.mine else "bold $accent"
        head = Content.assemble((self.who, style), "  ", (self.note, "$foreground 60%"))
        self.update(Content("\n").join([head, Content(printable(self.text))]))


class Conversation(VerticalScroll):
    """The turns of a chat."""

    def __init__(self) -> None:
        super().__init__(id="conversation", classes="pane")

    def add(self, turn: TurnView) -> TurnView:
        """Put a turn at the end, and follow what is written until the reader scrolls up."""
        self.mount(turn)
        self.anchor()
        return turn

    def forget(self) -> None:
        """Take all turns away."""
        self.remove_children()

    def hint(self, text: Text | str) -> None:
        """Say something in place of a conversation."""
        self.anchor(False)
        self.remove_children()
        self.mount(Static(text, classes="hint", markup=False))


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
        self.border_title = "Message"
        self.border_subtitle = "enter send   ctrl+j new line"
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


def printable(text: str) -> str:
    """`text` with control characters as visible signs; a model may say anything."""
    return "".join(
        character if character in "\n\t" or character.isprintable() or character == "\u3000" else _visible(character)
        for character in text
    )


def _visible(character: str) -> str:
    return chr(0x2400 + ord(character)) if ord(character) < 0x20 else "\ufffd"
