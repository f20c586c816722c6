"""Between the engine and the screens: jobs on threads of their own, their events in a queue, their state for widgets.

An engine announces facts from its own thread, as often as it likes; nothing of that touches a widget. The app drains
the queue a few times a second into a `RunState`, and screens draw what they find there.
"""

import gc
import logging
import os
import sys
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from workbench.control import Command, Control
from workbench.errors import WorkbenchError
from workbench.events import Emitter, Event, RunFailed, from_json
from workbench.runs.metrics import read_metrics
from workbench.runs.store import RunDirectory
from workbench.tui.run_state import RunState

if TYPE_CHECKING:
    from workbench.config import Profile

logger = logging.getLogger(__name__)
QUEUED_EVENTS = 20_000
WORK_NICENESS = 5
LOWEST_PRIORITY = 19


@dataclass(frozen=True)
class JobRequest:
    """What to run: a profile, or a run directory to go on with.

    Args:
        name: the run's name, where it is not the profile's.
        from_stage: the first stage to do again.
        resume: the run directory to resume; `profile` is then not needed.
        from_step: the checkpoint to go back to first, of `stage` or else of the stage at work.
        learning_rate: a new peak from there on.
    """

    profile: "Profile | None" = None
    name: str | None = None
    from_stage: str | None = None
    resume: Path | None = None
    from_step: int | None = None
    stage: str | None = None
    learning_rate: float | None = None

    @property
    def title(self) -> str:
        """What to call the run until the engine says its name."""
        if self.resume is not None:
            return self.resume.name
        return self.name or (self.profile.run.name if self.profile is not None else None) or "run"


class RunnableJob(Protocol):
    """What the bridge needs of `workbench.jobs.Job`; tests bring their own."""

    def run(self) -> object:
        """Do the work on the calling thread; failures the engine handles are announced as events."""


MakeJob = Callable[[JobRequest, Path, Emitter, Control], RunnableJob]


def make_job(request: JobRequest, workspace: Path, emitter: Emitter, control: Control) -> RunnableJob:
    """The real job. Imported here, on the job's own thread: this is what imports torch."""
    from workbench.jobs import Job, resume_job

    if request.resume is not None:
        if request.learning_rate is not None:
            control.request(Command("learning_rate", request.learning_rate))
        return resume_job(
            request.resume, from_step=request.from_step, stage=request.stage, emitter=emitter, control=control
        )
    assert request.profile is not None, "a request names a profile or a run to resume"
    return Job(
        request.profile,
        name=request.name,
        workspace=workspace,
        emitter=emitter,
        control=control,
        from_stage=request.from_stage,
    )


class WatchedRun(Protocol):
    """A run that the screens show and steer, whoever is doing its work."""

    state: RunState

    @property
    def ours(self) -> bool:
        """Whether this process does the work."""

    def drain(self) -> bool:
        """Take what was announced since the last call into `state`; True if there was something."""

    def pause(self) -> None:
        """Ask the engine to wait at the next step."""

    def resume(self) -> None:
        """Ask a paused engine to go on."""

    def stop(self) -> None:
        """Ask the engine to finish the step, save and end."""

    def request(self, command: Command) -> None:
        """Ask for a checkpoint, an evaluation, samples or another learning rate."""

    def close(self) -> None:
        """Stop looking; a job of ours works on."""


