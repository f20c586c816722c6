"""What was said: turns of plain text that follow the end until the reader scrolls up."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from rich.text import Text
from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.message import Message
from textual.widgets import Static

from workbench.cells import HARMLESS_INVISIBLE
from workbench.inference.parts import Part, parts_of
from workbench.language import mark, tr, tr_many

QUIET = "$foreground 60%"
SHOWN = f"\n\t\u3000{HARMLESS_INVISIBLE}"
_JOINED_EMOJI = re.compile("(?<=[\u2600-\u27bf\ufe0f\U0001f000-\U0001faff])\u200d")
KINDS = {
    "text": "",
    "thought": mark("thought"),
    "tool call": mark("tool call"),
    "tool result": mark("tool result"),
}


@dataclass(frozen=True)
class Shown:
    """One turn to be shown.

    Args:
        number: of the message in its tree; None while it is being written.
        note: figures beside the name.
        place, of: which of how many alternatives it is.
    """

    number: int | None
    who: str
    text: str = ""
    mine: bool = False
    note: str = ""
    place: int = 1
    of: int = 1


class TurnView(Static):
    """One turn: who, and what was said. The text is data: never markup, control characters shown, not obeyed."""

    class Pointed(Message):
        """Somebody clicked a turn."""

        def __init__(self, turn: "TurnView") -> None:
            super().__init__()
            self.turn = turn

    def __init__(self, shown: Shown, folded: bool = True) -> None:
        super().__init__(classes="turn -mine" if shown.mine else "turn", markup=False)
        self.number, self.who, self.text, self.mine = shown.number, shown.who, shown.text, shown.mine
        self.note, self.place, self.of = shown.note, shown.place, shown.of
        self.folded, self.selected = folded, False

    @property
    def has_parts(self) -> bool:
        """Whether there is something to fold."""
        return not self.mine and any(part.kind != "text" for part in parts_of(self.text))

    def on_mount(self) -> None:
        """Draw what is there already."""
        self.redraw()

    def on_click(self, event: events.Click) -> None:
        """Tell the screen."""
        self.post_message(self.Pointed(self))

    def say(self, piece: str) -> None:
        """Add to the text."""
        self.text += piece
        self.redraw()

    def renew(self, shown: Shown) -> None:
        """Put other figures beside the name; a note that is there and says more than none stays."""
        before = (self.number, self.who, self.note, self.place, self.of)
        self.number, self.who, self.place, self.of = shown.number, shown.who, shown.place, shown.of
        self.note = self.note or shown.note
        if before != (self.number, self.who, self.note, self.place, self.of):
            self.redraw()

    def finish(self, note: str) -> None:
        """The answer is done: figures beside the name, thoughts folded."""
        self.note, self.folded = note, True
        self.redraw()

    def fold(self, folded: bool) -> None:
        """Hide thoughts and tool calls, or show them."""
        self.folded = folded
        self.redraw()

    def select(self, selected: bool) -> None:
        """Mark it as the one that keys are about, or not."""
        if selected != self.selected:
            self.selected = selected
            self.set_class(selected, "-selected")
            self.redraw()

    def redraw(self) -> None:
        """Name and text, as plain characters."""
        style = "bold $primary" if self.mine else "bold $accent"
        head = Content.assemble(
            ("▸ " if self.selected else "", "bold"),
            (tr("you") if self.mine else printable(self.who), style),
            (f"  ◂ {self.place}/{self.of} ▸" if self.of > 1 else "", "bold"),
            "  ",
            (self.note, QUIET),
        )
        parts = [Part("text", self.text)] if self.mine else parts_of(self.text)
        self.update(Content("\n").join([head, *(block for part in parts for block in self._blocks(part))]))

    def _blocks(self, part: Part) -> list[Content]:
        if part.kind == "text":
            return [Content(printable(part.text))]
        lines = printable(part.text).splitlines()
        called = f" {printable(part.name)}" if part.name else ""
        size = tr_many("{count} line", "{count:,} lines", len(lines))
        size = size if part.closed else tr("{size}, unfinished", size=size)
        named = (f"{tr(KINDS[part.kind])}{called}  ", "bold")
        heading = Content.assemble(("▸ " if self.folded else "▾ ", "bold"), named, size)
        heading = heading.stylize(QUIET)
        if self.folded:
            return [heading]
        return [heading, *(Content.styled(f"│ {line}", QUIET) for line in lines)]


class Conversation(VerticalScroll, inherit_bindings=False):
    """The turns of a chat; one of them may be selected for the keys of the screen."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("pageup", "page_up", show=False),
        Binding("pagedown", "page_down", show=False),
        Binding("home", "scroll_home", show=False),
        Binding("end", "scroll_end", show=False),
    ]

    def __init__(self, *, id: str = "conversation") -> None:  # noqa: A002
        super().__init__(id=id, classes="pane")
        self.turns: list[TurnView] = []

    def compose(self) -> ComposeResult:
        """What the turns stand in: at least as high as the view, so that few of them stand at its top."""
        yield Vertical(classes="turns")

    @property
    def selected(self) -> TurnView | None:
        """The turn that keys are about."""
        return next((turn for turn in self.turns if turn.selected), None)

    def show(self, turns: Sequence[Shown]) -> None:
        """Show these turns; those that stand there already stay."""
        kept = 0
        for view, shown in zip(self.turns, turns, strict=False):
            if view.number is None or (view.number, view.text) != (shown.number, shown.text):
                break
            view.renew(shown)
            kept += 1
        for view in self.turns[kept:]:
            view.remove()
        self.turns = self.turns[:kept]
        for hint in self.query(".hint"):
            hint.remove()
        fresh = [TurnView(shown) for shown in turns[kept:]]
        self.turns += fresh
        if fresh:
            self.query_one(".turns").mount_all(fresh)
            self.anchor()

    def add(self, shown: Shown, folded: bool = False) -> TurnView:
        """Put a turn at the end, and follow what is written until the reader scrolls up."""
        for hint in self.query(".hint"):
            hint.remove()
        view = TurnView(shown, folded)
        self.turns.append(view)
        self.query_one(".turns").mount(view)
        self.anchor()
        return view

    def hint(self, text: Text | str) -> None:
        """Say something in place of a conversation."""
        self.anchor(False)
        self.turns = []
        turns = self.query_one(".turns")
        turns.remove_children()
        turns.mount(Static(text, classes="hint", markup=False))

    def select(self, step: int) -> None:
        """Select the turn `step` further; from none, the last."""
        if not self.turns:
            return
        now = self.selected
        at = len(self.turns) - 1 if now is None else self.turns.index(now) + step
        self.point_to(self.turns[max(0, min(len(self.turns) - 1, at))])

    def point_to(self, turn: TurnView | None) -> None:
        """Select one turn, or none."""
        for each in self.turns:
            each.select(each is turn)
        if turn is None:
            return
        last = turn is self.turns[-1]
        self.anchor(last)  # the last one may be growing
        if not last:
            self.scroll_to_widget(turn, animate=False)

    def speak_again(self) -> None:
        """The language was changed."""
        for turn in self.turns:
            turn.redraw()

    def on_focus(self) -> None:
        """There is always one selected while the keys come here."""
        if self.selected is None:
            self.select(0)

    def on_blur(self) -> None:
        """Keys go elsewhere."""
        self.point_to(None)


def printable(text: str) -> str:
    """`text` with control characters as visible signs; a model may say anything.

    Joiners stay, as some scripts need them, but not those of emoji: terminals do not agree how wide what they make is.
    """
    return "".join(
        character if character in SHOWN or character.isprintable() else _visible(character)
        for character in _JOINED_EMOJI.sub("", text)
    )


def _visible(character: str) -> str:
    return chr(0x2400 + ord(character)) if ord(character) < 0x20 else "\ufffd"
