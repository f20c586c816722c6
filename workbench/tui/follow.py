"""A run that another process does, seen through its files and steered through its command file."""

import threading
import time
from collections import deque
from pathlib import Path

from workbench.control import Command
from workbench.events import Event, from_json
from workbench.language import mark, tr
from workbench.narration import Line
from workbench.runs.liveness import CommandFile, is_alive
from workbench.runs.metrics import MetricsTail
from workbench.runs.store import RunDirectory
from workbench.tui.run_state import RunState, Status

POLL_SECONDS = 0.25


class FollowedRun:
    """A run directory, read on a thread of its own as it grows; finished runs are read once."""

    ours = False

    def __init__(self, directory: Path) -> None:
        self.directory = RunDirectory(directory)
        self.state = RunState(directory.name, directory)
        self._alive = True  # until the reader has looked
        self._queue: deque[Event] = deque()
        self._past: RunState | None = None
        self._caught_up = False
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._read, name=f"follow {directory.name}", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop reading."""
        self._closed.set()

    def drain(self) -> bool:
        """Take what was read since the last call into `state`; True if there was something."""
        alive, before = self._alive, self.state.version
        if self._past is not None:
            self._past.version += before + 1
            self.state, self._past, self._caught_up = self._past, None, True
        while self._queue:
            self.state.apply(self._queue.popleft())
        if self._caught_up and not alive and self.state.live:
            self._settle()
        return self.state.version != before

    def pause(self) -> None:
        """Ask the engine to wait at the next step."""
        self._wish("pause")
        self.state.ask("pausing")

    def resume(self) -> None:
        """Ask a paused engine to go on."""
        self._wish("resume")
        self.state.ask("continuing")

    def stop(self) -> None:
        """Ask the engine to finish the step, save and end."""
        self._wish("stop")
        self.state.ask("stopping")

    def request(self, command: Command) -> None:
        """Ask for a checkpoint, an evaluation, samples or another learning rate."""
        self._wish(command.name, command.value)

    def _wish(self, name: str, value: float | None = None) -> None:
        CommandFile(self.directory.path).append(name, value)

    def _settle(self) -> None:
        """Nobody is at work and the events tell no end: what state.json says, or that the process was lost."""
        recorded = self.directory.state()
        ends: dict[str, Status] = {"done": "done", "failed": "failed", "stopped": "stopped"}
        status = ends.get(recorded.status, "interrupted")
        if status == "interrupted":
            self.state.note(self._last_words())
        self.state.end(status, recorded.message)

    def _last_words(self) -> Line:
        """What a log tells of a process that went away without a word, and what to do."""
        checkpoints = [stage.newest_checkpoint() for stage in self.directory.stages()]
        newest = next((each for each in reversed(checkpoints) if each is not None), None)
        if newest is not None:
            text = tr("the process is gone; r goes on from step {step:,}", step=newest.step)
        else:
            text = tr("the process is gone; r goes on from the start")
        return Line(self.state.heard_at or time.time(), mark("run"), text, "warning")

    def _read(self) -> None:
        tail = MetricsTail(self.directory.events_path)
        past = RunState(self.directory.name, self.directory.path)
        for event in _events(tail):  # here, as a long history takes seconds
            past.apply(event)
        self._past = past
        while not self._closed.wait(POLL_SECONDS):
            alive = is_alive(self.directory.path)
            self._queue.extend(_events(tail))
            self._alive = alive  # last: what was written while the process lived is in the queue by then


def _events(tail: MetricsTail) -> list[Event]:
    known = (from_json(record) for record in tail.read_new())
    return [event for event in known if event is not None]
