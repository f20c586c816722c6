"""Chat: talk to any model on the disk, or to the one in training."""

import logging
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textual import work
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.worker import get_current_worker

from workbench.errors import WorkbenchError
from workbench.tui.actions import bindings
from workbench.tui.screens.base import Subject, WorkbenchScreen
from workbench.tui.widgets.conversation import Conversation, MessageField, TurnView
from workbench.tui.widgets.model_list import ModelChoice, ModelList, find_models, models_of
from workbench.tui.widgets.sampling_pane import SamplingPane

if TYPE_CHECKING:
    from workbench.inference.chat import ChatSession
    from workbench.inference.reply import ReplyStats

logger = logging.getLogger(__name__)

DRAW_SECONDS = 0.06
NO_MODEL = (
    "No model yet.\n\nStart one on Home (esc, then 1): quickstart takes a few minutes, and you can talk to it while it "
    "learns."
)
COMPLETES = "This model was only pretrained: it goes on with your text, and does not answer."
CHATS = "Say something."


class ChatScreen(WorkbenchScreen):
    """Conversations with a model."""

    MODE = SCOPE = "chat"
    ABOUT = (
        "Talk to any model of your runs, also while it is in training: that is a copy, taken between two steps, and "
        "never changes the run. A model that was only pretrained goes on with your text in place of answering."
    )
    CSS_PATH = "chat.tcss"
    BINDINGS = bindings("chat")
    AUTO_FOCUS = "#message"

    def __init__(self) -> None:
        super().__init__()
        self.session: ChatSession | None = None
        self.choice: ModelChoice | None = None
        self.answering = False
        self.opening = False
        self._wanted: ModelChoice | None = None
        self._editing = False
        self._pieces: deque[str] = deque()
        self._answer: TurnView | None = None

    def compose_panes(self) -> ComposeResult:
        """Models, conversation over message, sampling."""
        with Horizontal(id="columns"):
            yield ModelList()
            with Vertical(id="middle"):
                yield Conversation()
                yield MessageField()
            yield SamplingPane()

    def on_mount(self) -> None:
        """Draw pieces of the answer as they come."""
        self.set_interval(DRAW_SECONDS, self._draw_pieces)

    def on_screen_resume(self) -> None:
        """See what models there are now; begin with the latest."""
        super().on_screen_resume()
        self._look_for_models()

    def receive(self, subject: Subject) -> None:
        """Talk to a run's newest model, or to the model of a folder."""
        path = Path(subject)
        choices = list(models_of(path)) if (path / "profile.toml").is_file() else []
        active = self.workbench.bridge.active
        if active is not None and not active.finished and str(active.state.directory) == str(path):
            choices = [self._live(), *choices]
        if choices:
            self._choose(choices[0])
        elif (path / "config.json").is_file():
            self._choose(ModelChoice(path.name, "", path))
        else:
            self.notify(f"{path.name} has no model yet", severity="warning", markup=False)

    # --- models -----------------------------------------------------------------------------------------------------

    @work(thread=True, exclusive=True, exit_on_error=False, group="models")
    def _look_for_models(self) -> None:
        choices = find_models(self.workbench.workspace)
        if not get_current_worker().is_cancelled:
            self.app.call_later(self._show_models, choices)

    def _show_models(self, choices: list[ModelChoice]) -> None:
        active = self.workbench.bridge.active
        if active is not None and not active.finished:
            choices = [self._live(), *choices]
        models = self.query_one_optional(ModelList)
        if models is None:
            return
        models.show(choices, self.choice)
        if self.choice is None and self._wanted is None:
            if choices:
                self._choose(choices[0])
            else:
                self.query_one(Conversation).hint(NO_MODEL)

    def _live(self) -> ModelChoice:
        active = self.workbench.bridge.active
        return ModelChoice(active.state.name if active is not None else "", "in training, as it is now", None)

    def on_model_list_chosen(self, message: ModelList.Chosen) -> None:
        """Talk to another model."""
        self.query_one(ModelList).remove_class("-open")
        self._choose(message.choice)
        self.query_one(MessageField).focus()

    def _choose(self, choice: ModelChoice) -> None:
        if self.answering:
            self.notify("Stop the answer first (esc).", severity="warning")
            return
        self._wanted = choice
        self.opening = True
        conversation = self.query_one(Conversation)
        conversation.border_title = "loading…"
        conversation.hint(f"Loading {choice.label}…")
        self._load(choice)

    @work(thread=True, exclusive=True, exit_on_error=False, group="load")
    def _load(self, choice: ModelChoice) -> None:
        """Bring the model into memory; the first time this imports torch, which takes seconds."""
        try:
            session = self._open(choice)
        except WorkbenchError as error:
            self.app.call_later(self._not_loaded, choice, str(error))
        except Exception as error:  # a damaged file must not take the workbench down
            logger.exception("%s could not be opened", choice.label)
            self.app.call_later(self._not_loaded, choice, f"{type(error).__name__}: {error}")
        else:
            if not get_current_worker().is_cancelled:
                self.app.call_later(self._loaded, choice, session)

    def _open(self, choice: ModelChoice) -> "ChatSession":
        from workbench.inference.chat import load_session

        if choice.directory is not None:
            return load_session(choice.directory)
        active = self.workbench.bridge.active
        job: Any = active.job if active is not None else None
        if job is None:
            raise WorkbenchError("chat", "no run is in training", "choose a model from the list")
        session: ChatSession = job.chat_session()
        return session

    def _loaded(self, choice: ModelChoice, session: "ChatSession") -> None:
        if self._wanted != choice:
            return
        self.session, self.choice, self.opening, self._editing = session, choice, False, False
        conversation = self.query_one(Conversation)
        conversation.border_title = self._title(choice).replace("[", r"\[")
        conversation.border_subtitle = "continues text" if session.mode == "completion" else "chat"
        conversation.hint(COMPLETES if session.mode == "completion" else CHATS)
        models = self.query_one(ModelList)
        models.show(models.choices, choice)
        self.refresh_bindings()
        if isinstance(self.focused, Conversation | None):
            self.query_one(MessageField).focus()

    def _title(self, choice: ModelChoice) -> str:
        """The model's name; of the one in training also how far it was."""
        active = self.workbench.bridge.active
        stage = active.state.stage if active is not None and choice.directory is None else None
        return choice.label if stage is None else f"{choice.run} in training, {stage.name} about step {stage.step:,}"

    def _not_loaded(self, choice: ModelChoice, problem: str) -> None:
        self.opening = False
        self._wanted = self.choice
        self.query_one(Conversation).hint(f"{choice.label} could not be opened.\n\n{problem}")
        self.query_one(Conversation).border_title = "no model"

    # --- talking ----------------------------------------------------------------------------------------------------

    def on_message_field_sent(self, message: MessageField.Sent) -> None:
        """Send what was written."""
        if self.session is None or self.opening:
            self.notify("The model is still being loaded." if self.opening else "Choose a model first (f9).")
            return
        if self.answering:
            self.notify("Stop the answer first (esc).", severity="warning")
            return
        if not message.text.strip() and self.session.mode == "chat":
            return
        text = self.query_one(MessageField).take()
        if self._editing:
            self._take_back_last()
        self._ask("edit_last" if self._editing else "send", text)

    def _ask(self, how: str, text: str) -> None:
        """Let the session answer on a thread of its own; `how` is the session's method."""
        session = self.session
        if session is None:
            return
        pane = self.query_one(SamplingPane)
        try:
            values = pane.values()
        except ValueError as error:
            self._give_back(text, str(error))
            return
        conversation = self.query_one(Conversation)
        if not session.messages or not conversation.query(TurnView):
            conversation.forget()
        if how != "retry":
            conversation.add(TurnView("you", text, mine=True))
        self._answer = conversation.add(TurnView(self.choice.label if self.choice else "model"))
        self.answering, self._editing = True, False
        self._pieces.clear()
        self.refresh_bindings()
        self._stream(session, how, text, values, pane.system_prompt)

    @work(thread=True, exclusive=True, exit_on_error=False, group="answer")
    def _stream(self, session: "ChatSession", how: str, text: str, values: dict[str, Any], system: str) -> None:
        from workbench.inference.sampling import SamplingSettings

        worker, problem = get_current_worker(), ""
        try:
            session.settings, session.system_prompt = SamplingSettings(**values), system
            answer = session.retry() if how == "retry" else getattr(session, how)(text)
            for piece in answer:
                self._pieces.append(piece)
                if worker.is_cancelled:
                    session.stop()
        except WorkbenchError as error:
            problem = str(error)
        except Exception as error:  # out of memory, say: the conversation stands as it was
            logger.exception("no answer")
            problem = f"{type(error).__name__}: {error}"
        if not worker.is_cancelled:
            self.app.call_later(self._answered, how, text, problem)

    def _draw_pieces(self) -> None:
        if self._pieces and self._answer is not None:
            text = "".join(self._pieces.popleft() for _ in range(len(self._pieces)))
            self._answer.say(text)

    def _answered(self, how: str, text: str, problem: str) -> None:
        self._draw_pieces()
        self.answering = False
        answer, self._answer = self._answer, None
        self.refresh_bindings()
        if problem:
            for turn in list(self.query(TurnView))[-(1 if how == "retry" else 2) :]:
                turn.remove()
            self._give_back(text, problem)
            return
        session = self.session
        if session is not None and session.last_stats is not None and answer is not None:
            answer.finish(_note(session.last_stats, session))

    def _give_back(self, text: str, problem: str) -> None:
        """Nothing is lost: the message returns to its field."""
        self.query_one(MessageField).load_text(text)
        self.notify(problem, severity="error", markup=False, timeout=8)

    def _take_back_last(self) -> None:
        for turn in list(self.query(TurnView))[-2:]:
            turn.remove()

    # --- actions ----------------------------------------------------------------------------------------------------

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Retry and edit need an answer; stop needs one that is being written."""
        talked = self.session is not None and bool(self.session.messages) and not self.answering
        if action in ("again", "edit", "copy_answer"):
            return True if talked else None
        if action == "stop_answer":
            return self.answering
        if action == "new_chat":
            return True if self.session is not None and not self.answering else None
        if action == "renew":
            return self.choice is not None and self.choice.directory is None and not self.answering
        return True

    async def action_outward(self) -> None:
        """Stop the answer; else close a side pane, or leave the field."""
        opened = self.query("#models.-open, #sampling.-open")
        if self.answering:
            self.action_stop_answer()
        elif opened:
            opened.remove_class("-open")
            self.query_one(MessageField).focus()
        else:
            await super().action_outward()

    def action_stop_answer(self) -> None:
        """End the answer after its current token."""
        if self.session is not None:
            self.session.stop()

    def action_again(self) -> None:
        """Answer the last message anew."""
        if self.session is not None and not self.answering:
            turns = list(self.query(TurnView))
            if turns:
                turns[-1].remove()
            self._ask("retry", "")

    def action_edit(self) -> None:
        """Bring the last message back into the field; sending it replaces the turn."""
        if self.session is None or self.answering:
            return
        asked = [message["content"] for message in self.session.messages if message["role"] == "user"]
        if asked:
            self._editing = True
            self.query_one(MessageField).load_text(asked[-1])
            self.query_one(MessageField).focus()
            self.notify("Sending replaces your last message.")

    def action_new_chat(self) -> None:
        """Begin a new conversation with the same model."""
        if self.session is not None and not self.answering:
            self.session.reset()
            self._editing = False
            self.query_one(Conversation).hint(COMPLETES if self.session.mode == "completion" else CHATS)
            self.query_one(MessageField).focus()
            self.refresh_bindings()

    def action_renew(self) -> None:
        """Take the model in training as it is now."""
        self._choose(self._live())

    def action_copy_answer(self) -> None:
        """Copy the last answer."""
        turns = [turn for turn in self.query(TurnView) if not turn.mine]
        if turns:
            self.app.copy_to_clipboard(turns[-1].text)
            self.notify("Copied", timeout=2)

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

    def on_unmount(self) -> None:
        """The workbench closes: end an answer that is being written."""
        if self.session is not None:
            self.session.stop()


def _note(stats: "ReplyStats", session: "ChatSession") -> str:
    """Figures of an answer, and why it ended where that was not its own end."""
    note = f"{stats.tokens} tok  {stats.tokens_per_second:.0f} tok/s"
    if stats.stopped_by == "stopped":
        note += "  stopped"
    elif stats.stopped_by == "length":
        full = stats.tokens < session.settings.max_new_tokens
        note += f"  cut: the context of {session.context_length:,} is full" if full else "  cut at max tokens"
    if stats.dropped_turns:
        turns = "turn" if stats.dropped_turns == 1 else "turns"
        note += f"  {stats.dropped_turns} earlier {turns} did not fit"
    return note
