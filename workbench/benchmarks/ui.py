"""How quick and how light the screens are: the program on a terminal of its own, measured from outside.

Nothing here looks into the program: keys are pressed, what is drawn is read, and the system says what it takes.
"""

import os
import random
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import psutil

from workbench.benchmarks.pseudo_terminal import PseudoTerminal
from workbench.benchmarks.reference import REFERENCE
from workbench.benchmarks.ui_program import SETTLED_SECONDS, Bench
from workbench.benchmarks.ui_runs import RUN, FakeRun, StepClock
from workbench.errors import UsageError

Part = Literal["start", "idle", "keys", "speed", "memory"]
PARTS: tuple[Part, ...] = get_args(Part)

WHOLE_SCREEN = b"llm-workbench"  # drawn again only where another screen comes
SCREENS = 7
FIRST_STEPS = 3  # of a run that was taken up: slower than the others
MEBIBYTE = 2**20


@dataclass(frozen=True)
class Effort:
    """How much is measured.

    Args:
        starts: of the program, for the median.
        keys: of each kind pressed while a model trains.
        pairs: of training, without the screens and under them.
        seconds: of each training, and of looking on while nothing goes on.
        steps: announced by the engine that only pretends.
    """

    starts: int = 7
    keys: int = 60
    pairs: int = 3
    seconds: float = 20.0
    steps: int = 100_000


