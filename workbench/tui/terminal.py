"""The terminal the workbench runs in: its own handle on it, its signals, and what is left when it goes away."""

import contextlib
import logging
import os
import select
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType, SimpleNamespace, TracebackType
from typing import Any, Self, TextIO

from textual.driver import Driver

from workbench.errors import UsageError
from workbench.locations import state_folder

logger = logging.getLogger(__name__)

ALT_DIGITS = [f"\x1b{digit}" for digit in range(10)]


class LastingTerminal:
    """A terminal that can be written to even after it went away, into nothing then.

    Textual writes from a thread; an error there would end it, and the screens would wait for it for ever.
    """

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._lost = False

    def write(self, text: str) -> int:
        """Write, as long as somebody may see it."""
        self._try(lambda: self._file.write(text))
        return len(text)

    def flush(self) -> None:
        """Send what was written, as long as somebody may see it."""
        self._try(self._file.flush)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def _try(self, act: Callable[[], object]) -> None:
        if self._lost:
            return
        try:
            act()
        except (OSError, ValueError):
            self._lost = True
            logger.info("the terminal is gone")


class LeaveSignals:
    """While the screens are shown, SIGTERM, SIGINT and SIGHUP are told to `heed`, in the main thread.

    ctrl+c is a key then, and no SIGINT: that comes from another program.

    Handlers of the event loop would end with it, and a terminal that closes sends more than one SIGHUP: the kernel
    one, and the shell another. Once left, SIGHUP is ignored to the end of the program.
    """

    def __init__(self, heed: Callable[[int], None]) -> None:
        self._heed = heed
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> Self:
        for number in self._numbers():
            self._previous[number] = signal.signal(number, self._tell)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        hangup = getattr(signal, "SIGHUP", None)
        for number, handler in self._previous.items():
            signal.signal(number, signal.SIG_IGN if number == hangup else handler)

    def _tell(self, number: int, frame: FrameType | None) -> None:
        self._heed(number)

    @staticmethod
    def _numbers() -> list[int]:
        named = (getattr(signal, name, None) for name in ("SIGTERM", "SIGINT", "SIGHUP"))  # Windows has no SIGHUP
        return [number for number in named if number is not None]


def lasting_driver() -> type[Driver]:
    """Textual's driver for Unix, which outlives its terminal."""
    from textual.drivers.linux_driver import LinuxDriver

    class LastingDriver(LinuxDriver):
        """A driver that says so when the terminal is gone, where Textual's would end the program."""

        @property
        def gone(self) -> bool:
            """Whether the other end of the terminal is closed."""
            watch = select.poll()
            watch.register(self.fileno, 0)
            return any(happened & select.POLLHUP for _, happened in watch.poll(0))

        def run_input_thread(self) -> None:
            """Read keys, as long as there are any to come."""
            with contextlib.suppress(OSError):
                super().run_input_thread()

        def end_input(self) -> None:
            """Read no more: a terminal that is gone is always ready to be read, and never gives anything."""
            self.exit_event.set()

    return LastingDriver


def own_the_tty(log: Path) -> None:
    """Give Textual a private handle on the terminal, and native prints of libraries a file."""
    # Somebody may have sent stderr to a file; Textual would draw into it.
    terminal = next((number for number in (2, 1) if os.isatty(number)), 2)
    file = open(os.dup(terminal), "w", encoding="utf-8")  # noqa: SIM115, PTH123  open for the life of the process
    tty: Any = LastingTerminal(file)
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)
    sys.__stderr__ = sys.__stdout__ = tty  # type: ignore[misc]  # the driver draws on the first, sizes by the second


def let_alt_digits_be_keys() -> None:
    """Take alt+1 for alt+1: Textual reads it as the character that a Mac's option key would type.

    What stands in no table is taken for a key only when nothing has followed it for a tenth of a second.
    """
    from textual._ansi_sequences import ANSI_SEQUENCES_KEYS

    for digit, sequence in enumerate(ALT_DIGITS):
        ANSI_SEQUENCES_KEYS[sequence] = (SimpleNamespace(value=f"alt+{digit}"),)  # type: ignore[index]


def refuse_dumb_terminals() -> None:
    """Say so where the terminal cannot place its cursor.

    Raises:
        UsageError: it cannot.
    """
    if os.environ.get("TERM") in ("dumb", "unknown"):
        remedy = "use another terminal, or --profile NAME here"
        raise UsageError("llm-workbench", f"the screens cannot be drawn on a {os.environ['TERM']} terminal", remedy)


def open_log() -> Path:
    """Send diagnosis to the workbench's log; its path."""
    folder = state_folder() / "log"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "workbench.log"
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.getLogger().addHandler(handler)
    return path
