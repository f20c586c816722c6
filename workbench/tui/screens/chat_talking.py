"""Letting models answer: one or two columns, what is typed going to each, the answers streaming from their threads."""

import logging
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from textual import work
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.widgets import Static
from textual.worker import get_current_worker

from workbench.errors import WorkbenchError
from workbench.language import mark, retell, tr
from workbench.tui.chat_files import save_talk
from workbench.tui.chat_models import all_choices, choices_of, open_session, run_directory
from workbench.tui.chat_votes import QUESTION, STACKED_QUESTION, alias_sides, folder_of_votes, tally
from workbench.tui.screens.base import Subject, WorkbenchScreen
from workbench.tui.talk import Talk
from workbench.tui.widgets.conversation import Conversation
from workbench.tui.widgets.message_field import MessageField
from workbench.tui.widgets.model_list import ModelChoice, ModelList
from workbench.tui.widgets.sampling_pane import SamplingPane
from workbench.tui.widgets.xray_pane import XRayPane

if TYPE_CHECKING:
    from workbench.inference.chat import ChatSession
    from workbench.inference.contest import Contest
    from workbench.inference.votes import VoteBook

logger = logging.getLogger(__name__)

DRAW_SECONDS = 0.06
NO_MODEL = mark(
    "No model yet.\n\nStart one on Home (esc, then 1): quickstart takes a few minutes, and you can talk to it while it "
    "learns."
)
STOP_FIRST = mark("Stop the answer first (esc).")

VOTE_FIRST = mark("Vote first, or esc.")


