"""What a person is told who asked whether a profile is sound."""

from typing import TYPE_CHECKING

from workbench.language import retell, tr, tr_many
from workbench.tui.profile_examination import Examination

if TYPE_CHECKING:
    from textual.screen import Screen


def tell_result(screen: "Screen[None]", found: Examination) -> bool:
    """Say what was found; True where something is to be put right."""
    warnings = found.estimate.problems if found.estimate is not None else ()
    if found.problems:
        told = tr_many(
            "{count} to put right, listed under Checks",
            "{count:,} to put right, listed under Checks",
            len(found.problems),
        )
        screen.notify(told, severity="error")
    elif warnings:
        words = tr("It does not fit here: {reasons}", reasons=retell("; ".join(warnings)))
        screen.notify(words, severity="warning", markup=False)
    else:
        screen.notify(tr("Sound: every setting, every file, memory and disk."))
    return bool(found.problems)
