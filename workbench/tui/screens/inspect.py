"""The Inspect screen: what happens inside a model that reads a text."""

import logging
from pathlib import Path
from typing import Any

from textual import work
from textual.app import ComposeResult
from textual.content import Content
from textual.widgets import Input
from textual.worker import get_current_worker

from workbench.errors import WorkbenchError
from workbench.language import mark, retell, tr
from workbench.tui.actions import bindings
from workbench.tui.inspected import Inspected, KernelView, open_model
from workbench.tui.modals.choice import ChoiceModal
from workbench.tui.places import Place
from workbench.tui.screens.base import Subject, WorkbenchScreen
from workbench.tui.widgets.inspection_views import MEAN, draw
from workbench.tui.widgets.model_list import LIVE, ModelChoice, find_models, models_of
from workbench.tui.widgets.text_pane import TextPane
from workbench.tui.words import say

logger = logging.getLogger(__name__)

VIEWS = {
    "tokens": mark("Tokens"),
    "next": mark("Next token"),
    "attention": mark("Attention"),
    "lens": mark("Logit lens"),
    "experts": mark("Experts"),
    "norms": mark("Norms"),
    "weights": mark("Weights"),
    "kernels": mark("Kernels"),
}
FIRST_TEXT = "Once upon a time there was a dragon who was afraid of fire."
NO_MODEL = mark("No model yet.\n\nStart one on Home (1): its first checkpoint can be looked into.")


