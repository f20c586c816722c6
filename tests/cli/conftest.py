"""Every test of the command line works in a folder and a home of its own."""

import io
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's home of the test; the current folder is its `work`."""
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("LLM_WORKBENCH_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NO_COLOR", "1")
    return tmp_path / "home"


@pytest.fixture
def start() -> Callable[..., subprocess.Popen]:
    """Starts a Python program of the test in a process of its own; what still runs at the end is killed."""
    started = []

    def begin(code: str, *arguments: str, encoding: str = "utf-8", **options: Any) -> subprocess.Popen:
        environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "PYTHONIOENCODING": encoding}
        environment.pop("PYTHONUNBUFFERED", None)  # what a user's Python holds back, it holds back here too
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "env": environment, **options}
        if os.name == "posix":  # whoever runs the tests in the background has these two ignored
            options_of_signals = [(signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)]
            earlier = [signal.signal(number, handler) for number, handler in options_of_signals]
        process = subprocess.Popen([sys.executable, "-c", code, *arguments], **pipes)
        if os.name == "posix":
            for (number, _), handler in zip(options_of_signals, earlier, strict=True):
                signal.signal(number, handler)
        started.append(process)
        return process

    yield begin
    for process in started:
        process.kill()
        process.wait()
        for stream in (process.stdout, process.stderr, process.stdin):
            if stream:
                stream.close()


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """A terminal that shows colours; the test puts it in place of stderr, which pytest replaces after fixtures ran."""
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    return Terminal()
