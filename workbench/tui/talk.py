"""One column of the Chat screen: a session, the model it is with, and how its conversation is shown."""

from collections import deque
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from workbench.language import mark, tr, tr_many
from workbench.tui.widgets.conversation import Conversation, Shown, TurnView
from workbench.tui.widgets.model_list import ModelChoice

if TYPE_CHECKING:
    from workbench.inference.chat import ChatSession
    from workbench.inference.dialogue import Node
    from workbench.inference.reply import ReplyStats

COMPLETES = mark("This model was only pretrained: it goes on with your text, and does not answer.")
CHATS = mark("Say something.")


class Talk:
    """What a column knows.

    Args:
        view: where the turns are shown.

    Attributes:
        alias: what the model is called in place of its name, while that is hidden.
        path: the file the conversation is saved in; None before its first answer.
    """

    def __init__(self, view: Conversation) -> None:
        self.view = view
        self.session: ChatSession | None = None
        self.choice: ModelChoice | None = None
        self.alias = ""
        self.path: Path | None = None
        self.title = ""
        self.answering = False
        self.pieces: deque[str] = deque()
        self._answer: TurnView | None = None
        self._note = ""

    @property
    def name(self) -> str:
        """What the model is called on the screen."""
        return self.alias or (self.session.name if self.session is not None else "") or tr("model")

    def show_all(self) -> None:
        """Show the conversation as the session has it."""
        session = self.session
        if session is None:
            return
        if session.tree.nodes:
            self.view.show(self._shown(session.tree.path()))
        else:
            self.view.hint(tr(COMPLETES if session.mode == "completion" else CHATS))
        self.name_pane()

    def name_pane(self) -> None:
        """Put the model's name above the column."""
        self.view.border_title = self.name.replace("[", r"\[")

    def begin(self, base: list[int], question: str | None) -> None:
        """An answer begins: after the messages `base`, and after a new message where there is one."""
        self.view.show(self._shown(base))
        if question is not None:
            self.view.add(Shown(None, "you", question, mine=True))
        self._answer = self.view.add(Shown(None, self.name))
        self.answering = True
        self.pieces.clear()

    def draw_pieces(self) -> None:
        """Show what has come since the last time."""
        if self.pieces and self._answer is not None:
            self._answer.say("".join(self.pieces.popleft() for _ in range(len(self.pieces))))

    def finish(self, problem: bool) -> None:
        """The answer is done, or there is none."""
        self.draw_pieces()
        self.answering = False
        answer, self._answer = self._answer, None
        session = self.session
        if session is None:
            return
        if problem or answer is None:
            self.show_all()
            return
        shown = self._shown(session.tree.path())
        if self.alias:
            shown[-1] = replace(shown[-1], who=self.alias, note="")
        for view, each in zip(self.view.turns, shown, strict=False):
            view.renew(each)
        self._note = note(session.last_stats, session) if session.last_stats is not None else ""
        answer.finish("" if self.alias else self._note)  # figures could tell whose it is

    def reveal(self) -> None:
        """Say the name that was hidden."""
        letter, self.alias = self.alias, ""
        name = tr("{letter} was {model}", letter=letter, model=self.name) if letter else self.name
        self.view.border_title = name.replace("[", r"\[")
        if self.view.turns:
            last = self.view.turns[-1]
            last.renew(Shown(last.number, self.name, note=self._note, place=last.place, of=last.of))

    def last_answer(self) -> int | None:
        """Number of the last answer shown; None where there is none."""
        tree = self.session.tree if self.session is not None else None
        return tree.last if tree is not None and tree.nodes else None

    def _shown(self, numbers: list[int]) -> list[Shown]:
        assert self.session is not None, "a conversation has a session"
        tree, found = self.session.tree, []
        for number in numbers:
            node, siblings = tree.nodes[number], tree.siblings(number)
            who = "you" if node.role == "user" else self._who(node)
            place = siblings.index(number) + 1
            found.append(Shown(number, who, node.text, node.role == "user", _kept_note(node), place, len(siblings)))
        return found

    def _who(self, node: "Node") -> str:
        named = node.writing.model if node.writing is not None else ""
        return named or (self.session.name if self.session is not None else "") or tr("model")


def _kept_note(node: "Node") -> str:
    """What is known of an answer that was written earlier."""
    if node.writing is None or not node.writing.token_ids:
        return ""
    told = [tr("{tokens:,} tok", tokens=len(node.writing.token_ids))]
    if node.writing.stopped_by != "end":
        told.append(tr("stopped") if node.writing.stopped_by == "stopped" else tr("cut"))
    if node.writing.branched_at is not None:
        told.append(tr("branched at token {place:,}", place=node.writing.branched_at + 1))
    return "  ".join(told)


def note(stats: "ReplyStats", session: "ChatSession") -> str:
    """Figures of an answer, and why it ended where that was not its own end."""
    told = [tr("{tokens:,} tok", tokens=stats.tokens), tr("{rate:.0f} tok/s", rate=stats.tokens_per_second)]
    if stats.stopped_by == "stopped":
        told.append(tr("stopped"))
    elif stats.stopped_by == "length" and stats.tokens < session.settings.max_new_tokens:
        told.append(tr("cut: the context of {length:,} is full", length=session.context_length))
    elif stats.stopped_by == "length":
        told.append(tr("cut at max tokens"))
    if stats.dropped_turns:
        dropped = stats.dropped_turns
        told.append(tr_many("{count} earlier turn did not fit", "{count:,} earlier turns did not fit", dropped))
    return "  ".join(told)
