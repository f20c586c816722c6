"""What a stage's figures were so far, kept small: the memory that a diagnosis is made from."""

import statistics
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice, pairwise

KEPT_REPORTS = 2000
WINDOW = 20
"""Reports that say where the loss stands: enough for a median and its noise, few enough to follow a falling curve."""


@dataclass(frozen=True)
class Report:
    """One reported step.

    Args:
        measures: what else was told of the step, such as `reward_margin`.
        expert_load: for each layer, each expert's share of the visits; empty without experts.
    """

    step: int
    loss: float
    learning_rate: float
    grad_norm: float
    measures: dict[str, float] = field(default_factory=dict)
    expert_load: Sequence[Sequence[float]] = ()


@dataclass(frozen=True)
class StageFigures:
    """What is known of a stage before its first step.

    Args:
        fresh: its weights are random.
        epochs: passes over its data until its last step; 0 where that is not known.
        learning_rate: the peak; `warmup` in steps; `clip` is the largest gradient norm, 0 for none.
    """

    name: str
    kind: str
    steps: int
    vocab_size: int
    fresh: bool
    epochs: float
    learning_rate: float
    warmup: int
    clip: float


class History:
    """The reports and validations of one stage, and what follows from them."""

    def __init__(self, stage: StageFigures) -> None:
        self.stage = stage
        self.reports: deque[Report] = deque(maxlen=KEPT_REPORTS)
        self.validations: list[tuple[int, float]] = []
        self.first_loss: float | None = None  # of training
        self.first_measured: float | None = None  # of training or validation, whichever came first
        self.spikes: list[int] = []
        self.lowest_level = float("inf")
        self.lowest_step = 0

    def add_report(self, report: Report) -> None:
        """Take in a reported step."""
        if self.first_loss is None and report.step <= 1:
            self.first_loss = report.loss
            self.first_measured = self.first_measured or report.loss
        self.reports.append(report)
        level = self.level()
        if level is not None and level < self.lowest_level:
            self.lowest_level, self.lowest_step = level, report.step

    def add_validation(self, step: int, loss: float) -> None:
        """Take in a validation; a second one of the same step replaces the first."""
        if step == 0:
            self.first_measured = self.first_measured or loss
        if self.validations and self.validations[-1][0] == step:
            self.validations.pop()
        self.validations.append((step, loss))

    def recent(self, count: int, before: int = 0) -> list[Report]:
        """The last `count` reports, leaving out the newest `before`; oldest first."""
        return list(islice(reversed(self.reports), before, before + count))[::-1]

    def level(self, count: int = WINDOW // 2) -> float | None:
        """The median loss of the last `count` reports; None while there are fewer."""
        recent = self.recent(count)
        return statistics.median(report.loss for report in recent) if len(recent) == count else None

    def mean_loss(self, after: int, until: int) -> float | None:
        """The mean loss of the reports with after < step <= until; None where there are fewer than three."""
        losses = [report.loss for report in self.reports if after < report.step <= until]
        return statistics.fmean(losses) if len(losses) >= 3 else None


def level_and_noise(losses: Sequence[float]) -> tuple[float, float]:
    """The median of `losses` and the spread of one batch about it, untouched by a trend or a single outlier.

    The noise is that of neighbours' differences, whose spread is the square root of two times as large; 1.4826 turns a
    median of absolute values into the standard deviation of a normal distribution.
    """
    jumps = [abs(later - earlier) for earlier, later in pairwise(losses)]
    return statistics.median(losses), 1.4826 * statistics.median(jumps) / 2**0.5 if jumps else 0.0
