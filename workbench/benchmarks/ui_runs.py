"""Runs for the screens to show while they are measured: past ones, one that trains, and one that only pretends."""

import math
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from workbench.benchmarks.pseudo_terminal import PseudoTerminal
from workbench.events import (
    Event,
    RunStarted,
    SampleMade,
    StageStarted,
    StepFinished,
    Validated,
    Warned,
    to_json,
)
from workbench.runs.liveness import RunLock
from workbench.runs.metrics import MetricsTail, RecordWriter
from workbench.runs.store import RunDirectory, RunState, create_run

RUN = "the-29m"
PAST = 12
WRITTEN_AT_ONCE = 500
WRITING_PAUSE_SECONDS = 0.05


def past_runs(workspace: Path) -> None:
    """Put finished runs into the workspace, so that the list of runs is one: past-01 is the newest."""
    for number in range(1, PAST + 1):
        run = create_run(workspace, f"past-{number:02}", "")
        at = time.time() - 86400.0 * number
        state = RunState("done", ("pretrain",), "pretrain", 500, 500, 2.5, 2.6, 4000.0, heartbeat=at, updated_at=at)
        run.write_state(state)


class StepClock:
    """Tells from the events of the run that trains how fast it goes; steps of before are left out."""

    def __init__(self, workspace: Path) -> None:
        self._tail = MetricsTail(RunDirectory(workspace / RUN).events_path)
        self._tail.read_new()
        self._times: list[float] = []

    def wait_for(
        self, steps: int, process: subprocess.Popen, terminal: PseudoTerminal | None = None, seconds: float = 300.0
    ) -> None:
        """Wait for so many steps of `process`, with an eye on its terminal where it has one.

        Raises:
            TimeoutError: they did not come.
        """
        deadline = time.monotonic() + seconds
        while len(self._times) < steps:
            if process.poll() is not None or time.monotonic() > deadline:
                raise TimeoutError(f"the training came to step {len(self._times)} only (exit code {process.poll()})")
            if terminal is not None:
                terminal.watch(0.05)
            else:
                time.sleep(0.05)
            self._read()

    def begin(self) -> None:
        """Count from here."""
        self._read()
        self._times = self._times[-1:]

    def steps_by_second(self) -> float:
        """From the beginning to now.

        Raises:
            TimeoutError: too few steps came to tell.
        """
        self._read()
        if len(self._times) < 2:
            raise TimeoutError("no whole step was made; measure for more --seconds")
        return (len(self._times) - 1) / (self._times[-1] - self._times[0])

    def _read(self) -> None:
        self._times += [record["at"] for record in self._tail.read_new() if record.get("event") == "StepFinished"]


class FakeRun:
    """A run of this process that announces steps and takes none: `with FakeRun(workspace, steps) as run:`."""

    def __init__(self, workspace: Path, steps: int) -> None:
        self._directory = create_run(workspace, "growing", "")
        self._directory.write_state(RunState("running", ("pretrain",), "pretrain", 0, steps, updated_at=time.time()))
        self._events = RecordWriter(self._directory.events_path)
        self._lock = RunLock(self._directory.path)
        self._steps, self._step = steps, 0

    def __enter__(self) -> Self:
        self._lock.__enter__()
        self._write(
            RunStarted(
                run=self._directory.name,
                directory=str(self._directory.path),
                stages=("pretrain",),
                device="cpu",
                precision="fp32",
                threads=2,
                resumed=False,
            )
        )
        self._write(
            StageStarted(
                stage="pretrain",
                kind="pretrain",
                step=0,
                steps=self._steps,
                parameters=29_000_000,
                trained_parameters=29_000_000,
                vocab_size=6400,
                tokens_per_step=2048,
                flops_per_token=1.7e8,
                micro_batch_size=8,
            )
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lock.__exit__(kind, error, trace)
        self._events.close()

    def go_on_to(self, percent: int) -> bytes:
        """Announce steps up to that share of all, no faster than a screen can follow; the last words said of them."""
        while self._step < self._steps * percent // 100:
            self._step += 1
            self._announce_step()
            if self._step % WRITTEN_AT_ONCE == 0:
                time.sleep(WRITING_PAUSE_SECONDS)
        words = f"announced-{percent}-percent"
        self._write(Warned(stage="pretrain", message=words))
        return words.encode()

    def _announce_step(self) -> None:
        step, loss = self._step, 2.0 + 6.0 / (1 + self._step / 500)
        self._write(
            StepFinished(
                stage="pretrain",
                step=step,
                steps=self._steps,
                tokens=step * 2048,
                seconds=step * 0.4,
                loss=loss + step % 7 / 50,
                learning_rate=3e-4,
                grad_norm=0.7 + step % 5 / 50,
                tokens_per_second=5000.0 + step % 100,
                mfu=0.4,
                memory_bytes=2**30,
                eta_seconds=(self._steps - step) * 0.4,
            )
        )
        if step % 200 == 0:
            self._write(
                Validated(
                    stage="pretrain",
                    step=step,
                    val_loss=loss,
                    val_perplexity=math.exp(loss),
                    val_bits_per_byte=loss / 2,
                    best=True,
                    seconds=0.5,
                )
            )
            text = " upon a time there was a model. " * 20
            self._write(SampleMade(stage="pretrain", step=step, prompt="Once", text=text, seed=1))

    def _write(self, event: Event) -> None:
        self._events.write(to_json(event))