class TalkingScreen(WorkbenchScreen):
    """The part of the Chat screen that opens models and lets them answer; keys are the other part."""

    def __init__(self) -> None:
        super().__init__()
        self.opening = False
        self.contest: Contest | None = None
        self.talks: list[Talk] = []
        self._choice: ModelChoice | None = None
        self._wanted: ModelChoice | None = None
        self._editing: int | None = None
        self._problem = ""

    def compose_panes(self) -> ComposeResult:
        """Models, conversations (or the X-ray of an answer) over the message, sampling."""
        with Horizontal(id="columns"):
            yield ModelList()
            with Vertical(id="middle"):
                with Horizontal(id="talks"):
                    yield Conversation()
                    yield Conversation(id="second")
                yield XRayPane()
                yield Static(id="vote", markup=False)
                yield MessageField()
            yield SamplingPane()

    def on_mount(self) -> None:
        """Draw pieces of the answers as they come."""
        self.talks = [
            Talk(self.query_one("#conversation", Conversation)),
            Talk(self.query_one("#second", Conversation)),
        ]
        self.set_interval(DRAW_SECONDS, self._draw_pieces)

    def catch_up(self) -> None:
        """See what models there are now; begin with the latest."""
        super().catch_up()
        self._look_for_models()

    def receive(self, subject: Subject) -> None:
        """Talk to a run's newest model, or to the model of a folder."""
        choices = choices_of(Path(subject), self.workbench.bridge)
        if choices:
            self._choose(choices[0])
        else:
            self.notify(tr("{run} has no model yet", run=Path(subject).name), severity="warning", markup=False)

    @property
    def choice(self) -> ModelChoice | None:
        """The model that was chosen; of two, the one at the left."""
        return self._choice

    @property
    def session(self) -> "ChatSession | None":
        """The one that is talked to; of two, the one whose conversation is saved."""
        return self.contest.main if self.contest is not None else self.talks[0].session if self.talks else None

    @property
    def answering(self) -> bool:
        """Whether an answer is being written."""
        return any(talk.answering for talk in self.talks)

    @property
    def waiting(self) -> bool:
        """Whether two answers wait for a vote."""
        return self.contest is not None and self.contest.waiting

    @property
    def _shown(self) -> list[Talk]:
        return self.talks if self.contest is not None else self.talks[:1]

    @property
    def _talk(self) -> Talk:
        """The column that keys are about."""
        if self.contest is not None and self.contest.blind:  # the other one only lends its answers
            return next(talk for talk in self.talks if talk.session is self.session)
        return next((talk for talk in self._shown if talk.view is self.focused), self.talks[0])

    # --- models -----------------------------------------------------------------------------------------------------

    @work(thread=True, exclusive=True, exit_on_error=False, group="models")
    def _look_for_models(self) -> None:
        choices = all_choices(self.workbench.bridge)
        if not get_current_worker().is_cancelled:
            self.app.call_later(self._show_models, choices)

    def _show_models(self, choices: list[ModelChoice]) -> None:
        models = self.query_one_optional(ModelList)
        if models is None:
            return
        models.show(choices, self._choice)
        if self._choice is None and self._wanted is None:
            if choices:
                self._choose(choices[0])
            else:
                self.talks[0].view.hint(tr(NO_MODEL))

    def on_model_list_chosen(self, message: ModelList.Chosen) -> None:
        """Talk to another model."""
        self.query_one(ModelList).remove_class("-open")
        self._choose(message.choice)
        self.query_one(MessageField).focus()

    def _choose(self, choice: ModelChoice, second: bool = False) -> None:
        if self.answering or self.waiting:
            self.notify(tr(STOP_FIRST if self.answering else VOTE_FIRST), severity="warning")
            return
        self.opening = True
        talk = self.talks[1 if second else 0]
        if not second:
            self._wanted = choice
            self._leave_contest()
        talk.view.border_title = tr("loading…")
        talk.view.hint(tr("Loading {model}…", model=choice.label))
        self.set_class(second, "-duo")
        self._load(choice, second)

    @work(thread=True, exclusive=True, exit_on_error=False, group="load")
    def _load(self, choice: ModelChoice, second: bool) -> None:
        try:
            session = self._open(choice)
        except WorkbenchError as error:
            self.app.call_later(self._not_loaded, choice, second, str(error))
        except Exception as error:  # a damaged file must not take the workbench down
            logger.exception("%s could not be opened", choice.label)
            self.app.call_later(self._not_loaded, choice, second, f"{type(error).__name__}: {error}")
        else:
            if not get_current_worker().is_cancelled:
                self.app.call_later(self._loaded, choice, second, session)

    def _open(self, choice: ModelChoice) -> "ChatSession":
        return open_session(choice, self.workbench.bridge)

    def _loaded(self, choice: ModelChoice, second: bool, session: "ChatSession") -> None:
        self.opening = False
        if second:
            self._begin_contest(session, blind=False)
            return
        if self._wanted != choice:
            return
        talk, before = self.talks[0], self.talks[0].session
        if before is not None and before.mode == session.mode:
            session.take(before.tree)  # another model goes on with the same conversation
        else:
            talk.path, talk.title = None, ""
        talk.session, self._choice, self._editing = session, choice, None
        talk.show_all()
        self._name_kind()
        models = self.query_one(ModelList)
        models.show(models.choices, choice)
        self.refresh_bindings()
        if isinstance(self.focused, Conversation | None):
            self.query_one(MessageField).focus()

    def _not_loaded(self, choice: ModelChoice, second: bool, problem: str) -> None:
        self.opening = False
        told, talk = tr("{model} could not be opened.", model=choice.label), self.talks[0]
        if second or talk.session is not None:
            self.notify(f"{told} {retell(problem)}", severity="error", markup=False, timeout=8)
        if second:
            self._leave_contest()
            return
        self._wanted = self._choice
        if talk.session is not None:
            talk.show_all()  # the conversation goes on with the model that it had
            return
        talk.view.hint(f"{told}\n\n{retell(problem)}")
        talk.view.border_title = tr("no model")

    def _name_kind(self) -> None:
        for talk in self._shown:
            completes = talk.session is not None and talk.session.mode == "completion"
            kind = tr("continues text") if completes else tr("chat")
            talk.view.border_subtitle = "" if talk.alias else kind  # it could tell whose side this is

    # --- talking ----------------------------------------------------------------------------------------------------

    def on_message_field_sent(self, message: MessageField.Sent) -> None:
        """Send what was written."""
        session = self.session
        if session is None or self.opening:
            self.notify(tr("The model is still being loaded." if self.opening else "Choose a model first (f9)."))
        elif self.answering:
            self.notify(tr(STOP_FIRST), severity="warning")
        elif message.text.strip() or session.mode == "completion":
            text, number = self.query_one(MessageField).take(), self._editing
            self._ask("send" if number is None else "edit", text, number)

    def _ask(self, how: str, text: str = "", number: int | None = None) -> None:
        """Let every column answer: to a message sent, to one edited, or again to the message `number`."""
        session = self.session
        if session is not None and self._prepare(session, text):
            try:
                streams = self._streams(session, how, text, number)
            except WorkbenchError as error:
                self._give_back(text, str(error))
                return
            said = text if how in ("send", "edit") else None
            self._begin([(talk, pieces, _base(talk, how, number)) for talk, pieces in streams], said)

    def _branch(self, talk: Talk, number: int, place: int, token_id: int) -> None:
        """Let a column go on from an answer in which another token stands."""
        if talk.session is not None and self._prepare(talk.session):
            try:
                pieces = talk.session.branch(number, place, token_id)
            except WorkbenchError as error:
                self._give_back("", str(error))
                return
            self._begin([(talk, pieces, _base(talk, "branch", number))], None, voting=False)

    def _prepare(self, session: "ChatSession", text: str = "") -> bool:
        """Hand the settings of the fields to the session; False, with the text given back, where one is wrong."""
        from workbench.inference.sampling import SamplingSettings

        pane = self.query_one(SamplingPane)
        try:
            session.settings, session.system_prompt = SamplingSettings(**pane.values()), pane.system_prompt
        except (ValueError, WorkbenchError) as error:
            self._give_back(text, str(error))
            return False
        return True

    def _begin(
        self, streams: list[tuple[Talk, Iterator[str], list[int]]], said: str | None, voting: bool = True
    ) -> None:
        """Show that answers are being written, and start their threads."""
        self._editing, self._problem = None, ""
        for talk, _, base in streams:
            talk.begin(base, said)
        if voting and self.contest is not None and self.contest.blind:
            self._show_vote(tr("Both answer; then you vote.   esc stops"))
        self.refresh_bindings()
        for talk, pieces, _ in streams:
            self._stream(talk, pieces, said or "", voting)

    def _streams(
        self, session: "ChatSession", how: str, text: str, number: int | None
    ) -> list[tuple[Talk, Iterator[str]]]:
        contest = self.contest
        if contest is None:
            match how:
                case "send":
                    pieces = session.send(text)
                case "edit":
                    pieces = session.edit(number if number is not None else 0, text)
                case _:
                    pieces = session.retry(number)
            return [(self.talks[0], pieces)]
        both = contest.send(text) if how == "send" else contest.edit_last(text) if how == "edit" else contest.retry()
        alias_sides(contest, self.talks)
        for talk in self.talks:
            talk.name_pane()
        self._name_kind()
        return list(zip(self.talks, both, strict=True))

    @work(thread=True, exit_on_error=False, group="answer")
    def _stream(self, talk: Talk, pieces: Iterator[str], text: str, voting: bool) -> None:
        worker, problem = get_current_worker(), ""
        try:
            for piece in pieces:
                talk.pieces.append(piece)
                if worker.is_cancelled and talk.session is not None:
                    talk.session.stop()
        except WorkbenchError as error:
            problem = str(error)
        except Exception as error:  # out of memory, say: the conversation stands as it was
            logger.exception("no answer")
            problem = f"{type(error).__name__}: {error}"
        if not worker.is_cancelled:
            self.app.call_later(self._answered, talk, text, voting, problem)

    def _draw_pieces(self) -> None:
        for talk in self.talks:
            talk.draw_pieces()

    def _answered(self, talk: Talk, text: str, voting: bool, problem: str) -> None:
        self._problem = self._problem or problem
        talk.finish(bool(problem))
        if self.answering:
            return
        contest = self.contest if voting else None
        if self._problem:
            if contest is not None:
                contest.discard()
                self._show_all()
            self.remove_class("-voting")
            self._give_back(text, self._problem)
        elif contest is not None:
            contest.finished()
        if self.waiting:
            self._show_vote(tr(STACKED_QUESTION if self.has_class("-narrow") else QUESTION))
        elif not self._problem:
            self._save()
        self.refresh_bindings()

    def _give_back(self, text: str, problem: str) -> None:
        """Nothing is lost: the message returns to its field."""
        if text:
            self.query_one(MessageField).load_text(text)
        self.notify(retell(problem), severity="error", markup=False, timeout=8)

    def _show_all(self) -> None:
        for talk in self._shown:
            talk.show_all()
        self._name_kind()
        self.refresh_bindings()

    def _show_vote(self, line: str) -> None:
        """Put a line, and the votes so far, where the message field was; keys go to the conversations."""
        assert self.contest is not None, "there is something to vote on"
        self.add_class("-voting")
        box = self.query_one("#vote", Static)
        box.border_title = tr("Blind vote")
        box.border_subtitle = tally(self.contest, self._book()).replace("[", r"\[")
        box.update(line)
        self.talks[0].view.focus()

    def _book(self) -> "VoteBook":
        from workbench.inference.votes import VoteBook

        directory = self._choice.directory if self._choice is not None else None
        bridge = self.workbench.bridge
        return VoteBook(folder_of_votes(directory, run_directory(bridge), self.workbench.workspace))

    # --- two answers ------------------------------------------------------------------------------------------------

    def _begin_contest(self, other: "ChatSession", blind: bool) -> None:
        """Answer in two columns from now on."""
        from workbench.inference.contest import Contest

        main = self.session
        if main is None:
            return
        self.contest = Contest(main, other, blind)
        self.talks[1].path, self.talks[1].title = None, ""
        alias_sides(self.contest, self.talks)
        self.add_class("-duo")
        self._show_all()
        self.query_one(MessageField).focus()

    def _leave_contest(self) -> None:
        """Answer in one column again."""
        if self.contest is not None:
            self.talks[0].session, self.talks[1].session = self.contest.main, None
        self.contest = None
        for talk in self.talks:
            talk.alias = ""
        self.remove_class("-duo", "-voting")
        self.talks[1].view.hint("")
        self._show_all()

    @work(thread=True, exit_on_error=False, group="saving")
    def _save(self) -> None:
        workspace, session, contest = self.workbench.workspace, self.session, self.contest
        saved = [(self.talks[0], session, "")]
        if contest is not None and not contest.blind:
            names = contest.main.name, contest.other.name
            second = names[1] if names[1] != names[0] else f"{names[1]} 2"
            saved = [(self.talks[0], session, names[0]), (self.talks[1], contest.other, second)]
        for talk, session, who in saved:
            problem = save_talk(talk, session, workspace, who)
            if problem:
                self.app.call_later(partial(self.notify, problem, severity="warning", markup=False))


def _base(talk: Talk, how: str, number: int | None) -> list[int]:
    """The messages before the one that is said or answered; `number` counts only where one column talks."""
    assert talk.session is not None, "a column that answers has a session"
    tree = talk.session.tree
    path = tree.path()
    if how == "send":
        return path
    if number is None or number >= len(tree.nodes):
        number = path[-2]
    node = tree.nodes[number]
    if how == "edit":
        return tree.path(node.parent)
    return tree.path(number if node.role == "user" else node.parent)
