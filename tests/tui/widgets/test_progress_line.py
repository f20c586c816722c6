"""The line of progress."""

import time
from collections.abc import Callable

import pytest

from workbench.events import Event
from workbench.tui.run_state import RunState
from workbench.tui.widgets.progress_line import SILENCE_SECONDS, ProgressLine


@pytest.mark.parametrize("silent", [False, True])
def test_a_run_of_which_nothing_was_heard_for_long_says_so(
    run_beginning: Callable[..., list[Event]], make_step: Callable[..., Event], silent: bool
) -> None:
    state, line = RunState("tiny"), ProgressLine()
    for event in [*run_beginning(), make_step(40)]:
        state.apply(event)
    state.heard_at = time.time() - (SILENCE_SECONDS + 15 if silent else 1)
    line.show(state, state.stage)
    _, words = line._progress(state)
    assert any(word.startswith("no news for 4") for word in words) == silent
    state.status = "paused"
    assert not any("no news" in word for word in line._progress(state)[1]), "a run that waits is silent on purpose"
