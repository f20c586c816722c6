"""What a fetch tells while it works, and how it is stopped."""

from collections.abc import Callable
from dataclasses import dataclass

ProgressCallback = Callable[[str, int, int | None], None]


class Stopped(Exception):  # noqa: N818  no error: somebody wished it
    """The fetch was asked to stop."""


def _say_nothing(task: str, done: int, total: int | None) -> None:
    del task, done, total


def _never() -> bool:
    return False


@dataclass(frozen=True)
class Progress:
    """Tells how far a fetch is, and ends it when asked to.

    Args:
        on_progress: called with the task, what is done of it, and the amount at its end or None.
        should_stop: asked each time something is told.
    """

    on_progress: ProgressCallback = _say_nothing
    should_stop: Callable[[], bool] = _never

    def tell(self, task: str, done: int, total: int | None = None) -> None:
        """Announce how far `task` is.

        Raises:
            Stopped: the fetch shall end here.
        """
        if self.should_stop():
            raise Stopped
        self.on_progress(task, done, total)