@dataclass(frozen=True)
class Measured:
    """One figure.

    Args:
        target: what it should not exceed; None for figures that explain another.
        note: how it was found.
    """

    part: Part
    name: str
    value: float
    unit: str
    target: float | None = None
    note: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None where there is none."""
        return None if self.target is None else self.value <= self.target


def measure_ui(parts: Sequence[Part], effort: Effort, profile: str = REFERENCE) -> Iterator[Measured]:
    """Measure the parts, one after another.

    Args:
        profile: TOML of the model that trains meanwhile.
    Yields:
        The figures, as they are found.
    Raises:
        UsageError: this system has no pseudo-terminals, or the program could not be measured.
    """
    if os.name != "posix":
        raise UsageError("bench ui", "needs pseudo-terminals", "measure on Linux or macOS")
    with tempfile.TemporaryDirectory(prefix="llm-workbench-bench-") as folder:
        bench = Bench(Path(folder))
        measures = {"start": _start, "idle": _idle, "memory": _memory}
        try:
            for part in parts:
                if part in measures:
                    yield from measures[part](bench, effort)
            if "keys" in parts or "speed" in parts:
                bench.begin_training(profile)
                yield from _keys(bench, effort) if "keys" in parts else ()
                yield from _speed(bench, effort) if "speed" in parts else ()
        except TimeoutError as error:
            raise UsageError(
                "bench ui", str(error), "see the log in the state folder, or measure a quieter machine"
            ) from error


def _start(bench: Bench, effort: Effort) -> Iterator[Measured]:
    note = f"median of {effort.starts} starts"
    bench.first_paint_seconds()  # what is compiled and read from the disk once
    paints = [bench.first_paint_seconds() for _ in range(effort.starts)]
    yield Measured("start", "first paint", statistics.median(paints), "s", 1.0, note)
    helps = [bench.help_seconds() for _ in range(effort.starts)]
    yield Measured("start", "--help", statistics.median(helps), "s", 0.3, note)
    yield Measured("start", "modules of torch loaded by these", bench.modules_after_start("torch"), "", 0)


def _idle(bench: Bench, effort: Effort) -> Iterator[Measured]:
    with bench.opened() as terminal:
        terminal.watch(SETTLED_SECONDS)
        process = psutil.Process(terminal.process.pid)
        before = _processor_seconds(process)
        terminal.watch(effort.seconds)
        share = (_processor_seconds(process) - before) / effort.seconds
        terminal.end()
    yield Measured("idle", "processor while idle", 100 * share, "%", 2.0, f"of one core, over {effort.seconds:g} s")


def _memory(bench: Bench, effort: Effort) -> Iterator[Measured]:
    workspace = bench.folder / "growing"
    sizes = {}
    with FakeRun(workspace, effort.steps) as run, bench.opened(workspace) as terminal:
        terminal.watch(SETTLED_SECONDS)
        terminal.press(b"\r")  # opens the run
        process = psutil.Process(terminal.process.pid)
        for percent in range(10, 101, 10):
            word = run.go_on_to(percent)
            terminal.wait_for(word)
            terminal.watch(0.5)
            sizes[percent] = process.memory_info().rss
        terminal.end()
    for percent in (10, 50, 100):
        note = f"of {effort.steps:,} steps of an engine of another process"
        yield Measured("memory", f"memory at {percent} %", sizes[percent] / MEBIBYTE, "MiB", None, note)
    growth = 100 * (sizes[100] / sizes[10] - 1)
    yield Measured("memory", "growth from 10 % to 100 %", growth, "%", 5.0, "flat: less than one in twenty")


def _keys(bench: Bench, effort: Effort) -> Iterator[Measured]:
    chance = random.Random(0)
    clock = StepClock(bench.workspace)
    with bench.training_shown() as terminal:
        terminal.press(b"r")
        clock.wait_for(FIRST_STEPS, terminal.process, terminal)
        first = []
        for screen in range(SCREENS):
            terminal.watch(1.0)
            first.append(_switch(terminal, screen))
        switches = []
        for number in range(effort.keys):
            terminal.watch(chance.uniform(0.3, 0.6))  # anywhere between two drawings of the run's figures
            switches.append(_switch(terminal, number % SCREENS))
        _switch(terminal, 0)
        terminal.press(b"g")
        terminal.watch(1.0)
        moves = []
        for number in range(effort.keys):
            terminal.watch(chance.uniform(0.3, 0.6))
            down = number % 2 == 0
            moves.append(terminal.answer_seconds(b"j" if down else b"k", b"past-01" if down else RUN.encode()))
    for name, seconds in (("another screen", switches), ("move the cursor", moves)):
        note = f"{len(seconds)} keys while a model trains in the same process"
        yield Measured("keys", f"{name}, p50", 1000 * statistics.median(seconds), "ms", None, note)
        yield Measured("keys", f"{name}, p95", 1000 * percentile(seconds, 0.95), "ms", 50.0, note)
    yield Measured("keys", "a screen's first opening", 1000 * statistics.median(first), "ms", None, "median of them")


def _switch(terminal: PseudoTerminal, screen: int) -> float:
    return terminal.answer_seconds(b"\x1b%d" % (screen + 1), WHOLE_SCREEN)


def _speed(bench: Bench, effort: Effort) -> Iterator[Measured]:
    losses, alone, shares = [], [], []
    for pair in range(effort.pairs):
        speeds = {}
        for shown in (True, False) if pair % 2 else (False, True):
            speeds[shown], share = _shown_speed(bench, effort) if shown else (_alone_speed(bench, effort), None)
            shares += [] if share is None else [share]
        losses.append(100 * (1 - speeds[True] / speeds[False]))
        alone.append(speeds[False])
    note = f"median of {effort.pairs} pairs of {effort.seconds:g} s: {', '.join(f'{loss:.1f}' for loss in losses)} %"
    yield Measured("speed", "training speed lost", statistics.median(losses), "%", 3.0, note)
    yield Measured("speed", "steps by second without screens", statistics.median(alone), "", None, note)
    if shares:  # not where the system tells nothing of another's threads
        yield Measured(
            "speed", "processor of the screens' threads", 100 * statistics.median(shares), "%", None, "of one core"
        )


def _alone_speed(bench: Bench, effort: Effort) -> float:
    clock = StepClock(bench.workspace)
    with bench.training_alone() as process:
        clock.wait_for(FIRST_STEPS, process)
        clock.begin()
        time.sleep(effort.seconds)
        return clock.steps_by_second()


def _shown_speed(bench: Bench, effort: Effort) -> tuple[float, float | None]:
    """Steps by second, and the share of a core that the screens took meanwhile."""
    clock = StepClock(bench.workspace)
    with bench.training_shown() as terminal:
        process = psutil.Process(terminal.process.pid)
        screens = {thread.id for thread in _threads(process)}
        terminal.press(b"r")
        clock.wait_for(FIRST_STEPS, terminal.process, terminal)
        before, began = _thread_seconds(process, screens), time.perf_counter()
        clock.begin()
        terminal.watch(effort.seconds)
        speed, seconds = clock.steps_by_second(), time.perf_counter() - began
        after = _thread_seconds(process, screens)
    return speed, None if before is None or after is None else (after - before) / seconds


def percentile(values: Sequence[float], share: float) -> float:
    """The value that `share` of the values do not exceed."""
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, int(share * len(ranked)))]


def _processor_seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


def _threads(process: psutil.Process) -> list:
    try:
        return process.threads()
    except psutil.AccessDenied:  # macOS tells only root
        return []


def _thread_seconds(process: psutil.Process, chosen: set[int]) -> float | None:
    if not chosen:
        return None
    return float(sum(thread.user_time + thread.system_time for thread in _threads(process) if thread.id in chosen))
