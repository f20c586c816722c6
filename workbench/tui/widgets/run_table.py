"""The runs of a workspace as a table that fits any width."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich.cells import cell_len, set_cell_size
from textual.app import ComposeResult
from textual.containers import Center, Horizontal, Vertical
from textual.content import Content
from textual.events import Resize
from textual.message import Message
from textual.widgets import Input, Label, OptionList, Static
from textual.widgets.option_list import Option

from workbench.language import mark, tr, tr_many
from workbench.narration import ago, count, figure
from workbench.runs.store import RunSummary
from workbench.tui.widgets.list_view import KeyList
from workbench.tui.widgets.spark import bar
from workbench.tui.widgets.top_bar import SHAPES, STATUS_WORDS
from workbench.tui.words import say


@dataclass(frozen=True)
class Column:
    """A column of the table, its title marked for `tr`; those with a higher `rank` go first where there is no room."""

    title: str
    width: int
    rank: int
    cell: Callable[[RunSummary], tuple[str, str]]
    widest: Callable[[], str] = str

    @property
    def cells(self) -> int:
        """Its width; some words of other languages take more room."""
        return max(self.width, cell_len(tr(self.title)), cell_len(self.widest()))


def _state(run: RunSummary) -> tuple[str, str]:
    shape, colour = SHAPES[run.label]
    return f"{shape} {tr(STATUS_WORDS[run.label])}", f"${colour}"


def _steps(run: RunSummary) -> tuple[str, str]:
    return (f"{count(run.step)}/{count(run.steps)}" if run.steps else "-"), ""


def _progress(run: RunSummary) -> tuple[str, str]:
    """How far a run at work is, as a bar."""
    return (bar(run.step / run.steps, BAR_CELLS) if run.alive and run.steps else ""), "$primary on $panel"


def _val_loss(run: RunSummary) -> tuple[str, str]:
    told = figure(run.val_loss)
    return (told if len(told) <= VALUE_CELLS else f"{run.val_loss:.0e}"), ""  # 1.13e-06 must not be cut to 1.13


def _speed(run: RunSummary) -> tuple[str, str]:
    return (count(run.tokens_per_second) if run.tokens_per_second else "-"), ""


def _when(run: RunSummary) -> tuple[str, str]:
    return ago(max(0.0, time.time() - run.updated_at)), "$foreground 60%"


def _stage(run: RunSummary) -> tuple[str, str]:
    return run.stage or "-", ""


VALUE_CELLS = 6
COLUMNS = (
    Column(mark("stage"), 10, 2, _stage),
    Column(mark("state"), 13, 0, _state),
    Column(mark("step"), 11, 1, _steps),
    Column("", 6, 4, _progress),
    Column(mark("val"), VALUE_CELLS, 1, _val_loss),
    Column(mark("tok/s"), 6, 5, _speed),
    Column(mark("when"), 5, 3, _when, lambda: ago(23 * 3600)),
)
BAR_CELLS = 6
NAME_WIDTH = 18  # cells that a long name gets before columns go
GAP = 2


class RunTable(Vertical):
    """Runs, a filter, and what to do where there are none."""

    DEFAULT_CSS = """
    RunTable { height: 1fr; }
    RunTable .header { height: 1; color: $foreground 60%; text-wrap: nowrap; }
    RunTable #filter { display: none; height: 1; background: $surface; }
    RunTable #filter Label { color: $accent; }
    RunTable #filter Input { width: 1fr; background: $surface; }
    RunTable.-filtering #filter { display: block; }
    RunTable Center { display: none; height: 1fr; align: center middle; }
    RunTable #empty { width: auto; }
    RunTable.-none Center { display: block; }
    RunTable.-none KeyList, RunTable.-none .header { display: none; }
    """

    class Pointed(Message):
        """Another run is under the cursor, or the same with newer figures; None where there is none."""

        def __init__(self, run: RunSummary | None) -> None:
            super().__init__()
            self.run = run

    class Opened(Message):
        """A run was clicked."""

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id, classes="pane")
        say(self, border_title="Runs")
        self.runs: Sequence[RunSummary] = ()
        self.marked: set[str] = set()
        self._header = ""
        self._wanted: str | None = None

    def compose(self) -> ComposeResult:
        """The titles, the rows, the filter, the words for an empty workspace."""
        yield Static(classes="header", markup=False)
        yield KeyList(id="rows")
        with Center():
            yield Static(id="empty")
        with Horizontal(id="filter"):
            yield (label := Label())
            say(label, content="filter: ")
            yield (field := Input(compact=True))
            say(field, placeholder="part of a name")

    @property
    def current(self) -> RunSummary | None:
        """The run under the cursor."""
        rows = self.query_one(KeyList)
        if rows.highlighted is None:
            return None
        name = rows.get_option_at_index(rows.highlighted).id
        return next((run for run in self.runs if run.name == name), None)

    @property
    def chosen(self) -> list[RunSummary]:
        """The marked runs, or else the one under the cursor."""
        marked = [run for run in self.runs if run.name in self.marked]
        return marked or ([self.current] if self.current is not None else [])

    def mark(self) -> None:
        """Mark the run under the cursor, or take its mark away, and go on to the next."""
        run, rows = self.current, self.query_one(KeyList)
        if run is not None:
            self.marked ^= {run.name}
            self._fill()
            rows.action_cursor_down()

    def end_marks(self) -> bool:
        """Take all marks away; False where there were none."""
        marked, self.marked = bool(self.marked), set()
        if marked:
            self._fill()
        return marked

    def show(self, runs: Sequence[RunSummary]) -> None:
        """Show these runs; the cursor stays on its run."""
        self.runs = runs
        self.marked &= {run.name for run in runs}
        self.set_class(not runs, "-none")
        self._fill()

    def go_to(self, name: str) -> None:
        """Put the cursor on a run, as soon as it is there."""
        self._wanted = name

    def say_when_empty(self, words: Content) -> None:
        """What stands there while there is no run."""
        self.query_one("#empty", Static).update(words)

    def start_filter(self) -> None:
        """Open the field that filters."""
        self.add_class("-filtering")
        self.query_one(Input).focus()

    def end_filter(self) -> bool:
        """Show all runs again; False where all were shown."""
        filtering = self.has_class("-filtering")
        self.remove_class("-filtering")
        self.query_one(Input).value = ""
        self.query_one(KeyList).focus()
        return filtering

    def on_resize(self, event: Resize) -> None:
        """Fit the columns to the new width."""
        self._fill()

    def on_input_changed(self, event: Input.Changed) -> None:
        """Filter as the person types."""
        event.stop()
        self._fill()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Back to the rows, filtered."""
        event.stop()
        self.query_one(KeyList).focus()
        self.call_later(self._fill)

    def on_option_list_option_highlighted(self, event: OptionList.OptionHighlighted) -> None:
        """Tell which run the cursor is on."""
        event.stop()
        self.post_message(self.Pointed(self.current))

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """A click opens."""
        event.stop()
        self.post_message(self.Opened())

    def _fill(self) -> None:
        rows = self.query_one(KeyList)
        columns, name_width = self._layout()
        titles = [(tr("name"), name_width), *((tr(column.title), column.cells) for column in columns)]
        header = (" " * GAP).join(set_cell_size(*title) for title in titles)
        if header != self._header:
            self._header = header
            self.query_one(".header", Static).update(header)
        wanted = self.query_one(Input).value.strip().lower()
        shown = [run for run in self.runs if wanted in run.name.lower()]
        here = self.current.name if self.current is not None else None
        names = [run.name for run in shown]
        if self._wanted in names:
            here, self._wanted = self._wanted, None
        prompts = [_row(run, columns, name_width, marked=run.name in self.marked) for run in shown]
        if names == [option.id for option in rows.options]:
            for index, prompt in enumerate(prompts):
                if rows.get_option_at_index(index).prompt != prompt:
                    rows.replace_option_prompt_at_index(index, prompt)
        else:
            rows.clear_options()
            rows.add_options([Option(prompt, id=name) for name, prompt in zip(names, prompts, strict=True)])
            rows.highlighted = names.index(here) if here in names else (0 if names else None)
        self.border_subtitle = self._subtitle(len(shown), filtered=bool(wanted))
        self.post_message(self.Pointed(self.current))

    def _subtitle(self, shown: int, *, filtered: bool) -> str:
        total = len(self.runs)
        if not total:
            return ""
        if filtered:
            told = tr_many("{shown} of {count} run", "{shown} of {count} runs", total, shown=shown)
        else:
            told = tr_many("{count} run", "{count} runs", total)
        if self.marked:
            told = tr("{runs}, {marked} marked", runs=told, marked=len(self.marked))
        keys = f"   {tr('enter keeps, esc shows all')}" if self.query_one(Input).has_focus else ""
        return f"{told}{keys}"

    def _layout(self) -> tuple[list[Column], int]:
        """The columns there is room for, and what is left for the name."""
        width = self.content_size.width - 1  # the scroll bar
        columns = list(COLUMNS)
        if not any(run.alive and run.steps for run in self.runs):
            columns = [column for column in columns if column.title]
        wanted = min(NAME_WIDTH, max((cell_len(run.name) for run in self.runs), default=0))
        while columns and width - sum(column.cells + GAP for column in columns) < wanted:
            columns.remove(max(columns, key=lambda column: column.rank))
        return columns, max(4, width - sum(column.cells + GAP for column in columns))


def _row(run: RunSummary, columns: Sequence[Column], name_width: int, *, marked: bool = False) -> Content:
    name = _fitted(f"▪ {run.name}" if marked else run.name, name_width)
    parts: list[tuple[str, str]] = [(name, "bold $accent" if marked else "bold")]
    for column in columns:
        text, style = column.cell(run)
        parts += [(" " * GAP, ""), (_fitted(text, column.cells), style if text else "")]
    return Content.assemble(*parts)


def _fitted(name: str, width: int) -> str:
    """A name in exactly `width` cells, with a mark where it was cut."""
    return set_cell_size(name, width) if cell_len(name) <= width else f"{set_cell_size(name, width - 1)}…"
