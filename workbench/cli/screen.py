"""The narration's place: lines on stderr above one live line, or in a log once the terminal is gone."""

import contextlib
import os
import shutil
import sys
import threading
from pathlib import Path

from workbench.cli.terminal import clipped, coloured, shows_colours


class Screen:
    """Writes lines to stderr; on a terminal one live line stays below them and is drawn over in place.

    Writing never raises: a terminal that goes away is replaced by `log_path`, which may be set later, when the run's
    directory is known.

    Args:
        silent: nothing is ever written, as another process speaks.
    """

    def __init__(self, log_path: Path, silent: bool = False) -> None:
        self.log_path = log_path
        self.live = shows_colours(sys.stderr) and not silent
        self._silent = silent
        self._terminals = [descriptor for descriptor in (0, 1, 2) if os.isatty(descriptor)]
        self._live_text = ""
        self._lost = False
        # Signals and the heartbeat's thread may write while a line is being written.
        self._lock = threading.RLock()

    def line(self, text: str, tone: str = "plain") -> None:
        """Write `text` above the live line."""
        with self._lock:
            kept = self._live_text
            self._write(self._erasure() + coloured(text, tone, sys.stderr) + "\n")
            self._live_text = ""
            if kept:
                self.update(kept)

    def update(self, text: str) -> None:
        """Draw `text` over the live line; nothing where lines cannot be drawn over."""
        if not self.live:
            return
        with self._lock:
            text = clipped(text, shutil.get_terminal_size().columns - 1)
            self._write(self._erasure() + text)
            self._live_text = text

    def end_live(self) -> None:
        """Take the live line away."""
        with self._lock:
            if self._live_text:
                self._write(self._erasure())
            self._live_text = ""

    def lose_terminal(self) -> None:
        """Go on in `log_path`: the terminal hung up. Whatever else writes to it then reaches the log too."""
        with self._lock:
            if self._lost:
                return
            self._lost, self.live, self._live_text = True, False, ""
            with contextlib.suppress(OSError):  # without a disk there is nobody left to tell
                self.log_path.parent.mkdir(parents=True, exist_ok=True)
                log = os.open(self.log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
                for descriptor in self._terminals:
                    os.dup2(log, descriptor)
                os.close(log)

    def _erasure(self) -> str:
        return "\r\x1b[2K" if self._live_text else ""

    def _write(self, text: str) -> None:
        if self._silent:
            return
        try:
            sys.stderr.write(text)
            sys.stderr.flush()
        except RuntimeError:  # a signal came in the middle of a write, which Python's streams refuse to nest
            os.write(2, text.encode("utf-8", "backslashreplace"))
        except (OSError, ValueError):  # hung up before the signal said so, or closed
            if not self._lost:
                self.lose_terminal()
                self._write(text)
