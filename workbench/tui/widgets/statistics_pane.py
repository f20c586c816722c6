"""What a data file is like, counted over its first rows."""

from collections.abc import Iterator

from workbench.data.statistics import Statistics
from workbench.language import mark, tr
from workbench.narration import count, size
from workbench.tui.data_file import DataFile, Survey
from workbench.tui.widgets.figures import Figure, Figures

SCRIPTS_SHOWN = 3


class StatisticsPane(Figures):
    """Rows, bytes, lengths, what the rows are written in, and how many of them are twice there or of no use."""

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(mark("Statistics"), id=id)

    def show_statistics(
        self, file: DataFile | None, survey: Survey | None, tokenizer: str | None, limit: int | None
    ) -> None:
        """Show what is known by now.

        Args:
            tokenizer: whose tokens are counted; limit: tokens that a row may have.
        """
        if file is None:
            self.show([Figure("", tr("nothing to count"))])
            return
        figures = [
            Figure(tr("rows"), f"{file.rows_known:,}", note="" if file.complete else tr("so far")),
            Figure(tr("bytes"), size(file.size_bytes), note=file.reader.format),
        ]
        if survey is not None:
            of_rows = "" if survey.complete else tr("of first {count}", count=count(survey.rows))
            figures.append(Figure(tr("bad rows"), f"{survey.bad:,}{' ✗' if survey.bad else ' ✓'}", note=of_rows))
            figures += _counted(survey.statistics)
        if survey is not None and survey.lengths:
            mean = sum(survey.lengths) / len(survey.lengths)
            figures.append(Figure(tr("mean"), tr("{count} tokens", count=f"{mean:.0f}")))
            figures.append(Figure(tr("tokens"), f"~{count(mean * file.rows_known)}"))
        figures.append(Figure(tr("tokenizer"), tokenizer or tr("none yet")))
        figures.append(Figure(tr("row of"), tr("{count} tokens", count=f"{limit:,}") if limit else "-"))
        self.show(figures)


def _counted(found: Statistics) -> Iterator[Figure]:
    """Duplicates, empty answers, scripts."""
    usable = max(1, found.rows - found.bad)
    yield Figure(tr("twice"), f"{found.duplicates:,}", note=f"{found.duplicates / usable:.1%}")
    if found.turns:
        yield Figure(tr("empty"), tr("{count} answers", count=f"{found.problems.get('empty answer', 0):,}"))
    for place, (script, number) in enumerate(list(found.scripts.items())[:SCRIPTS_SHOWN]):
        yield Figure(" " if place else tr("written in"), f"{number / usable:.0%}", note=_script(script))


def _script(name: str) -> str:
    """The name of a script, for people."""
    known = {
        "Chinese": tr("Chinese"),
        "Japanese": tr("Japanese"),
        "Korean": tr("Korean"),
        "Latin": tr("Latin"),
        "mixed": tr("mixed"),
        "no letters": tr("no letters"),
    }
    return known.get(name, name)
