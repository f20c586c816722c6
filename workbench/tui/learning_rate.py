"""Asking for another learning rate."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from workbench.control import MAX_LEARNING_RATE
from workbench.events import Diagnosed
from workbench.language import tr
from workbench.narration import rate
from workbench.tui.modals.ask import AskModal
from workbench.tui.run_state import StageState

if TYPE_CHECKING:
    from workbench.tui.screens.base import WorkbenchScreen

LOWER_BY = 3.0  # what is proposed where the rate was too high


async def ask_rate(screen: "WorkbenchScreen", stage: StageState, newest: Sequence[Diagnosed]) -> float | None:
    """The peak learning rate to go on with; None where the person left.

    Args:
        newest: what the diagnosis found last; where the rate seems too high, a lower one is proposed.
    """
    peak = stage.peak_learning_rate or max((bucket.high for bucket in stage.learning_rate.buckets), default=1e-3)
    too_high = any(finding.finding in ("spike", "learning_rate_high") for finding in newest)
    proposed = peak / LOWER_BY if too_high else peak
    detail = tr("It was {rate} so far; the schedule goes on with the new peak.", rate=rate(peak))
    if too_high:
        detail = tr("{detail} A third of it is proposed, as it seems to be too high.", detail=detail)
    question, topics = tr("Peak learning rate from there on"), ("learning_rate", "stage.schedule", "stage.warmup")
    answer = await screen.workbench.push_screen_wait(AskModal(question, detail, f"{proposed:.3g}", topics))
    if answer is None:
        return None
    try:
        value = float(answer)
    except ValueError:
        value = 0.0
    if not 0 < value <= MAX_LEARNING_RATE:
        words = tr("{answer} is not a number above 0 and at most 1.", answer=repr(answer))
        screen.notify(words, severity="error", markup=False)
        return None
    return value
