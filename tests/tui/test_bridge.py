"""Jobs on threads of their own, and runs of other processes."""

import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from workbench.control import Command, Control
from workbench.errors import ProfileError, WorkbenchError
from workbench.events import Emitter, Event, StepFinished, to_json
from workbench.runs.liveness import CommandFile, RunLock
from workbench.runs.metrics import RecordWriter
from workbench.runs.store import RunDirectory, RunState, create_run
from workbench.tui.app import WorkbenchApp
from workbench.tui.bridge import LOWEST_PRIORITY, WORK_NICENESS, Bridge, JobRequest, RunnableJob
from workbench.tui.follow import FollowedRun

Beginning = Callable[..., list[Event]]


def drain_until(bridge: Bridge | FollowedRun, condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "the condition never came true"
        bridge.drain()
        time.sleep(0.005)


def test_a_job_is_made_and_run_on_its_own_thread(tmp_path: Path) -> None:
    threads: list[threading.Thread] = []

    class Job:
        def run(self) -> None:
            threads.append(threading.current_thread())

    def make(request: JobRequest, workspace: Path, emitter: Emitter, control: Control) -> RunnableJob:
        threads.append(threading.current_thread())
        return Job()

    bridge = Bridge(tmp_path, make)
    run = bridge.start(JobRequest(name="tiny"))
    drain_until(bridge, lambda: not run.state.live)
    assert threads[0] is threads[1] is not threading.main_thread()
    assert run.state.status == "done"


@pytest.mark.skipif(sys.platform != "linux", reason="niceness by thread is Linux's")
def test_the_screens_go_before_the_job(tmp_path: Path) -> None:
    niceness: list[int] = []

    class Job:
        def run(self) -> None:
            niceness.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))

    bridge = Bridge(tmp_path, lambda *_: Job())
    run = bridge.start(JobRequest(name="tiny"))
    drain_until(bridge, lambda: not run.state.live)
    here = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    assert niceness == [min(here + WORK_NICENESS, LOWEST_PRIORITY)]


@pytest.mark.parametrize("error", [ProfileError("x.toml", ["bad"]), RuntimeError("boom"), MemoryError(), SystemExit(3)])
def test_a_job_that_raises_fails_and_nothing_else_happens(
    workbench: Callable[..., WorkbenchApp], request_of_tiny: JobRequest, error: BaseException
) -> None:
    bridge = workbench(error=error).bridge
    run = bridge.start(request_of_tiny)
    drain_until(bridge, lambda: not run.state.live)
    assert (run.state.status, run.error) == ("failed", error)


def test_only_one_job_at_a_time(workbench: Callable[..., WorkbenchApp], request_of_tiny: JobRequest) -> None:
    bridge = workbench().bridge
    bridge.start(request_of_tiny)
    with pytest.raises(WorkbenchError, match="cannot start while tiny is running here"):
        bridge.start(request_of_tiny)


def test_pause_is_a_wish_until_the_engine_says_so(
    workbench: Callable[..., WorkbenchApp], request_of_tiny: JobRequest, run_beginning: Beginning
) -> None:
    bridge = workbench(run_beginning()).bridge
    run = bridge.start(request_of_tiny)
    drain_until(bridge, lambda: run.state.status == "running")
    run.pause()
    assert run.state.shown_status == "pausing…"
    drain_until(bridge, lambda: run.state.shown_status == "paused")
    run.resume()
    assert run.state.shown_status == "continuing…"
    drain_until(bridge, lambda: run.state.shown_status == "running")
    run.stop()
    drain_until(bridge, lambda: run.state.shown_status == "stopped")


def test_closing_waits_for_the_end_of_the_job(
    workbench: Callable[..., WorkbenchApp], request_of_tiny: JobRequest, run_beginning: Beginning
) -> None:
    bridge = workbench(run_beginning()).bridge
    run = bridge.start(request_of_tiny)
    assert bridge.close(5.0)
    assert run.finished and not bridge.busy


def write_events(run: RunDirectory, history: list[Event]) -> None:
    with RecordWriter(run.events_path) as writer:
        for event in history:
            writer.write(to_json(event))


@pytest.fixture
def foreign_run(tmp_path: Path, run_beginning: Beginning, make_step: Callable[..., StepFinished]) -> RunDirectory:
    run = create_run(tmp_path, "foreign", "")
    write_events(run, [*run_beginning(str(run.path)), *(make_step(number) for number in range(1, 6))])
    return run


def test_a_run_of_another_process_is_seen_as_it_grows(
    foreign_run: RunDirectory, make_step: Callable[..., StepFinished]
) -> None:
    with RunLock(foreign_run.path):
        followed = FollowedRun(foreign_run.path)
        stage = lambda: followed.state.stage  # noqa: E731
        drain_until(followed, lambda: stage() is not None and stage().step == 5)  # type: ignore[union-attr]
        write_events(foreign_run, [make_step(6)])
        drain_until(followed, lambda: stage().step == 6)  # type: ignore[union-attr]
        assert followed.state.status == "running"
        followed.close()


def test_wishes_reach_another_process_through_its_command_file(foreign_run: RunDirectory) -> None:
    reader, control = CommandFile(foreign_run.path), Control()
    with RunLock(foreign_run.path):
        followed = FollowedRun(foreign_run.path)
        followed.pause()
        followed.request(Command("checkpoint"))
        reader.read_new(control, pytest.fail)
        assert control.pause_requested
        assert control.take_commands() == [Command("checkpoint")]
        assert followed.state.wish == "pausing"
        followed.close()


@pytest.mark.parametrize(
    ("recorded", "shown"), [("stopped", "stopped"), ("failed", "failed"), ("running", "interrupted")]
)
def test_a_run_nobody_works_on_is_shown_as_it_ended(foreign_run: RunDirectory, recorded: str, shown: str) -> None:
    foreign_run.write_state(RunState(status=recorded, message="why"))  # type: ignore[arg-type]
    followed = FollowedRun(foreign_run.path)
    drain_until(followed, lambda: not followed.state.live)
    assert followed.state.status == shown
    told = [line.text for line in followed.state.highlights if "r goes on" in line.text]
    assert told == (["the process is gone; r goes on from the start"] if shown == "interrupted" else [])
    assert followed.state.stage is not None and followed.state.stage.step == 5
    followed.close()


def test_our_own_run_is_not_followed_through_its_files(
    workbench: Callable[..., WorkbenchApp], request_of_tiny: JobRequest, run_beginning: Beginning, tmp_path: Path
) -> None:
    bridge = workbench(run_beginning(str(tmp_path / "tiny"))).bridge
    run = bridge.start(request_of_tiny)
    drain_until(bridge, lambda: run.state.status == "running")
    bridge.show(tmp_path / "elsewhere")
    assert bridge.shown is not run
    bridge.show(tmp_path / "tiny")
    assert bridge.shown is run


def test_a_resumed_job_goes_on_with_the_curves_it_had(
    workbench: Callable[..., WorkbenchApp],
    foreign_run: RunDirectory,
    run_beginning: Beginning,
    make_step: Callable[..., StepFinished],
) -> None:
    bridge = workbench([*run_beginning(str(foreign_run.path))[:1], make_step(6)]).bridge
    run = bridge.start(JobRequest(resume=foreign_run.path))
    drain_until(bridge, lambda: run.state.stage is not None and run.state.stage.step == 6)
    assert run.state.stage is not None
    assert [bucket.last_x for bucket in run.state.stage.train_loss.buckets] == [1, 2, 3, 4, 5, 6]
    assert run.state.status == "running"