class JobRun:
    """A job at work on a thread of this process."""

    ours = True

    def __init__(self, request: JobRequest, workspace: Path, make: MakeJob = make_job) -> None:
        self.request_made = request
        self.state = RunState(request.title)
        self.control = Control()
        self.job: RunnableJob | None = None
        self.error: BaseException | None = None
        self._queue: deque[Event] = deque(maxlen=QUEUED_EVENTS)
        self._past: RunState | None = None
        self._thread = threading.Thread(target=self._work, args=(workspace, make), name="job", daemon=True)

    def start(self) -> None:
        """Begin; the job itself is made on the thread."""
        self._thread.start()

    @property
    def finished(self) -> bool:
        """Whether the thread is gone, and with it everything the job held."""
        return not self._thread.is_alive() and self._thread.ident is not None

    def join(self, timeout_seconds: float) -> bool:
        """Wait for the end of the thread; False where it is still at work."""
        self._thread.join(timeout_seconds)
        return not self._thread.is_alive()

    def drain(self) -> bool:
        """Take what was announced since the last call into `state`; True if there was something."""
        finished = self.finished  # looked at first: what the thread announced last is in the queue by now
        before = self.state.version
        self._take_up_past()
        while self._queue:
            event = self._queue.popleft()
            self._take_up_past()  # the thread set it before it announced anything
            self.state.apply(event)
        if finished and self.state.live:
            if self.error is not None:
                self.state.apply(RunFailed(run=self.state.name, message=str(self.error) or repr(self.error), log=""))
            else:
                self.state.end("stopped" if self.control.stop_requested else "done")
        return self.state.version != before

    def pause(self) -> None:
        """Ask the engine to wait at the next step."""
        self.control.pause()
        self.state.ask("pausing")

    def resume(self) -> None:
        """Ask a paused engine to go on."""
        self.control.resume()
        self.state.ask("continuing")

    def stop(self) -> None:
        """Ask the engine to finish the step, save and end."""
        self.control.stop()
        self.state.ask("stopping")

    def request(self, command: Command) -> None:
        """Ask for a checkpoint, an evaluation, samples or another learning rate."""
        self.control.request(command)

    def close(self) -> None:
        """Nothing: what this process does is watched as long as it is done."""

    def _take_up_past(self) -> None:
        if self._past is not None:
            self._past.version += self.state.version + 1
            self.state, self._past = self._past, None

    def _work(self, workspace: Path, make: MakeJob) -> None:
        emitter = Emitter()
        emitter.subscribe(self._queue.append)
        step_back()
        try:
            self._past = _past_of(self.request_made, workspace)
            self.job = make(self.request_made, workspace, emitter, self.control)
            freeze_garbage()  # torch has come in by now
            self.job.run()
        except WorkbenchError as error:
            self.error = error
        except BaseException as error:
            logger.exception("the job crashed")
            self.error = error


def step_back() -> None:
    """Let the screens' thread go first where processors are short; what this thread starts inherits it.

    Linux knows niceness by thread; elsewhere it would slow the screens down as well.
    """
    if sys.platform == "linux":
        thread = threading.get_native_id()
        with suppress(OSError):  # not every container allows it
            niceness = os.getpriority(os.PRIO_PROCESS, thread) + WORK_NICENESS
            os.setpriority(os.PRIO_PROCESS, thread, min(niceness, LOWEST_PRIORITY))


def freeze_garbage() -> None:
    """Take what is loaded out of garbage collection.

    With torch loaded a full collection stops every thread, the screens too, for more than a tenth of a second.
    """
    gc.collect()
    gc.freeze()


def _past_of(request: JobRequest, workspace: Path) -> RunState | None:
    """What an earlier start of the same run announced, so that its curves go on instead of beginning anew."""
    directory = request.resume or workspace / request.title
    history = [from_json(record) for record in read_metrics(RunDirectory(directory).events_path)]
    if not history:
        return None
    state = RunState(directory.name, directory)
    for event in history:
        if event is not None:
            state.apply(event)
    state.begin_again()
    return state


class Bridge:
    """The run this process does, and the run the screens show; often the same."""

    def __init__(self, workspace: Path, make: MakeJob = make_job) -> None:
        self.workspace = workspace
        self.active: JobRun | None = None
        self.shown: WatchedRun | None = None
        self._make = make

    @property
    def busy(self) -> bool:
        """Whether a job of this process is still at work."""
        return self.active is not None and not self.active.finished

    def start(self, request: JobRequest) -> JobRun:
        """Begin a job and show it.

        Raises:
            WorkbenchError: another job is at work.
        """
        if self.busy and self.active is not None:
            name = self.active.state.name
            raise WorkbenchError("a new run", f"cannot start while {name} is running here", f"stop {name} first")
        self.active = JobRun(request, self.workspace, self._make)
        self._show(self.active)
        self.active.start()
        return self.active

    def show(self, directory: Path) -> None:
        """Show the run of `directory`: our own job, or what its files tell of it."""
        from workbench.tui.follow import FollowedRun

        own = self.active.state.directory if self.active is not None and self.active.state.live else None
        if own is not None and own.resolve() == directory.resolve():
            self._show(self.active)
        else:
            self._show(FollowedRun(directory))

    def drain(self) -> bool:
        """Take in what all watched runs announced; True if there was something."""
        runs: list[WatchedRun] = [run for run in (self.active,) if run is not None]
        if self.shown is not None and self.shown is not self.active:
            runs.append(self.shown)
        changes = [run.drain() for run in runs]
        return any(changes)

    def close(self, timeout_seconds: float) -> bool:
        """Ask our job to stop and wait for it; False where it is still at work after the time."""
        self._show(None)
        if self.active is None or self.active.finished:
            return True
        self.active.stop()
        return self.active.join(timeout_seconds)

    def _show(self, run: WatchedRun | None) -> None:
        if self.shown is not None and self.shown is not run:
            self.shown.close()
        self.shown = run