class InspectScreen(WorkbenchScreen):
    """Tokens, expectations, attention, layers and weights of one model."""

    MODE = SCOPE = "inspect"
    ABOUT = mark(
        "Look into a model that reads your text: its tokens and how they were merged, what it expects next, where it "
        "looks, what each layer would say, how large activations, gradients and weights are."
    )
    BINDINGS = bindings("inspect")
    AUTO_FOCUS = "#view"

    def __init__(self) -> None:
        super().__init__()
        self.inspected: Inspected | None = None
        self.view = next(iter(VIEWS))
        self.token, self.at_layer, self.at_head = 0, 0, MEAN
        self._wanted: ModelChoice | None = None
        self._computing = False

    def compose_panes(self) -> ComposeResult:
        """The text over one view."""
        text = Input(FIRST_TEXT, id="text", compact=True, select_on_focus=False, classes="pane")
        say(text, border_title="Text", border_subtitle="e write   enter look")
        yield text
        yield TextPane(mark("Tokens"), id="view")

    def catch_up(self) -> None:
        """Begin with the latest model."""
        super().catch_up()
        if self.inspected is None and self._wanted is None:
            self._find_first()

    def receive(self, subject: Subject) -> None:
        """Look into a run's newest model, or the model of a folder."""
        path = Path(subject)
        choices = list(models_of(path)) if (path / "profile.toml").is_file() else []
        if not choices and (path / "config.json").is_file():
            choices = [ModelChoice(path.name, "", path)]
        active = self.workbench.bridge.active
        if active is not None and not active.finished and str(active.state.directory) == str(path):
            choices = [ModelChoice(active.state.name, LIVE, None), *choices]
        if choices:
            self._choose(choices[0])
        else:
            self.notify(tr("{run} has no model yet", run=path.name), severity="warning", markup=False)

    def place(self) -> Place:
        """The model, the text and the view."""
        at = {"text": self.query_one("#text", Input).value, "view": self.view}
        chosen = self._wanted
        if chosen is None or chosen.directory is None:  # one in training is gone by the next start
            return at
        model = {"run": chosen.run, "what": chosen.what, "directory": str(chosen.directory.absolute())}
        return {**at, "layer": self.at_layer, "head": self.at_head, "model": model}

    def return_to(self, place: Place) -> None:
        """The same view of the same text by the same model, where it still is there."""
        self.query_one("#text", Input).value = str(place["text"])
        self.view = place["view"] if place["view"] in VIEWS else self.view
        model = place.get("model")
        if model is not None and (directory := Path(model["directory"])).is_dir():
            self.at_layer, self.at_head = int(place["layer"]), int(place["head"])
            self._choose(ModelChoice(str(model["run"]), str(model["what"]), directory))

    # --- models -----------------------------------------------------------------------------------------------------

    @work(thread=True, exclusive=True, exit_on_error=False, group="models")
    def _find_first(self) -> None:
        choices = find_models(self.workbench.workspace)
        if not get_current_worker().is_cancelled:
            self.app.call_later(self._begin, choices)

    def _begin(self, choices: list[ModelChoice]) -> None:
        if self._wanted is not None or self.query_one_optional(TextPane) is None:
            return
        if choices:
            self._choose(choices[0])
        else:
            self.query_one(TextPane).show(tr(NO_MODEL))

    @work(exclusive=True, group="choosing")
    async def action_models(self) -> None:
        """Choose a model."""
        choices = find_models(self.workbench.workspace)
        active = self.workbench.bridge.active
        if active is not None and not active.finished:
            choices = [ModelChoice(active.state.name, tr(LIVE), None), *choices]
        if not choices:
            self.notify(tr(NO_MODEL), severity="warning")
            return
        lines = [Content.assemble((each.run, "bold"), f"  {each.what}") for each in choices]
        at = choices.index(self._wanted) if self._wanted in choices else 0
        chosen = await self.workbench.push_screen_wait(ChoiceModal(tr("Look into"), lines, at))
        if chosen is not None:
            self._choose(choices[chosen])

    def _choose(self, choice: ModelChoice) -> None:
        self._wanted = choice
        self.query_one(TextPane).show(tr("Loading {model}…", model=choice.label))
        self._load(choice)

    @work(thread=True, exclusive=True, exit_on_error=False, group="load")
    def _load(self, choice: ModelChoice) -> None:
        """Bring the model into memory; the first time this imports torch, which takes seconds."""
        try:
            loaded = self._open(choice)
        except Exception as error:  # a damaged file must not take the workbench down
            if not isinstance(error, WorkbenchError):
                logger.exception("%s could not be opened", choice.label)
            self.app.call_later(self._not_loaded, choice, str(error) or type(error).__name__)
        else:
            if not get_current_worker().is_cancelled:
                self.app.call_later(self._loaded, choice, loaded)

    def _open(self, choice: ModelChoice) -> Inspected:
        if choice.directory is not None:
            return open_model(choice.directory, choice.label)
        active = self.workbench.bridge.active
        job: Any = active.job if active is not None else None
        if job is None:
            raise WorkbenchError(tr("Inspect"), tr("no run is in training"), tr("choose another model (f9)"))
        session = job.chat_session()
        return Inspected(choice.label, session.model, session.tokenizer)

    def _not_loaded(self, choice: ModelChoice, problem: str) -> None:
        if self._wanted == choice and self.query_one_optional(TextPane) is not None:
            self.query_one(TextPane).show(_not_opened(choice.label, problem))
            self._wanted = None

    def _loaded(self, choice: ModelChoice, loaded: Inspected) -> None:
        if self._wanted == choice and self.query_one_optional(TextPane) is not None:
            self.inspected = loaded
            self._take_text()

    # --- looking ----------------------------------------------------------------------------------------------------

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Look at the text."""
        event.stop()
        self._take_text()
        self.query_one(TextPane).focus()

    def _take_text(self) -> None:
        if self.inspected is None:
            return
        self.inspected.take(self.query_one("#text", Input).value)
        self.token = max(0, len(self.inspected.ids) - 1)
        self._show_view()

    def _show_view(self) -> None:
        """Draw the view, which is computed first where it is not known yet."""
        inspected, pane = self.inspected, self.query_one_optional(TextPane)
        if pane is None:  # it is being torn down
            return
        names = " ".join(f"\\[{tr(name)}]" if key == self.view else tr(name) for key, name in VIEWS.items())
        pane.border_title = names if self.size.width >= 100 else tr(VIEWS[self.view])
        if inspected is None:
            return
        name = inspected.name.replace("[", r"\[")
        tokens = tr("{count} tokens", count=len(inspected.ids))
        pane.border_subtitle = f"{name}   {tokens}   {tr('f2 next view')}"
        found = inspected.known(self.view)
        if found is None:
            pane.show(tr("Computing…"))
            self._compute(inspected, self.view)
            return
        width = max(20, pane.content_size.width)
        pane.show(draw(self.view, inspected, found, self.token, self.at_layer, self.at_head, width))

    @work(thread=True, exclusive=True, exit_on_error=False, group="compute")
    def _compute(self, inspected: Inspected, view: str) -> None:
        problem = ""
        try:
            inspected.compute(view)
        except WorkbenchError as error:
            problem = retell(str(error))
        except Exception as error:  # out of memory, say
            logger.exception("%s could not be computed", view)
            problem = f"{type(error).__name__}: {error}"
        if not get_current_worker().is_cancelled:
            self.app.call_later(self._computed, inspected, view, problem)

    def _computed(self, inspected: Inspected, view: str, problem: str) -> None:
        if inspected is not self.inspected or view != self.view or self.query_one_optional(TextPane) is None:
            return
        if problem:
            self.query_one(TextPane).show(problem)
        else:
            self._show_view()

    def on_resize(self) -> None:
        """What is drawn depends on the width."""
        if self.is_mounted and self.query_one_optional(TextPane) is not None:
            self.call_after_refresh(self._show_view)

    def speak_again(self) -> None:
        """Draw the view in the new language."""
        super().speak_again()
        if self.inspected is None and self._wanted is None:
            self._find_first()
        self._show_view()

    # --- actions ----------------------------------------------------------------------------------------------------

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Layers and heads belong to some views."""
        if action == "head":
            return self.view == "attention"
        if action == "layer":
            return self.view in ("attention", "lens", "norms", "kernels")
        if action == "token":
            return self.view in ("tokens", "next", "attention", "lens", "experts")
        return True

    def action_next_view(self, step: int = 1) -> None:
        """Another view of the same text."""
        names = list(VIEWS)
        self.view = names[(names.index(self.view) + step) % len(names)]
        self.query_one(TextPane).scroll_home(animate=False)
        self._show_view()
        self.refresh_bindings()

    def action_edit(self) -> None:
        """Go to the text."""
        self.query_one("#text", Input).focus()

    def action_layer(self, step: int) -> None:
        """Another layer."""
        if self.inspected is not None:
            last = len(found.architectures) if (found := self._kernels_shown()) else self.inspected.layers
            self.at_layer = max(0, min(last - 1, self.at_layer + step))
            self._show_view()

    def _kernels_shown(self) -> KernelView | None:
        known = self.inspected.known("kernels") if self.inspected is not None and self.view == "kernels" else None
        return known if isinstance(known, KernelView) else None

    def action_head(self, step: int) -> None:
        """Another head; before the first stands the mean of all."""
        if self.inspected is not None:
            self.at_head = max(MEAN, min(self.inspected.heads, self.at_head + step))
            self._show_view()

    def action_token(self, step: int) -> None:
        """Point at another token."""
        if self.inspected is not None:
            self.token = max(0, min(len(self.inspected.ids) - 1, self.token + step))
            self._show_view()

    def action_copy(self) -> None:
        """Copy the view as text."""
        found = self.inspected.known(self.view) if self.inspected is not None else None
        if self.inspected is None or found is None:
            return
        from rich.console import Console

        console = Console(width=200, color_system=None, record=True, file=open_nowhere())
        console.print(draw(self.view, self.inspected, found, self.token, self.at_layer, self.at_head, 200))
        self.app.copy_to_clipboard(console.export_text())
        self.notify(tr("Copied"), timeout=2)


def _not_opened(model: str, problem: str) -> str:
    return tr("{model} could not be opened.\n\n{problem}", model=model, problem=retell(problem))


def open_nowhere() -> Any:
    """A file that forgets what is written: the console keeps its own record."""
    import io

    return io.StringIO()
