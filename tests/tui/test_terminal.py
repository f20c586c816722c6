"""What the program leaves of the terminal, on a terminal of its own."""

import io
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from textual import events
from textual._ansi_sequences import ANSI_SEQUENCES_KEYS
from textual._xterm_parser import XTermParser

from workbench.errors import UsageError
from workbench.tui.terminal import (
    ALT_DIGITS,
    LastingTerminal,
    LeaveSignals,
    let_alt_digits_be_keys,
    refuse_dumb_terminals,
)

pty = pytest.importorskip("pty", reason="pseudo-terminals are of Unix")

CODE = """
import os, sys
from pathlib import Path
from workbench.tui.app import run_app
code = run_app(Path(sys.argv[1]))
sys.exit(code)
"""


class Terminal:
    """The program on a pseudo-terminal."""

    def __init__(self, code: str, folder: Path) -> None:
        self.master, slave = pty.openpty()
        environment = {**os.environ, "LLM_WORKBENCH_HOME": str(folder / "home"), "TERM": "xterm-256color"}
        arguments = [sys.executable, "-c", code, str(folder / "runs")]
        self.process = subprocess.Popen(arguments, stdin=slave, stdout=slave, stderr=slave, env=environment)
        os.close(slave)
        self.output = b""

    def read_until(self, expected: bytes, timeout_seconds: float = 30.0) -> None:
        """Read what is drawn until `expected` was."""
        deadline = time.monotonic() + timeout_seconds
        while expected not in self.output:
            assert time.monotonic() < deadline, f"{expected!r} never came: {self.output[-2000:]!r}"
            self._read()

    def finish(self) -> int:
        """Read to the end; the exit code."""
        deadline = time.monotonic() + 120
        while self.process.poll() is None:
            assert time.monotonic() < deadline, "the program does not end"
            self._read()
        while self._read():
            pass
        os.close(self.master)
        return self.process.returncode

    def _read(self) -> bool:
        if not select.select([self.master], [], [], 0.1)[0]:
            return False
        try:
            content = os.read(self.master, 65536)
        except OSError:  # Linux says so once the other end is closed
            return False
        self.output += content
        return bool(content)


ALTERNATE_SCREEN_ON, ALTERNATE_SCREEN_OFF = b"\x1b[?1049h", b"\x1b[?1049l"
MOUSE_OFF = b"\x1b[?1000l"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129)])
def test_a_signal_restores_the_terminal_and_tells_by_its_exit_code(tmp_path: Path, number: int, code: int) -> None:
    terminal = Terminal(CODE, tmp_path)
    terminal.read_until(b"Quit")
    assert ALTERNATE_SCREEN_ON in terminal.output
    terminal.process.send_signal(number)
    assert terminal.finish() == code
    assert terminal.output.rfind(ALTERNATE_SCREEN_OFF) > terminal.output.rfind(ALTERNATE_SCREEN_ON)
    assert MOUSE_OFF in terminal.output


def test_native_prints_go_to_the_log_and_not_over_the_screen(tmp_path: Path) -> None:
    late_print = "import threading\nthreading.Timer(1.0, lambda: os.write(2, b'NATIVE')).start()\ncode = run"
    code = CODE.replace("code = run", late_print)
    terminal = Terminal(code, tmp_path)
    terminal.read_until(b"Quit")
    log = tmp_path / "home" / "state" / "log" / "workbench.log"
    deadline = time.monotonic() + 120
    while "NATIVE" not in log.read_text(encoding="utf-8"):
        assert time.monotonic() < deadline
        terminal._read()
    os.write(terminal.master, b"q")
    assert terminal.finish() == 0
    assert b"NATIVE" not in terminal.output


@pytest.fixture
def alt_digits() -> Iterator[None]:
    """The program's reading of alt and a digit, for one test."""
    before = {sequence: ANSI_SEQUENCES_KEYS[sequence] for sequence in ALT_DIGITS}
    let_alt_digits_be_keys()
    yield
    ANSI_SEQUENCES_KEYS.update(before)  # type: ignore[attr-defined]


@pytest.mark.usefixtures("alt_digits")
@pytest.mark.parametrize("digit", "12345")
def test_alt_and_a_digit_are_a_key_and_no_character(digit: str) -> None:
    parser = XTermParser()
    told = [*parser.feed(f"\x1b{digit}"), *parser.feed("")]
    keys = [event.key for event in told if isinstance(event, events.Key)]
    assert keys == [f"alt+{digit}"]


class BrokenFile(io.StringIO):
    """A terminal whose other end is closed."""

    def write(self, text: str) -> int:
        raise OSError(5, "Input/output error")

    def flush(self) -> None:
        raise OSError(5, "Input/output error")


def test_a_terminal_that_is_gone_takes_what_is_written_in_silence() -> None:
    terminal = LastingTerminal(BrokenFile())
    assert terminal.write("hello") == 5
    terminal.flush()
    assert terminal.isatty() is False  # the rest is the file's


def test_signals_are_told_even_after_an_event_loop_has_ended() -> None:
    heard: list[int] = []
    with LeaveSignals(heard.append):
        for number in (signal.SIGHUP, signal.SIGHUP, signal.SIGTERM):
            os.kill(os.getpid(), number)
    assert heard == [signal.SIGHUP, signal.SIGHUP, signal.SIGTERM]
    os.kill(os.getpid(), signal.SIGHUP)  # ignored from now on
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def test_a_terminal_that_places_no_cursor_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    with pytest.raises(UsageError, match="cannot be drawn on a dumb terminal"):
        refuse_dumb_terminals()
