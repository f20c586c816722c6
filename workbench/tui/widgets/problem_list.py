"""What is wrong with a profile, to jump to."""

from collections.abc import Sequence

from textual.binding import Binding
from textual.content import Content
from textual.message import Message
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from workbench.language import retell, tr, tr_many
from workbench.tui.profile_examination import Problem
from workbench.tui.widgets.list_view import KeyList
from workbench.tui.words import say


class ProblemList(KeyList):
    """Problems with a sign; choosing one posts `Chosen`."""

    BINDINGS = [Binding("enter", "select", "Go to", show=False)]

    class Chosen(Message):
        """A person wants to see where the problem is."""

        def __init__(self, problem: Problem) -> None:
            super().__init__()
            self.problem = problem

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id, classes="pane")
        say(self, border_title="Checks")
        self.problems: Sequence[Problem] = ()

    def show(self, problems: Sequence[Problem], warnings: Sequence[str], ready: bool) -> None:
        """List problems, then what does not suffice here; without any, say so."""
        self.problems = problems
        lines = [Content.assemble(("! ", "bold $error"), problem.shown) for problem in problems]
        lines += [Content.assemble(("! ", "bold $warning"), retell(warning)) for warning in warnings]
        if not lines:
            good = ("✓ ", "$success"), tr("every setting is sound, and its files are there")
            lines = [Content.assemble(*good) if ready else Content(tr("looking…"))]
        at = self.highlighted
        self.clear_options()
        self.add_options([Option(line) for line in lines])
        self.highlighted = min(at or 0, len(lines) - 1) if problems else None
        count = len(problems)
        told = tr_many("{count} problem  ⏎ go to", "{count:,} problems  ⏎ go to", count)
        self.border_subtitle = told if count else ""
        self.set_class(bool(problems), "-problems")

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Tell the screen."""
        event.stop()
        if event.option_index < len(self.problems):
            self.post_message(self.Chosen(self.problems[event.option_index]))
