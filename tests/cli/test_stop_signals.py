"""Signals: the step is finished and saved; a lost terminal ends nothing."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from workbench.cli.main import main
from workbench.data import fetch
from workbench.interop import huggingface

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")

# A job that does nothing until it is told to stop; then it "saves".
JOB = """
import sys, time
from pathlib import Path
from types import SimpleNamespace
from workbench.cli.training_commands import work
from workbench.events import RunStarted, Warned

class Job:
    def __init__(self, emitter, control):
        self.emitter, self.control = emitter, control
    def run(self):
        directory = Path("runs/tiny"); directory.mkdir(parents=True)
        self.emitter.emit(RunStarted(run="tiny", directory=str(directory), stages=("base",), device="cpu",
                                     precision="fp32", threads=1, resumed=False))
        Path("ready").touch()
        number = 0
        while not (self.control.stop_requested or Path("end").exists()) or "stubborn" in sys.argv:
            time.sleep(0.01)
            number += 1
            self.emitter.emit(Warned(stage="", message=f"step {number}"))
        Path("saved").touch()
        status = "stopped" if self.control.stop_requested else "done"
        return SimpleNamespace(status=status, directory=directory.resolve())

sys.exit(work(Job, Path("runs"), json="json" in sys.argv, quiet=False))
"""
Start = Callable[..., subprocess.Popen]


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.02)


def started(start: Start, *arguments: str, **options: object) -> subprocess.Popen:
    process = start(JOB, *arguments, **options)
    wait_for(Path("ready").exists)
    return process


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_saves_and_gives_its_exit_code(start: Start, number: int, code: int) -> None:
    process = started(start)
    process.send_signal(number)
    _, narration = process.communicate(timeout=120)
    assert process.returncode == code
    assert Path("saved").exists()
    assert "go on with: llm-workbench resume tiny" in narration
    assert "Traceback" not in narration


def test_a_second_interrupt_stops_at_once(start: Start) -> None:
    process = started(start, "stubborn")
    process.send_signal(signal.SIGINT)
    time.sleep(0.3)
    assert process.poll() is None, "the first one waits for the step"
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=120)
    assert process.returncode == 130
    assert not Path("saved").exists()


def test_a_run_that_ends_by_itself_gives_zero(start: Start) -> None:
    process = started(start)
    Path("end").touch()
    process.communicate(timeout=120)
    assert process.returncode == 0


def test_a_lost_terminal_does_not_end_the_run(start: Start) -> None:
    primary, secondary = os.openpty()
    process = started(start, stdout=secondary, stderr=secondary, stdin=secondary, start_new_session=True)
    os.close(secondary)
    os.close(primary)  # every write to the terminal fails from here on
    process.send_signal(signal.SIGHUP)
    log = Path("runs/tiny/console.log")
    wait_for(lambda: log.exists() and "step" in log.read_text(encoding="utf-8"))
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=120) == 143
    assert Path("saved").exists()
    assert "the run goes on" in log.read_text(encoding="utf-8")


def test_a_terminal_lost_without_a_signal_does_not_end_the_run(start: Start) -> None:
    primary, secondary = os.openpty()
    process = started(start, stdout=secondary, stderr=secondary, stdin=secondary, start_new_session=True)
    os.close(secondary)
    os.close(primary)
    wait_for(Path("runs/tiny/console.log").exists)
    Path("end").touch()
    assert process.wait(timeout=120) == 0


def test_a_reader_of_the_events_that_goes_away_does_not_end_the_run(start: Start) -> None:
    process = started(start, "json")
    assert process.stdout is not None
    assert '"RunStarted"' in process.stdout.readline()
    process.stdout.close()
    process.stdout = None
    time.sleep(0.2)
    assert process.poll() is None
    Path("end").touch()
    _, narration = process.communicate(timeout=120)
    assert Path("saved").exists()
    assert "stopped listening" not in narration, "nobody needs to be told"


@pytest.mark.parametrize("command", [["data", "fetch", "shakespeare"], ["import", "."]], ids=" ".join)
def test_what_a_terminated_command_began_is_taken_away(
    command: list[str], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = []

    def terminated(*arguments: object) -> None:
        begun.extend(home.glob("cache/*/.*"))
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(600)

    monkeypatch.setitem(fetch.fetch.__kwdefaults__, "get", terminated)
    monkeypatch.setattr(huggingface, "copy_directory", terminated)
    with pytest.raises(SystemExit) as end:
        main(command)
    assert end.value.code == 143
    assert len(begun) == 1
    assert not begun[0].exists()
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
