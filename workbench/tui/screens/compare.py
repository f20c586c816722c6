"""The Compare screen: curves, settings, scores and answers of several runs, stages or checkpoints."""

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from rich.console import RenderableType
from textual import work
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.widgets.option_list import Option
from textual.worker import get_current_worker

from workbench.errors import WorkbenchError
from workbench.language import mark, retell, tr
from workbench.narration import figure, measure_name, run_figure
from workbench.runs.compare import Axis, Comparison, Side, compare, parse_side
from workbench.runs.store import RunDirectory, list_runs
from workbench.tui.actions import bindings
from workbench.tui.asked_sides import Asked, proposals, seed_of
from workbench.tui.modals.ask import AskModal
from workbench.tui.places import Place
from workbench.tui.screens.base import Subject, WorkbenchScreen
from workbench.tui.series import Series
from workbench.tui.widgets.comparison_panes import (
    COLOURS,
    SHAPES,
    answer_table,
    break_name,
    difference_table,
    score_table,
)
from workbench.tui.widgets.line_chart import LineChart, Shown
from workbench.tui.widgets.list_view import KeyList
from workbench.tui.widgets.text_pane import TextPane
from workbench.tui.words import say

logger = logging.getLogger(__name__)

AXES: tuple[Axis, ...] = ("step", "tokens", "seconds")
SMOOTHINGS = (0.0, 0.6, 0.9)
DRAW_SECONDS = 0.1  # between two looks at an answer that is being written
PAGES = ("scores", "settings", "answers")
PAGE_NAMES = {"scores": mark("Scores"), "settings": mark("What differs"), "answers": mark("Answers")}
HINT = mark("Mark two sides with space: runs, stages of a run, or checkpoints (a adds one by name).")


