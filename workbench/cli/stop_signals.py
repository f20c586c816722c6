"""Signals as wishes: the step is finished and saved, and only a second Ctrl+C stops at once."""

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from types import FrameType, TracebackType
from typing import Any, Self

import psutil

from workbench.cli.screen import Screen
from workbench.control import Control
from workbench.language import tr

INTERRUPTED = 128 + signal.SIGINT
TERMINATED = 128 + signal.SIGTERM


@contextlib.contextmanager
def unwinding() -> Iterator[None]:
    """Let SIGTERM end what goes on here as Ctrl+C does: what was begun is taken away again.

    Raises:
        SystemExit: with its exit code.
    """

    def unwind(number: int, frame: FrameType | None) -> None:
        raise SystemExit(TERMINATED)

    previous = signal.signal(signal.SIGTERM, unwind)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


class StopSignals:
    """While a run goes: SIGINT and SIGTERM ask `control` to stop, SIGHUP only takes the terminal away.

    `exit_code` is None until a signal asked for the end.
    """

    def __init__(self, control: Control, screen: Screen) -> None:
        self.exit_code: int | None = None
        self._control, self._screen = control, screen
        self._interrupts = 0
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> Self:
        self._install(signal.SIGINT, self._interrupt)
        self._install(signal.SIGTERM, self._terminate)
        hangup = getattr(signal, "SIGHUP", None)  # Windows has none
        # Under nohup it is ignored already, which is as good.
        if hangup is not None and signal.getsignal(hangup) != signal.SIG_IGN:
            self._install(hangup, self._hang_up)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _install(self, number: int, handler: Callable[[int, FrameType | None], None]) -> None:
        self._previous[number] = signal.signal(number, handler)

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        self._interrupts += 1
        if self._interrupts > 1:
            self._stop_at_once()
        self._ask_to_stop(INTERRUPTED, tr("stopping after this step, which is saved; Ctrl+C again stops at once"))

    def _terminate(self, number: int, frame: FrameType | None) -> None:
        self._ask_to_stop(TERMINATED, tr("stopping after this step, which is saved"))

    def _hang_up(self, number: int, frame: FrameType | None) -> None:
        self._screen.lose_terminal()
        self._screen.line(tr("the terminal is gone; the run goes on, and this is its log"))

    def _ask_to_stop(self, exit_code: int, message: str) -> None:
        self.exit_code = self.exit_code or exit_code
        self._control.stop()
        self._screen.line(message, "warning")

    def _stop_at_once(self) -> None:
        self._screen.end_live()
        self._screen.line(tr("stopped at once; the last checkpoint stands"), "warning")
        for child in psutil.Process().children(recursive=True):  # a tokenizer in training would go on alone
            with contextlib.suppress(psutil.Error):
                child.kill()
        os._exit(INTERRUPTED)  # no cleaning up: whatever hangs must not keep a person waiting
