"""A whole life on a terminal of 80 by 24: train, watch, chat, leave. Every way of leaving gives the terminal back."""

import json
import os
import re
import signal
import sys
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from workbench.benchmarks.pseudo_terminal import PseudoTerminal
from workbench.runs.liveness import CommandFile, is_alive, read_holder
from workbench.runs.metrics import read_metrics
from workbench.runs.store import RunDirectory

pytest.importorskip("pty", reason="pseudo-terminals are of Unix")

PROFILE = """
[run]
name = "tiny"
seed = 3
precision = "fp32"
threads = 1
[tokenizer]
kind = "bytes"
[model]
hidden_size = 32
num_hidden_layers = 1
num_attention_heads = 2
max_position_embeddings = 64
[[stage]]
kind = "pretrain"
data = "text.jsonl"
sequence_length = 32
batch_size = 4
steps = 1000000
log_every = 1
evaluate_every = 0
sample_every = 0
"""
BREAKING = """
import sys
from workbench.cli.main import main
from workbench.tui.screens.train import TrainScreen

def action_log_axis(self):
    raise RuntimeError("broken on purpose")

TrainScreen.action_log_axis = action_log_axis
sys.exit(main(sys.argv[1:]))
"""
F5 = b"\x1b[15~"
INITIAL = {b"25": True, b"7": True}  # the cursor is shown and long lines are wrapped, before a program says otherwise


class Person:
    """Somebody at a terminal in whose folder lies the profile tiny.toml.

    Args:
        code: Python that is the program, in place of the command line's own.
    """

    def __init__(self, folder: Path, code: str = "") -> None:
        self.folder = folder
        self.run = RunDirectory(folder / "runs" / "tiny")
        environment = {
            **os.environ,
            "LLM_WORKBENCH_HOME": str(folder / "home"),
            "TERM": "xterm-256color",
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        }
        program = [sys.executable, *(["-c", code] if code else ["-m", "workbench.cli"]), "--workspace", "runs"]
        self.terminal = PseudoTerminal(program, environment=environment, folder=folder, columns=80, rows=24)
        self.settings_before = termios.tcgetattr(self.terminal.master)
        self.drawn = b""
        self.terminal.wait_for(b"Quit")

    def sees(self, *words: str) -> None:
        """Wait for words on the screen."""
        self.terminal.wait_for(*(word.encode() for word in words), timeout_seconds=120)

    def presses(self, keys: bytes, *expected: str) -> None:
        """Press keys, and wait for what is then drawn."""
        self.terminal.watch(0.3)
        self.drawn += self.terminal.seen
        self.terminal.seen = b""
        self.terminal.press(keys)
        self.sees(*expected)

    def trains(self) -> None:
        """Start the profile from the Profile screen, and watch some steps."""
        self.presses(b"3", "Form/TOML")
        self.presses(b"o", "Open a profile")
        self.presses(b"\r", "tiny.toml")
        self.presses(F5, "loss")
        self.waits(lambda: len(self.losses()) >= 5, "the fifth step")
        self.sees("tok/s")

    def is_told(self, *words: str) -> bool:
        """Whether all words stand below what was on the terminal before, when the program has ended."""
        below = self.drawn.rpartition(b"\x1b[?1049l")[2]
        return all(word.encode() in below for word in words)

    def losses(self) -> list[tuple[int, float]]:
        """What the run recorded."""
        return [
            (each["step"], each["loss"]) for each in read_metrics(self.run.stage("pretrain").metrics) if "loss" in each
        ]

    def waits(self, condition: Callable[[], bool], what: str) -> None:
        """Look on until something is so."""
        deadline = time.monotonic() + 300
        while not condition():
            assert time.monotonic() < deadline, f"{what} never came; {self.terminal.seen[-500:]!r}"
            self.terminal.watch(0.05)

    def leaves(self) -> int:
        """Read to the end; the exit code. The terminal is as it was."""
        code = self.terminal.finish(300)
        self.drawn += self.terminal.seen
        assert modes_left(self.drawn) == {}, "modes of the terminal that were not put back"
        assert len(re.findall(rb"\x1b\[>\d+u", self.drawn)) == self.drawn.count(b"\x1b[<u"), "the keyboard's protocol"
        assert termios.tcgetattr(self.terminal.master) == self.settings_before, "what stty shows"
        return code


