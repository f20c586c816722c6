"""The program that is measured, started again and again in a folder that is its home."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from workbench.benchmarks.pseudo_terminal import PseudoTerminal
from workbench.benchmarks.ui_runs import RUN, StepClock, past_runs

FIRST_FRAME = (b"llm-workbench", b"Quit")  # its upper and its lower line
SETTLED_SECONDS = 3.0  # the first reading of runs, profiles and the machine is over by then


class Bench:
    """A home and a workspace of past runs, where the program is started."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.workspace = folder / "runs"
        past_runs(self.workspace)
        self.environment = {
            **os.environ,
            "LLM_WORKBENCH_HOME": str(folder / "home"),
            "LLM_WORKBENCH_LANG": "en",
            "TERM": "xterm-256color",
            "COLORTERM": "truecolor",
        }

    @contextmanager
    def opened(self, workspace: Path | None = None) -> Iterator[PseudoTerminal]:
        """The workbench, its first screen drawn, wherever it was left before."""
        (self.folder / "home" / "state" / "screens.json").unlink(missing_ok=True)
        with PseudoTerminal(self._command(workspace), environment=self.environment, folder=self.folder) as terminal:
            terminal.wait_for(*FIRST_FRAME)
            yield terminal

    def first_paint_seconds(self) -> float:
        """From the start of the process to its first whole screen."""
        with PseudoTerminal(self._command(), environment=self.environment, folder=self.folder) as terminal:
            seconds = terminal.wait_for(*FIRST_FRAME) - terminal.started_at
            terminal.end()
        return seconds

    def help_seconds(self) -> float:
        """From the start of `--help` to its end."""
        began = time.perf_counter()
        self._run("-m", "workbench.cli", "--help")
        return time.perf_counter() - began

    def modules_after_start(self, name: str) -> int:
        """Modules of the package `name` that are loaded once the first screen is drawn, or help was given."""
        told = self.folder / "modules"
        self._run("-c", _TELLING, str(told), "--help")
        modules = told.read_text(encoding="utf-8").split()
        command = [sys.executable, "-P", "-c", _TELLING, str(told), "--workspace", str(self.workspace)]
        with PseudoTerminal(command, environment=self.environment, folder=self.folder) as terminal:
            terminal.wait_for(*FIRST_FRAME)
            terminal.end()
        modules += told.read_text(encoding="utf-8").split()
        return sum(module.partition(".")[0] == name for module in modules)

    def begin_training(self, profile: str) -> None:
        """Make the run that the others take up: everything prepared, its first step saved."""
        path = self.folder / "profile.toml"
        path.write_text(profile, encoding="utf-8")
        settings = ("steps=1000000", "log_every=1", "evaluate_every=0", "sample_every=0")
        overrides = [f"--set=stage.pretrain.{setting}" for setting in settings]
        clock = StepClock(self.workspace)
        with self._headless("--profile", str(path), "--name", RUN, "--quiet", *overrides) as process:
            clock.wait_for(1, process)

    @contextmanager
    def training_alone(self) -> Iterator[subprocess.Popen]:
        """The run taken up without screens; saved and ended afterwards."""
        with self._headless("resume", RUN, "--quiet") as process:
            yield process

    @contextmanager
    def training_shown(self) -> Iterator[PseudoTerminal]:
        """The run taken up under the screens, whose threads are then known; saved and ended afterwards."""
        with self.opened() as terminal:
            terminal.wait_for(RUN.encode())  # under the cursor, as the newest
            terminal.watch(SETTLED_SECONDS)
            yield terminal
            terminal.end()

    def _command(self, workspace: Path | None = None) -> list[str]:
        return [sys.executable, "-P", "-m", "workbench.cli", "--workspace", str(workspace or self.workspace)]

    @contextmanager
    def _headless(self, *arguments: str) -> Iterator[subprocess.Popen]:
        command = [*self._command(), *arguments]
        silent = subprocess.DEVNULL
        process = subprocess.Popen(command, stdin=silent, stdout=silent, stderr=silent, env=self.environment)
        try:
            yield process
            process.terminate()
            process.wait(60)
        finally:
            process.kill()
            process.wait()

    def _run(self, *arguments: str) -> None:
        command = [sys.executable, "-P", *arguments]
        subprocess.run(command, check=True, stdout=subprocess.PIPE, env=self.environment, cwd=self.folder)


_TELLING = """
import atexit, sys
place = sys.argv.pop(1)
def tell():
    with open(place, "w", encoding="utf-8") as file:
        file.write("\\n".join(sys.modules))
atexit.register(tell)
from workbench.cli.main import main
sys.exit(main())
"""
"""The program, which writes down what it has loaded when it ends."""
