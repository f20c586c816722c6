"""What tests of the screens share: an app over an empty workspace, and jobs that announce events and do no work."""

import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from workbench import events
from workbench.config import Profile
from workbench.control import Control
from workbench.events import Emitter, Event
from workbench.tui.app import WorkbenchApp
from workbench.tui.bridge import JobRequest


class FakeJob:
    """Announces the given events, then waits between steps until it is stopped; pauses and commands are obeyed."""

    def __init__(
        self, script: Iterable[Event], emitter: Emitter, control: Control, error: BaseException | None
    ) -> None:
        self.script, self.emitter, self.control, self.error = script, emitter, control, error
        self.commands: list[str] = []
        self.announced = threading.Event()

    def run(self) -> None:
        """Play the script and then go on until somebody stops it."""
        for event in self.script:
            self.emitter.emit(event)
        self.announced.set()
        if self.error is not None:
            raise self.error
        paused = False
        while not self.control.stop_requested:
            self.commands += [command.name for command in self.control.take_commands()]
            if self.control.pause_requested != paused:
                paused = self.control.pause_requested
                kind = events.Paused if paused else events.Resumed
                self.emitter.emit(kind(stage="pretrain", step=10))
            self.announced.wait(0)
            threading.Event().wait(0.005)
        self.emitter.emit(events.RunStopped(run="tiny", stage="pretrain", step=10))


def step(number: int, loss: float = 3.0, stage: str = "pretrain", steps: int = 100) -> events.StepFinished:
    """A step as an engine announces it."""
    return events.StepFinished(
        stage=stage,
        step=number,
        steps=steps,
        tokens=number * 2048,
        seconds=number * 0.5,
        loss=loss,
        learning_rate=3e-4,
        grad_norm=0.7,
        tokens_per_second=4100.0,
        mfu=0.38,
        memory_bytes=3 * 2**30,
        eta_seconds=(steps - number) * 0.5,
    )


def beginning(directory: str = "runs/tiny") -> list[Event]:
    """The events with which a run begins."""
    return [
        events.RunStarted(
            run="tiny",
            directory=directory,
            stages=("pretrain", "sft"),
            device="cpu",
            precision="bf16",
            threads=2,
            resumed=False,
        ),
        events.TokenizerReady(kind="bpe", vocab_size=2048, bytes_per_token=3.4, seconds=2.0),
        events.StageStarted(
            stage="pretrain",
            kind="pretrain",
            step=0,
            steps=100,
            parameters=29_900_000,
            trained_parameters=29_900_000,
            vocab_size=2048,
            tokens_per_step=2048,
            flops_per_token=1e8,
            micro_batch_size=8,
        ),
    ]


@pytest.fixture
def make_step() -> Callable[..., events.StepFinished]:
    """Makes a step event."""
    return step


@pytest.fixture
def run_beginning() -> Callable[..., list[Event]]:
    """Makes the events with which a run begins."""
    return beginning


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the tests out of the person's own folders and colours."""
    monkeypatch.setenv("LLM_WORKBENCH_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("TEXTUAL_THEME", raising=False)
    monkeypatch.delenv("NO_COLOR", raising=False)


@pytest.fixture
def workbench(tmp_path: Path) -> Iterable[Callable[..., WorkbenchApp]]:
    """Makes an app over an empty workspace; its jobs announce `script` and then run until they are stopped."""
    apps: list[WorkbenchApp] = []

    def make(script: Iterable[Event] = (), error: BaseException | None = None) -> WorkbenchApp:
        def make_job(request: JobRequest, workspace: Path, emitter: Emitter, control: Control) -> FakeJob:
            return FakeJob(script, emitter, control, error)

        workspace = tmp_path / "runs"
        workspace.mkdir(exist_ok=True)
        apps.append(WorkbenchApp(workspace, make_job))
        return apps[-1]

    yield make
    for app in apps:
        assert app.bridge.close(5.0), "a fake job did not stop"


@pytest.fixture
def request_of_tiny() -> JobRequest:
    """A request for a run named tiny; what its profile says does not matter to a fake job."""
    return JobRequest(profile=Profile.model_construct(), name="tiny")


@pytest.fixture
def screen_text() -> Callable[[WorkbenchApp], str]:
    """Reads the characters on the screen."""

    def read(app: WorkbenchApp) -> str:
        strips: Any = app.screen._compositor.render_strips(app.screen.size)
        return "\n".join("".join(segment.text for segment in strip).rstrip() for strip in strips)

    return read


@pytest.fixture
def wait_until() -> Callable[..., Any]:
    """Waits for a condition while the app goes on; gives up after two minutes, as a busy machine may be that slow."""

    async def wait(pilot: Any, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 120
        while not condition():
            assert time.monotonic() < deadline, "the condition never came true"
            await pilot.pause(0.02)

    return wait
