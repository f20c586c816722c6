"""The panes of the Compare screen that show text: what differs, scores, and answers side by side."""

import re
from collections.abc import Iterable, Sequence

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from workbench.cells import width
from workbench.language import tr
from workbench.narration import measure_name, run_figure
from workbench.runs.compare import Comparison, Saying
from workbench.tui.widgets.conversation import printable

COLOURS = ("primary", "accent", "success", "warning", "secondary", "error")
SHAPES = ("●", "■", "▲", "◆", "○", "□")
"""A colour and a shape for each side: never the colour alone."""


class SideName:
    """A side's sign and name at the head of a column; a name without room breaks where its parts meet."""

    def __init__(self, place: int, label: str) -> None:
        self.sign, self.label = SHAPES[place % len(SHAPES)], label

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The name in as many lines as it needs."""
        yield Text(f"{self.sign} " + "\n  ".join(break_name(self.label, options.max_width - 2)), "bold")

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        """From its longest part to all of it."""
        return Measurement(2 + max(map(width, _parts(self.label)), default=0), 2 + width(self.label))


def break_name(name: str, cells: int) -> list[str]:
    """A name in lines of so many cells: broken behind the signs between its parts, inside a part only if it must be."""
    lines = [""]
    for part in _parts(name):
        if lines[-1] and width(lines[-1] + part) > cells:
            lines.append("")
        for character in part:
            if lines[-1] and width(lines[-1] + character) > cells:
                lines.append("")
            lines[-1] += character
    return lines


def _parts(name: str) -> list[str]:
    return re.findall(r"[^-:_./@ ]*[-:_./@ ]|[^-:_./@ ]+$", name)


def score_table(comparison: Comparison) -> Table:
    """The last value of every measure, the best of each pointed out."""
    table = _table(comparison, tr("at its end"))
    for measure, values in comparison.scores.items():
        best = comparison.best(measure)
        cells = [
            Text(f"{run_figure(measure, value)}{' ★' if index == best else ''}", "bold" if index == best else "")
            for index, value in enumerate(values)
        ]
        table.add_row(Text(measure_name(measure), "dim"), *cells)
    return table


def difference_table(comparison: Comparison) -> RenderableType:
    """The settings that are not the same."""
    if not comparison.differences:
        return Text(tr("No setting differs."))
    table = _table(comparison, tr("setting"))
    for each in comparison.differences:
        table.add_row(Text(each.key, "dim"), *(Text(value) for value in each.values))
    return table


def answer_table(comparison: Comparison, asked: Sequence[Saying] = ()) -> RenderableType:
    """Each prompt, and below it what every side said, side by side.

    Args:
        asked: what was asked just now; stands before what the runs were asked as they learnt.
    """
    sayings = [*asked, *comparison.sayings]
    if not sayings:
        return Text(tr("No side has answered a prompt yet."))
    table = Table.grid(padding=(0, 2, 0, 0), expand=True)
    for _ in comparison.sides:
        table.add_column(ratio=1, overflow="fold")  # else Rich may cut a wide character off the end of a line
    table.add_row(*_heads(comparison))
    for saying in sayings:
        table.add_row()
        prompt = printable(saying.prompt) if saying.prompt.strip() else repr(saying.prompt)
        table.add_row(*(Text(prompt, "bold") for _ in comparison.sides))
        table.add_row(*_answers(saying))
    return table


def _answers(saying: Saying) -> Iterable[Text]:
    for text, step, seed in zip(saying.texts, saying.steps, saying.seeds, strict=True):
        if text is None:
            yield Text(tr("not asked"), "dim")
        else:
            drawn = tr("seed {seed}", seed=seed)
            place = drawn if step is None else tr("step {step:,}, seed {seed}", step=step, seed=seed)
            yield Text.assemble(printable(text), (f"  {place}", "dim"))


def _table(comparison: Comparison, corner: str) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    for _ in comparison.sides:
        table.add_column(overflow="fold")
    table.add_row(Text(corner, "dim"), *_heads(comparison))
    return table


def _heads(comparison: Comparison) -> list[SideName]:
    return [SideName(place, side.label) for place, side in enumerate(comparison.sides)]
