"""A program on a terminal of its own, seen from outside: the bytes it draws, and when they came. Of Linux and macOS."""

import os
import select
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

ASKS_FOR_FRAMES = b"\x1b[?2026$p"
HAS_FRAMES = b"\x1b[?2026;2$y"
FRAME_END = b"\x1b[?2026l"
"""Terminals that show whole frames only are told where each ends: so it is known when a screen's answer is whole."""

KEPT_BYTES = 1 << 20


class PseudoTerminal:
    """Starts a program on a terminal; `with PseudoTerminal(command) as terminal:` kills what still runs at the end.

    Args:
        environment: the program's variables, in place of our own.
        frames: whether the terminal says that it shows whole frames only.

    `started_at` is when the program was started, by time.perf_counter; `seen` what it drew of late.

    Raises:
        ImportError: this system has no such terminals.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        environment: Mapping[str, str],
        folder: Path,
        columns: int = 120,
        rows: int = 36,
        frames: bool = True,
    ) -> None:
        import pty
        import termios

        self.master, slave = pty.openpty()
        termios.tcsetwinsize(slave, (rows, columns))
        self._answers_due = frames
        self.seen = b""
        self.started_at = time.perf_counter()
        self.process = subprocess.Popen(
            command, stdin=slave, stdout=slave, stderr=slave, env=dict(environment), cwd=folder, start_new_session=True
        )
        os.close(slave)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self.master)

    def wait_for(self, *words: bytes, timeout_seconds: float = 60.0) -> float:
        """Read until all `words` were drawn; when that was, by time.perf_counter.

        Raises:
            TimeoutError: they were not, or the program ended.
        """
        deadline = time.perf_counter() + timeout_seconds
        came_at = time.perf_counter()
        while not all(word in self.seen for word in words):
            if time.perf_counter() > deadline or not self._read(0.2):
                missing = [word for word in words if word not in self.seen]
                raise TimeoutError(f"{missing} never came; the last that was drawn: {self.seen[-300:]!r}")
            came_at = time.perf_counter()
        return came_at

    def answer_seconds(self, key: bytes, word: bytes, timeout_seconds: float = 20.0) -> float:
        """Press a key; the seconds until `word` and the rest of the frame that it is in were drawn.

        Raises:
            TimeoutError: no such answer came.
        """
        while self._read(0.0) and self._ready(0.0):
            pass  # what was drawn before is no answer
        self.seen = b""
        pressed_at = time.perf_counter()
        os.write(self.master, key)
        deadline = pressed_at + timeout_seconds
        while FRAME_END not in self.seen.partition(word)[2]:
            if time.perf_counter() > deadline or not self._read(0.2):
                raise TimeoutError(f"no {word!r} after {key!r}; the last that was drawn: {self.seen[-300:]!r}")
        return time.perf_counter() - pressed_at

    def press(self, keys: bytes) -> None:
        """Press keys."""
        os.write(self.master, keys)

    def watch(self, seconds: float) -> None:
        """Take in what is drawn, for a while."""
        end = time.perf_counter() + seconds
        while (left := end - time.perf_counter()) > 0 and self._read(left):
            pass

    def end(self, timeout_seconds: float = 60.0) -> int:
        """Send SIGTERM and read to the end; the exit code.

        Raises:
            TimeoutError: it did not end.
        """
        self.process.send_signal(signal.SIGTERM)
        return self.finish(timeout_seconds)

    def finish(self, timeout_seconds: float = 60.0) -> int:
        """Read to the end of the program; the exit code.

        Raises:
            TimeoutError: it did not end.
        """
        deadline = time.perf_counter() + timeout_seconds
        while self.process.poll() is None:
            if time.perf_counter() > deadline:
                raise TimeoutError(f"the program does not end; the last that was drawn: {self.seen[-300:]!r}")
            self._read(0.05)
        while self._ready(0.0) and self._read(0.0):
            pass
        return self.process.returncode

    def _ready(self, seconds: float) -> bool:
        return bool(select.select([self.master], [], [], seconds)[0])

    def _read(self, seconds: float) -> bool:
        """Take in what comes within some seconds; False where nothing will come any more."""
        if not self._ready(seconds):
            return self.process.poll() is None
        try:
            content = os.read(self.master, 65536)
        except OSError:  # Linux says so once nobody holds the other end
            return False
        self.seen = self.seen[-KEPT_BYTES:] + content
        if self._answers_due and ASKS_FOR_FRAMES in self.seen:
            self._answers_due = False
            os.write(self.master, HAS_FRAMES)
        return bool(content)
