"""The models a person can talk to: the run in training, and every result and checkpoint on the disk."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from textual.binding import Binding
from textual.content import Content
from textual.message import Message
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from workbench.language import mark, tr
from workbench.runs.store import RunDirectory, list_runs
from workbench.tui.widgets.list_view import KeyList
from workbench.tui.words import say

LIVE = mark("in training, as it is now")
"""What is said of the model in training."""


@dataclass(frozen=True)
class ModelChoice:
    """A model that can be talked to.

    Args:
        run: the run's name, or the folder's of a model from elsewhere.
        what: the stage, and the step of a checkpoint.
        directory: where it lies; None is the model in training, as it stands when asked.
    """

    run: str
    what: str
    directory: Path | None

    @property
    def told(self) -> str:
        """What it is, in the language in use."""
        return tr(self.what) if self.what == LIVE else self.what

    @property
    def label(self) -> str:
        """Run and what it is, on one line."""
        return f"{self.run} {self.told}".strip()


def find_models(workspace: Path) -> list[ModelChoice]:
    """Every model of every run, the latest run and the latest stage first."""
    return [choice for summary in list_runs(workspace) for choice in models_of(summary.path)]


def models_of(run_directory: Path) -> Iterator[ModelChoice]:
    """The models of one run: of each stage the result, then the checkpoints, newest first."""
    run = RunDirectory(run_directory)
    for stage in reversed(run.stages()):
        if stage.result is not None:
            yield ModelChoice(run.name, stage.name, stage.result)
        for checkpoint in reversed(stage.checkpoints()):
            yield ModelChoice(run.name, f"{stage.name} @ {checkpoint.step:,}", checkpoint.path)


class ModelList(KeyList):
    """Models in a list; choosing one posts `Chosen`."""

    BINDINGS = [Binding("enter", "select", "Choose", show=False)]

    class Chosen(Message):
        """A person wants to talk to another model."""

        def __init__(self, choice: ModelChoice) -> None:
            super().__init__()
            self.choice = choice

    def __init__(self) -> None:
        super().__init__(id="models", classes="pane")
        say(self, border_title="Models")
        self.choices: list[ModelChoice] = []

    def show(self, choices: list[ModelChoice], current: ModelChoice | None) -> None:
        """List `choices`, the current one marked; the cursor stays where it was."""
        at = self.highlighted
        self.choices = choices
        self.clear_options()
        self.add_options(Option(_line(choice, choice == current)) for choice in choices)
        if choices:
            self.highlighted = min(at or 0, len(choices) - 1)
        self.border_subtitle = f"{len(choices)}"

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Tell the screen."""
        event.stop()
        self.post_message(self.Chosen(self.choices[event.option_index]))


def _line(choice: ModelChoice, current: bool) -> Content:
    mark = "▸ " if current else "  "
    style = "bold $accent" if choice.directory is None else "bold" if current else ""
    return Content.assemble(mark, (choice.run, style), "\n    ", (choice.told, "$foreground 60%"))