def modes_left(drawn: bytes) -> dict[bytes, bool]:
    """Private modes of the terminal that are not as a program finds them: alternate screen, mouse, pastes, cursor."""
    modes: dict[bytes, bool] = {}
    for numbers, end in re.findall(rb"\x1b\[\?([\d;]+)([hl])", drawn):
        modes.update(dict.fromkeys(numbers.split(b";"), end == b"h"))
    return {mode: on for mode, on in modes.items() if on != INITIAL.get(mode, False)}


@pytest.fixture
def person(tmp_path: Path) -> Iterator[Callable[..., Person]]:
    """Somebody at a terminal; what still runs at the end is killed."""
    rows = [json.dumps({"text": f"row {number} tells of {number * 7 % 11} cats"}) for number in range(200)]
    (tmp_path / "text.jsonl").write_text("\n".join(rows), encoding="utf-8")
    (tmp_path / "tiny.toml").write_text(PROFILE, encoding="utf-8")
    with ExitStack() as stack:

        def sit_down(code: str = "") -> Person:
            somebody = Person(tmp_path, code)
            stack.enter_context(somebody.terminal)
            return somebody

        yield sit_down


def test_from_the_first_key_to_the_shell(person: Callable[..., Person]) -> None:
    somebody = person()
    somebody.trains()
    somebody.presses(b"c", "A checkpoint is saved")
    somebody.waits(lambda: somebody.run.stage("pretrain").newest_checkpoint() is not None, "the checkpoint")
    somebody.presses(b"5", "Message")
    somebody.presses(b"Hello there\r", "Hello there", "tok/s")
    before = len(somebody.losses())
    somebody.waits(lambda: len(somebody.losses()) > before, "a step while somebody chats")
    somebody.presses(b"\x03", "to leave the workbench")  # ctrl+c is no way out by accident
    somebody.presses(b"\x11", "tiny is running.")  # ctrl+q
    somebody.terminal.press(b"s")
    assert somebody.leaves() == 0
    assert somebody.is_told("stopped and saved; go on with: llm-workbench resume", "runs/tiny")
    assert somebody.run.state().status == "stopped" and not is_alive(somebody.run.path)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_somebody_ends_the_program(person: Callable[..., Person], number: int) -> None:
    somebody = person()
    somebody.trains()
    somebody.terminal.process.send_signal(number)
    assert somebody.leaves() == 128 + number
    assert somebody.is_told("stopped and saved; go on with: llm-workbench resume", "runs/tiny")
    assert somebody.run.state().status == "stopped" and not is_alive(somebody.run.path)
    assert somebody.run.stage("pretrain").newest_checkpoint() is not None


def test_the_shell_hangs_up_and_the_run_goes_on(person: Callable[..., Person]) -> None:
    somebody = person()
    somebody.trains()
    somebody.terminal.process.send_signal(signal.SIGHUP)
    assert somebody.leaves() == 129
    before, pid = len(somebody.losses()), somebody.terminal.process.pid
    somebody.waits(
        lambda: (holder := read_holder(somebody.run.path)) is not None and holder.pid != pid, "another process"
    )
    try:
        somebody.waits(lambda: len(somebody.losses()) > before, "a step of the other process")
        steps = [step for step, _ in somebody.losses()]
        assert steps == list(range(1, len(steps) + 1))
    finally:
        CommandFile(somebody.run.path).append("stop")
        somebody.waits(lambda: not is_alive(somebody.run.path), "its end")
    assert somebody.run.state().status == "stopped"


def test_a_screen_breaks_and_the_run_is_saved(person: Callable[..., Person]) -> None:
    somebody = person(BREAKING)
    somebody.trains()
    somebody.terminal.press(b"l")
    assert somebody.leaves() == 1
    assert somebody.is_told("llm-workbench: unexpected RuntimeError: broken on purpose; the traceback is in")
    assert somebody.is_told("stopped and saved; go on with: llm-workbench resume", "runs/tiny")
    log = somebody.folder / "home" / "state" / "log" / "workbench.log"
    assert "in action_log_axis" in log.read_text(encoding="utf-8")
    assert somebody.run.state().status == "stopped" and not is_alive(somebody.run.path)
    assert somebody.run.stage("pretrain").newest_checkpoint() is not None


def test_modes_that_are_left_are_seen() -> None:
    assert modes_left(b"\x1b[?1049h\x1b[?25l\x1b[?1000;1006h") == {
        b"1049": True,
        b"25": False,
        b"1000": True,
        b"1006": True,
    }
    assert modes_left(b"\x1b[?1049h\x1b[?25l\x1b[?1049l\x1b[?25h\x1b[?7h") == {}