class CompareScreen(WorkbenchScreen):
    """What differs between runs, and what came of it."""

    MODE = SCOPE = "compare"
    ABOUT = mark(
        "Runs, stages and checkpoints side by side: their curves along steps, tokens or time, the settings that "
        "differ, the last figures, and what each said to the same prompts; s asks all of them what you like, with the "
        "same random numbers."
    )
    BINDINGS = bindings("compare")
    AUTO_FOCUS = "#sides"

    def __init__(self) -> None:
        super().__init__()
        self.sides: list[Side] = []
        self.marked: list[Side] = []
        self.comparison: Comparison | None = None
        self.metric, self.along = "", AXES[0]
        self.asked: list[Asked] = []  # the newest first
        self._page = PAGES[0]
        self._handed: list[str] = []
        self._left: list[str] = []  # what was compared last time, by its labels

    def compose_panes(self) -> ComposeResult:
        """Sides at the left, curves over a page of text at the right."""
        with Horizontal(id="columns"):
            sides = KeyList(id="sides", classes="pane")
            say(sides, border_title="Sides", border_subtitle="space marks")
            yield sides
            with Vertical(id="main"):
                yield LineChart(mark("loss"), id="curves")
                with Horizontal(id="pages"):
                    yield TextPane(mark("Scores"), id="page")
                    yield TextPane(mark("What differs"), id="differences")

    def on_mount(self) -> None:
        """Say how it works."""
        self.query_one("#page", TextPane).show(tr(HINT))

    def on_resize(self) -> None:
        """Names break, and pages stand side by side, by the width there is."""
        if self.is_mounted and self.query_one_optional("#differences") is not None:
            self.call_after_refresh(self._fit)

    def _fit(self) -> None:
        if self.query_one_optional("#differences") is not None:
            self._draw_sides()
            self._draw_page()

    def catch_up(self) -> None:
        """There may be new runs, and new steps."""
        super().catch_up()
        self._find_sides()

    def receive(self, subject: Subject) -> None:
        """Mark another screen's run; of several that come together, these alone."""
        self._handed.append(str(subject))
        self._find_sides()

    def place(self) -> Place:
        """What is compared."""
        return {"sides": [side.label for side in self.marked]}

    def return_to(self, place: Place) -> None:
        """The same sides, those that still are there."""
        self._left = [str(label) for label in place["sides"]]

    # --- sides ------------------------------------------------------------------------------------------------------

    @work(thread=True, exclusive=True, exit_on_error=False, group="sides")
    def _find_sides(self) -> None:
        found = []
        for summary in list_runs(self.workbench.workspace):
            run = RunDirectory(summary.path)
            found += [Side(f"{run.name}:{stage.name}", run.path, stage.name) for stage in reversed(run.stages())]
        if not get_current_worker().is_cancelled:
            self.app.call_later(self._show_sides, found)

    def _show_sides(self, found: list[Side]) -> None:
        sides = self.query_one_optional("#sides", KeyList)
        if sides is None:
            return
        first = not self.sides
        if first:
            self.marked = list(self._sides_left(found))
        typed = [side for side in (self.marked if first else self.sides) if side.step is not None]
        self.sides = [*typed, *found]
        self.marked = [side for side in self.marked if side in self.sides]
        if len(self._handed) > 1:
            self.marked = []
        for handed in self._handed:
            own = [side for side in found if str(side.directory) == handed and side not in self.marked]
            self.marked += own[:1]
        self._handed = []
        if first and len(self.marked) < 2:
            self.marked = _first_pair(self.marked, found)
        self._draw_sides()
        self._compare()

    def _sides_left(self, found: list[Side]) -> Iterator[Side]:
        """What was compared last time; a side with a step is not among those found."""
        for label in self._left:
            side = next((each for each in found if each.label == label), None)
            with suppress(WorkbenchError):
                yield side or parse_side(self.workbench.workspace, label)

    def _draw_sides(self) -> None:
        sides = self.query_one("#sides", KeyList)
        at = sides.highlighted
        cells = sides.content_size.width - 3  # without the sign, and without the scroll bar
        sides.clear_options()
        sides.add_options(Option(self._line(side, cells)) for side in self.sides)
        if self.sides:
            sides.highlighted = min(at or 0, len(self.sides) - 1)

    def _line(self, side: Side, cells: int) -> Content:
        label = "\n  ".join(break_name(side.label, cells))
        if side not in self.marked:
            return Content.assemble("  ", label)
        place = self.marked.index(side)
        shape = SHAPES[place % len(SHAPES)]
        return Content.assemble((f"{shape} ", f"${COLOURS[place % len(COLOURS)]}"), (label, "bold"))

    def action_mark(self) -> None:
        """Take the side under the cursor in or out."""
        at = self.query_one("#sides", KeyList).highlighted
        if at is not None and at < len(self.sides):
            side = self.sides[at]
            if side in self.marked:
                self.marked.remove(side)
            else:
                self.marked.append(side)
            self._draw_sides()
            self._compare()

    @work
    async def action_add(self) -> None:
        """Add a side by what it is called."""
        detail = tr("RUN, RUN:STAGE, or RUN:STAGE@STEP for what it was at a step.")
        text = await self.workbench.push_screen_wait(AskModal(tr("A side to compare"), detail))
        if text is None:
            return
        try:
            side = parse_side(self.workbench.workspace, text)
        except WorkbenchError as error:
            self.notify(retell(str(error)), severity="error", markup=False, timeout=8)
            return
        same = [each for each in self.sides if _place(each) == _place(side)]
        side = same[0] if same else side
        self.sides = self.sides if same else [side, *self.sides]
        self.marked = self.marked if side in self.marked else [*self.marked, side]
        self._draw_sides()
        self._compare()

    # --- comparing --------------------------------------------------------------------------------------------------

    @work(thread=True, exclusive=True, exit_on_error=False, group="compare")
    def _compare(self) -> None:
        marked = list(self.marked)
        comparison, problem = None, ""
        try:
            comparison = compare(marked) if len(marked) > 1 else None
        except Exception as error:  # a damaged file must not take the workbench down
            logger.exception("no comparison")
            problem = f"{type(error).__name__}: {error}"
        if not get_current_worker().is_cancelled:
            self.app.call_later(self._compared, comparison, problem)

    def _compared(self, comparison: Comparison | None, problem: str) -> None:
        self.comparison = comparison
        if self.query_one_optional("#differences") is None:
            return
        if problem:
            self.workbench.show_error(tr("These cannot be compared"), problem)
        metrics = comparison.metrics() if comparison is not None else []
        if self.metric not in metrics:
            self.metric = "val_loss" if "val_loss" in metrics else metrics[0] if metrics else ""
        self._draw_curves()
        self._draw_page()
        self.refresh_bindings()

    def _draw_curves(self) -> None:
        chart, comparison = self.query_one(LineChart), self.comparison
        chart.along = self.along
        chart.heading = tr(
            "{metric} by {axis}", metric=measure_name(self.metric or "loss"), axis=measure_name(self.along)
        )
        shown = []
        for index, side in enumerate(comparison.sides if comparison is not None else ()):
            assert comparison is not None
            series = Series()
            for x, y in comparison.curve(index, self.metric, self.along):
                series.append(x, y)
            name = f"{SHAPES[index % len(SHAPES)]} {side.label}".replace("[", r"\[")
            colour = COLOURS[index % len(COLOURS)]
            shown.append(Shown(name, series, colour, figure(series.last), smooth=True))
        chart.show(shown)

    def _draw_page(self) -> None:
        pane, beside = self.query_one("#page", TextPane), self.query_one("#differences", TextPane)
        comparison, pages = self.comparison, self._pages
        self._page = self._page if self._page in pages else pages[0]
        pane.border_title = tr(PAGE_NAMES[self._page])
        pane.border_subtitle = f"{pages.index(self._page) + 1}/{len(pages)}  {tr('n next')}"
        self.set_class(comparison is not None and self._page == "scores" and pages != PAGES, "-beside")
        if comparison is None:
            pane.show(tr(HINT))
            return
        beside.show(difference_table(comparison))
        if self._page == "scores":
            pane.show(score_table(comparison))
        else:
            pane.show(difference_table(comparison) if self._page == "settings" else self._answers(comparison))
        for each in (pane, beside):
            each.scroll_home(animate=False)

    @property
    def _pages(self) -> tuple[str, ...]:
        """The pages to turn: what differs stands beside the scores where there is room for both."""
        return tuple(page for page in PAGES if page != "settings") if self.has_class("-vast") else PAGES

    def _answers(self, comparison: Comparison) -> RenderableType:
        return answer_table(comparison, [each.saying(comparison.sides) for each in self.asked])

    def speak_again(self) -> None:
        """Draw curves and page in the new language."""
        super().speak_again()
        self._draw_curves()
        self._draw_page()

    # --- asking -----------------------------------------------------------------------------------------------------

    @work(exclusive=True, group="asking")
    async def action_ask(self) -> None:
        """Say one thing to all sides, with the same random numbers."""
        if self.comparison is None:
            return
        prompt, seed = proposals(self.asked, self.comparison.sayings)
        detail = tr("A model that only learnt texts goes on with it; the others answer.")
        said = await self.workbench.push_screen_wait(AskModal(tr("Say the same to all sides"), detail, prompt))
        if said is None:
            return
        detail = tr("The same words and the same seed give the same answer again.")
        answer = await self.workbench.push_screen_wait(AskModal(tr("Seed of the random numbers"), detail, str(seed)))
        number = seed_of(answer) if answer is not None else None
        if answer is not None and number is None:
            self.notify(tr("{answer} is not a whole number.", answer=repr(answer)), severity="error", markup=False)
        if number is not None and self.comparison is not None:
            asked = Asked(said, number, waiting=list(self.comparison.sides))
            self.asked.insert(0, asked)
            self._page = "answers"
            self._draw_page()
            self._ask(asked)

    @work(thread=True, exclusive=True, exit_on_error=False, group="answers")
    def _ask(self, asked: Asked) -> None:
        """One side after the other, so that only one model is in memory."""
        from workbench.evaluation.side_by_side import Asking, ask

        worker = get_current_worker()
        for side in list(asked.waiting):
            text, drawn_at = "", 0.0
            try:
                if not worker.is_cancelled:
                    for piece in ask(side, Asking(asked.prompt, asked.seed), lambda: worker.is_cancelled):
                        text += piece
                        if time.monotonic() - drawn_at > DRAW_SECONDS:
                            drawn_at = time.monotonic()
                            self.app.call_later(self._heard, asked, side, text, False)
            except WorkbenchError as error:
                text = retell(str(error))
            except Exception as error:  # a damaged file must not take the workbench down
                logger.exception("%s could not be asked", side.label)
                text = f"{type(error).__name__}: {error}"
            self.app.call_later(self._heard, asked, side, text, True)

    def _heard(self, asked: Asked, side: Side, text: str, done: bool) -> None:
        asked.texts[side] = text
        if done and side in asked.waiting:
            asked.waiting.remove(side)
        pane = self.query_one_optional("#page", TextPane)
        if self._page == "answers" and self.comparison is not None and pane is not None:
            pane.show(self._answers(self.comparison))
        if done:
            self.refresh_bindings()

    async def action_outward(self) -> None:
        """Let those who are answering stop; then go home."""
        if any(asked.waiting for asked in self.asked):
            self.workers.cancel_group(self, "answers")
        else:
            await super().action_outward()

    # --- looking ----------------------------------------------------------------------------------------------------

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Most needs something compared."""
        if action in ("metric", "axis", "page", "copy", "ask", "zoom", "pan", "log_axis", "smoothing"):
            return True if self.comparison is not None else None
        return True

    def action_metric(self) -> None:
        """Draw the next metric."""
        metrics = self.comparison.metrics() if self.comparison is not None else []
        if metrics:
            at = metrics.index(self.metric) if self.metric in metrics else -1
            self.metric = metrics[(at + 1) % len(metrics)]
            self._draw_curves()

    def action_axis(self) -> None:
        """Curves along steps, tokens or time."""
        self.along = AXES[(AXES.index(self.along) + 1) % len(AXES)]
        self.action_reset_zoom()
        self._draw_curves()

    def action_page(self) -> None:
        """The next page of text."""
        pages = self._pages
        self._page = pages[(pages.index(self._page) + 1) % len(pages)]
        self._draw_page()

    def action_log_axis(self) -> None:
        """Logarithmic axis, or back."""
        chart = self.query_one(LineChart)
        chart.log_y = not chart.log_y

    def action_smoothing(self) -> None:
        """The next strength of smoothing."""
        chart = self.query_one(LineChart)
        chart.smoothing = SMOOTHINGS[(SMOOTHINGS.index(chart.smoothing) + 1) % len(SMOOTHINGS)]

    def action_zoom(self, factor: float) -> None:
        """Show more or less."""
        self.query_one(LineChart).zoom(factor)

    def action_pan(self, share: float) -> None:
        """Look at earlier or later parts."""
        self.query_one(LineChart).pan(share)

    def action_reset_zoom(self) -> None:
        """Show everything."""
        self.query_one(LineChart).window = None

    def action_reload(self) -> None:
        """Read the runs again."""
        self._find_sides()

    def action_copy(self) -> None:
        """Copy scores, settings and what was asked here as Markdown."""
        if self.comparison is not None:
            self.app.copy_to_clipboard(as_markdown(self.comparison, self.asked))
            self.notify(tr("Copied as Markdown"), timeout=2)


def as_markdown(comparison: Comparison, asked: Sequence[Asked] = ()) -> str:
    """Scores, differing settings and what was asked as Markdown tables."""
    head = ["", *(side.label for side in comparison.sides)]
    scores = [[name, *(run_figure(name, value) for value in values)] for name, values in comparison.scores.items()]
    settings = [[each.key, *each.values] for each in comparison.differences]
    rule = ["---"] * len(head)
    sayings = [each.saying(comparison.sides) for each in asked]
    answers = [[each.prompt, *(text or "" for text in each.texts)] for each in sayings]
    tables = [[head, rule, *rows] for rows in (scores, settings, *([answers] if answers else []))]
    return "\n\n".join("\n".join(f"| {' | '.join(_cell(cell) for cell in row)} |" for row in rows) for rows in tables)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", r"\|")


def _first_pair(marked: list[Side], found: list[Side]) -> list[Side]:
    """Two sides to begin with: the latest two runs that share a stage, or else any two."""
    for side in marked or found:
        twin = next((each for each in found if each.stage == side.stage and each != side), None)
        if twin is not None:
            return [side, twin]
    return [*marked, *(side for side in found if side not in marked)][:2]


def _place(side: Side) -> tuple[Path, str, int | None]:
    return side.directory.resolve(), side.stage, side.step
