"""Chat: what keys do. Messages are selected, alternatives walked through, answers looked through and voted on."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from textual import work
from textual.content import Content
from textual.widgets import Static
from textual.worker import get_current_worker

from workbench.errors import WorkbenchError
from workbench.language import mark, retell, tr
from workbench.tui.actions import bindings
from workbench.tui.chat_files import choose_chat, export_chat, load_talk
from workbench.tui.chat_models import all_choices, choices_of, newest_choice, run_directory
from workbench.tui.chat_votes import cast
from workbench.tui.modals.choice import ChoiceModal
from workbench.tui.places import Place
from workbench.tui.screens.chat_talking import TalkingScreen
from workbench.tui.talk import Talk
from workbench.tui.widgets.conversation import Conversation, TurnView
from workbench.tui.widgets.message_field import MessageField
from workbench.tui.widgets.model_list import ModelChoice, ModelList
from workbench.tui.widgets.sampling_pane import SamplingPane
from workbench.tui.widgets.token_flow import TokenFlow
from workbench.tui.widgets.xray_pane import XRayPane
from workbench.tui.xrayed import XRayed, look_through

if TYPE_CHECKING:
    from workbench.inference.chat import ChatSession

logger = logging.getLogger(__name__)


class ChatScreen(TalkingScreen):
    """Conversations with a model, or with two."""

    MODE = SCOPE = "chat"
    ABOUT = mark(
        "Talk to any model of your runs, also while it is in training: that is a copy, taken between two steps, and "
        "never changes the run. A model that was only pretrained goes on with your text in place of answering. esc "
        "leaves the field for the conversation: arrows select a message and walk between its alternatives. X-ray shows "
        "what else each token could have been. Conversations are saved in the folder chats of your runs."
    )
    BINDINGS = bindings("chat")
    AUTO_FOCUS = "#message"

    def __init__(self) -> None:
        super().__init__()
        self._looking: Talk | None = None
        self._left: Path | None = None  # the conversation of last time, until its model is there

    def place(self) -> Place:
        """The model and the conversation."""
        chosen, live = self._choice, run_directory(self.workbench.bridge)
        if chosen is not None and chosen.directory is not None:
            at = {"run": chosen.run, "what": chosen.what, "directory": str(chosen.directory.absolute())}
        elif chosen is not None and live is not None:  # at the next start the newest model of its run
            at = {"run_directory": str(live.absolute())}
        else:
            return {}
        path = self.talks[0].path
        return at if path is None else {**at, "conversation": str(path.absolute())}

    def return_to(self, place: Place) -> None:
        """The same model, going on with the same conversation, where they still are there."""
        if "run_directory" in place:
            choices = choices_of(Path(place["run_directory"]), self.workbench.bridge)
        else:
            choices = [ModelChoice(str(place["run"]), str(place["what"]), Path(place["directory"]))]
        choices = [each for each in choices if each.directory is not None and each.directory.is_dir()]
        if choices:
            self._left = Path(place["conversation"]) if "conversation" in place else None
            self._choose(choices[0])

    def _loaded(self, choice: ModelChoice, second: bool, session: "ChatSession") -> None:
        super()._loaded(choice, second, session)
        path, self._left = self._left, None
        if path is not None and path.is_file() and session is self.session:
            self._go_on_with(path, session)

    # --- what is possible -------------------------------------------------------------------------------------------

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """What can be done now: in an X-ray, while answers are written, while they wait for a vote, at rest."""
        if action in ("token", "choice", "facts", "branch"):
            return self._looking is not None and self.query_one(XRayPane).found is not None
        if action == "vote":
            return self.waiting
        if action == "stop_answer":
            return self.answering
        if action in ("turn", "sibling", "fold"):
            return self._looking is None and self._can_move(action)
        if action == "renew":
            return self._at_rest and self._choice is not None and self._choice.directory is None
        if action == "xray":
            return True if self._looking is not None else False if self.waiting else self._talked
        if action in ("again", "edit", "copy_answer", "export"):
            return self._talked if self._looking is None and not self.waiting else False
        if action in ("new_chat", "chats", "second", "blind"):
            return (True if self._at_rest else None) if self._looking is None and not self.waiting else False
        if action in ("message", "models", "sampling"):
            return self._looking is None and not self.waiting
        return True

    @property
    def _at_rest(self) -> bool:
        return self.session is not None and not (self.opening or self.answering or self.waiting)

    @property
    def _talked(self) -> bool | None:
        """True once there is an answer, and nothing is going on; greyed before."""
        return True if self._at_rest and self.session is not None and self.session.messages else None

    def _can_move(self, action: str) -> bool:
        if not isinstance(self.focused, Conversation):
            return False
        turn = self.focused.selected
        if action == "turn":
            return bool(self.focused.turns)
        if action == "fold":
            return turn is not None and turn.has_parts
        return self._at_rest and turn is not None and turn.number is not None and turn.of > 1

    async def action_outward(self) -> None:
        """One step back: from the X-ray, an answer, a vote, a side pane, the field; then home."""
        opened = self.query("#models.-open, #sampling.-open")
        if self._looking is not None:
            self.action_xray()
        elif self.answering:
            self.action_stop_answer()
        elif self.waiting and self.contest is not None:
            self.contest.skip()
            self._settled(tr("No vote; the answer that is kept is the main model's."))
        elif opened:
            opened.remove_class("-open")
            self.query_one(MessageField).focus()
        elif isinstance(self.focused, MessageField) and self.talks[0].view.turns:
            self.talks[0].view.focus()
        else:
            await super().action_outward()

    # --- messages ---------------------------------------------------------------------------------------------------

    def on_turn_view_pointed(self, message: TurnView.Pointed) -> None:
        """Select the message that was clicked."""
        for view in (talk.view for talk in self._shown if message.turn in talk.view.turns):
            view.focus()
            view.point_to(message.turn)
            self.refresh_bindings()

    def action_turn(self, step: int) -> None:
        """Select another message."""
        if isinstance(self.focused, Conversation):
            self.focused.select(step)
            self.refresh_bindings()

    def action_sibling(self, step: int) -> None:
        """Show another alternative of the selected message, and what followed it."""
        talk = self._talk
        turn, session = talk.view.selected, talk.session
        if turn is None or turn.number is None or session is None:
            return
        at = talk.view.turns.index(turn)
        session.walk(turn.number, step)
        if self.contest is not None and self.contest.blind:
            self.contest.other.take(self.contest.main.tree)
            self._show_all()
        talk.show_all()
        talk.view.point_to(talk.view.turns[at])
        self._save()
        self.refresh_bindings()

    def action_fold(self) -> None:
        """Show thoughts and tool calls of the selected answer, or fold them."""
        turn = self.focused.selected if isinstance(self.focused, Conversation) else None
        if turn is not None:
            turn.fold(not turn.folded)

    def action_stop_answer(self) -> None:
        """End the answer after its current token."""
        for talk in self.talks:
            if talk.session is not None:
                talk.session.stop()

    def action_again(self) -> None:
        """Answer the selected message anew, or the last one."""
        turn = self._talk.view.selected
        number = turn.number if turn is not None and self.contest is None else None
        self._ask("retry", number=number)

    def action_edit(self) -> None:
        """Bring a message back into the field, the selected one or the last; sending it begins another way."""
        session, turn = self.session, self._talk.view.selected
        if session is None:
            return
        tree = session.tree
        asked = [number for number in tree.path() if tree.nodes[number].role == "user"]
        chosen = turn.number if turn is not None and self.contest is None else None
        if chosen is not None and tree.nodes[chosen].role != "user":
            chosen = tree.nodes[chosen].parent
        self._editing = chosen if chosen in asked else asked[-1]
        field = self.query_one(MessageField)
        field.load_text(tree.nodes[self._editing].text)
        field.move_cursor(field.document.end)
        field.focus()
        self.notify(tr("Sending goes on from there; what was said stays beside it."))

    def action_new_chat(self) -> None:
        """Begin a new conversation with the same model."""
        for talk in self._shown:
            if talk.session is not None:
                talk.session.reset()
            talk.path, talk.title = None, ""
        self._editing = None
        self._show_all()
        self.query_one(MessageField).focus()

    def action_copy_answer(self) -> None:
        """Copy the selected message, or the last answer."""
        view = self._talk.view
        turn = view.selected or (view.turns[-1] if view.turns else None)
        if turn is not None:
            self.app.copy_to_clipboard(turn.text)
            self.notify(tr("Copied"), timeout=2)

    # --- panes ------------------------------------------------------------------------------------------------------

    def action_renew(self) -> None:
        """Take the model in training as it is now; once the run is over, what it made."""
        choice = newest_choice(self.workbench.bridge)
        if choice is None:
            self.notify(tr("No model is in training; f9 shows those there are."), severity="warning")
        else:
            self._choose(choice)

    def action_models(self) -> None:
        """Go to the list of models."""
        models = self.query_one(ModelList)
        models.add_class("-open")
        models.focus()
        self._look_for_models()

    def action_sampling(self) -> None:
        """Go to the sampling fields."""
        pane = self.query_one(SamplingPane)
        pane.add_class("-open")
        next(iter(pane.fields())).focus()

    def action_message(self) -> None:
        """Go to the message field."""
        self.query_one(MessageField).focus()

    @work(exclusive=True, group="choosing")
    async def action_chats(self) -> None:
        """Choose a saved conversation and go on with it."""
        path, session = await choose_chat(self.workbench), self.session
        if path is not None and session is not None and self._at_rest:
            self._go_on_with(path, session)
            self.query_one(MessageField).focus()

    def _go_on_with(self, path: Path, session: "ChatSession") -> None:
        try:
            values, system_prompt = load_talk(self.talks[0], session, path)
        except WorkbenchError as error:
            self.workbench.show_error(tr("Not opened"), retell(str(error)))
            return
        self.query_one(SamplingPane).show(values, system_prompt)
        self._editing = None
        if self.contest is not None:
            self.contest.other.take(session.tree)
            self.talks[1].path = None
        self._show_all()

    @work(exclusive=True, group="choosing")
    async def action_export(self) -> None:
        """Write the conversation as Markdown."""
        path = self.talks[0].path
        try:
            if path is not None:
                await export_chat(self.workbench, path)
        except WorkbenchError as error:
            self.notify(retell(str(error)), severity="error", markup=False, timeout=8)

    # --- X-ray ------------------------------------------------------------------------------------------------------

    def action_xray(self) -> None:
        """Look through the selected answer, or the last one; again: back to the conversation."""
        if self._looking is not None:
            view, self._looking = self._looking.view, None
            self.remove_class("-xray")
            view.focus()
            self.refresh_bindings()
            return
        talk = self._talk
        number = self._answer_of(talk)
        if talk.session is None or number is None:
            return
        self._looking = talk
        self.add_class("-xray")
        self.query_one(XRayPane).wait(tr("looking through the answer…"))
        self.query_one(TokenFlow).focus()
        self._look(talk, number)

    def _answer_of(self, talk: Talk) -> int | None:
        """Number of the selected answer, or of the one to the selected message; else of the last."""
        turns, turn = talk.view.turns, talk.view.selected
        if turn is not None and turn.mine:
            turn = turns[min(turns.index(turn) + 1, len(turns) - 1)]
        return turn.number if turn is not None and turn.number is not None else talk.last_answer()

    @work(thread=True, exclusive=True, exit_on_error=False, group="xray")
    def _look(self, talk: Talk, number: int) -> None:
        assert talk.session is not None, "a column that is looked at has a session"
        try:
            found = look_through(talk.session, number)
        except Exception as error:  # out of memory, say, or a text that this model cannot read
            if not isinstance(error, WorkbenchError):
                logger.exception("no X-ray")
            self.app.call_later(self._seen, talk, None, str(error) or type(error).__name__)
        else:
            if not get_current_worker().is_cancelled:
                self.app.call_later(self._seen, talk, found, "")

    def _seen(self, talk: Talk, found: XRayed | None, problem: str) -> None:
        if self._looking is not talk:
            return
        if found is None:
            self.action_xray()
            self.notify(retell(problem), severity="error", markup=False, timeout=8)
            return
        self.query_one(XRayPane).show(found, tr("X-ray: {model}", model=talk.name))
        self.refresh_bindings()

    def on_token_flow_pointed(self, message: TokenFlow.Pointed) -> None:
        """Look at the token that was clicked."""
        self.query_one(XRayPane).point_to(message.number)

    def action_token(self, step: int) -> None:
        """Look at another token."""
        pane = self.query_one(XRayPane)
        pane.point_to(pane.at + step)

    def action_choice(self, step: int) -> None:
        """Another alternative of the token."""
        self.query_one(XRayPane).choose(step)

    def action_facts(self, pages: int) -> None:
        """Scroll the figures of the token."""
        self.query_one(XRayPane).scroll_facts(pages)

    def action_branch(self) -> None:
        """Cut the answer at the token, put the alternative there, and let the model go on: a new sibling."""
        pane, talk = self.query_one(XRayPane), self._looking
        if talk is not None and pane.found is not None and pane.alternative is not None:
            number, place, token_id = pane.found.number, pane.at, pane.alternative
            self.action_xray()
            self._branch(talk, number, place, token_id)

    # --- two answers ------------------------------------------------------------------------------------------------

    @work(exclusive=True, group="choosing")
    async def action_second(self) -> None:
        """Choose another model to ask the same; with two, go back to one."""
        if self.contest is not None:
            self._leave_contest()
            return
        choices = all_choices(self.workbench.bridge)
        lines = [Content.assemble((each.run, "bold"), f"  {each.told}") for each in choices]
        at = next((number for number, each in enumerate(choices) if each != self._choice), 0)
        chosen = await self.workbench.push_screen_wait(ChoiceModal(tr("Ask the same"), lines, at))
        if chosen is not None and self._at_rest:
            self._choose(choices[chosen], second=True)

    def action_blind(self) -> None:
        """Hide whose answer is whose and vote, or no longer; with one model, on two samples of it."""
        session, contest = self.session, self.contest
        if session is None:
            return
        if contest is None:
            self._begin_contest(session.twin(), blind=True)
            self.notify(tr("Two answers to each message; f4 asks another model."))
        elif contest.blind and contest.one_model:
            self._leave_contest()
        else:
            self._begin_contest(contest.other, blind=not contest.blind)

    def action_vote(self, verdict: str) -> None:
        """Decide which answer is better, and learn whose they were."""
        if self.contest is None or not self.waiting:
            return
        try:
            told = cast(self.contest, self._book(), verdict)
        except WorkbenchError as error:
            self.notify(retell(str(error)), severity="error", markup=False, timeout=8)
            told = tr("The vote was not kept.")
        self._settled(told)

    def _settled(self, told: str) -> None:
        for talk in self.talks:
            talk.reveal()
        self._name_kind()
        self.remove_class("-voting")
        self.query_one("#vote", Static).update("")
        self.query_one(MessageField).focus()
        self.notify(told, markup=False, timeout=6)
        self._save()
        self.refresh_bindings()

    def speak_again(self) -> None:
        """The language was changed."""
        super().speak_again()
        for talk in self._shown:
            if not talk.answering and not self.waiting:
                talk.show_all()
        self._name_kind()

    def on_unmount(self) -> None:
        """The workbench closes: end answers that are being written."""
        self.action_stop_answer()
