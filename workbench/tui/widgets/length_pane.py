"""How long the rows of a file are, in tokens, as bars."""

from collections.abc import Sequence
from math import ceil

from workbench.language import mark, tr
from workbench.tui.widgets.figures import Figure, Figures
from workbench.tui.widgets.spark import bar

BINS = 6
BAR_CELLS = 12


class LengthPane(Figures):
    """A histogram of lengths."""

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(mark("Lengths in tokens"), id=id)

    def show_lengths(self, lengths: Sequence[int], limit: int | None, complete: bool = True) -> None:
        """Draw the lengths, of all rows where they are `complete`; `limit` is the longest that fits into a row."""
        if not lengths:
            self.show([Figure("", tr("needs a tokenizer: train one, or T"))])
            self.border_subtitle = ""
            return
        self.show(_bins(lengths))
        rows = len(lengths)
        of_rows = tr("{count:,} rows", count=rows) if complete else tr("first {count:,} rows", count=rows)
        if limit is None:
            self.border_subtitle = of_rows
        else:
            share = sum(length > limit for length in lengths) / rows
            told = tr("{rows}, {share:.1%} over {limit}", rows=of_rows, share=share, limit=limit)
            self.border_subtitle = told


def _bins(lengths: Sequence[int]) -> list[Figure]:
    ordered = sorted(lengths)
    usual = ordered[min(len(ordered) - 1, int(0.98 * len(ordered)))]  # a few giants would press all else into one bin
    step = _round_up(max(1, ceil((usual + 1) / BINS)))
    counts = [0] * (BINS + 1)
    for length in lengths:
        counts[min(BINS, length // step)] += 1
    most = max(counts)
    edges = [(n * step, (n + 1) * step - 1) for n in range(BINS)]
    names = [*(f"{low}-{high}" if low < high else f"{low}" for low, high in edges), f"{BINS * step}+"]
    return [
        Figure(name, f"{counted / len(lengths):4.0%}", bar(counted / most, BAR_CELLS))
        for name, counted in zip(names, counts, strict=True)
        if counted or name != names[-1]
    ]


def _round_up(step: int) -> int:
    """The next number that reads well."""
    scale = int(10 ** (len(str(step)) - 1))
    return next(scale * factor for factor in (1, 2, 5, 10) if scale * factor >= step)
