"""Who is at work on a run: one writer at a time, its heartbeat, and wishes from other processes."""

import contextlib
import dataclasses
import json
import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast

import psutil

from workbench.atomic import write_atomically
from workbench.control import COMMAND_NAMES, MAX_LEARNING_RATE, Command, CommandName, Control
from workbench.errors import RunError

try:
    import fcntl
except ImportError:  # Windows has no flock
    fcntl = None  # type: ignore[assignment]

logger = logging.getLogger(__name__)

HEARTBEAT_SECONDS = 5.0
# Another host's clock and a busy network disk may both lag.
_FRESH_SECONDS = 60.0
# Of the same process at two readings: the system clock may have been set in between.
_CREATE_TIME_TOLERANCE_SECONDS = 5.0

_LOCK_NAME = "lock"
_COMMANDS_NAME = "commands.jsonl"
_SIMPLE_WISHES = ("pause", "resume", "stop")


@dataclass(frozen=True)
class Holder:
    """The process that holds a run's lock.

    Args:
        process_created_at: tells a process from a later one that got the same number.
        heartbeat: when it last gave a sign of life; both in seconds since the epoch.
    """

    pid: int
    host: str
    process_created_at: float
    heartbeat: float

    @property
    def here(self) -> bool:
        """It runs (or ran) on this machine."""
        return self.host == socket.gethostname()

    @property
    def alive(self) -> bool:
        """It still runs; of another machine its fresh heartbeat is the only witness."""
        if not self.here:
            return time.time() - self.heartbeat < _FRESH_SECONDS
        try:
            process = psutil.Process(self.pid)
            same = abs(process.create_time() - self.process_created_at) < _CREATE_TIME_TOLERANCE_SECONDS
            return same and process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False
        except psutil.AccessDenied:
            return True  # somebody else's process, but it is there


def read_holder(run_directory: Path) -> Holder | None:
    """Who holds the run's lock, dead or alive; None where nobody does or the file is damaged."""
    try:
        values = json.loads((run_directory / _LOCK_NAME).read_text(encoding="utf-8"))
        return Holder(
            pid=int(values["pid"]),
            host=str(values["host"]),
            process_created_at=float(values["process_created_at"]),
            heartbeat=float(values["heartbeat"]),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def is_alive(run_directory: Path) -> bool:
    """True while a process is at work on the run."""
    holder = read_holder(run_directory)
    return holder is not None and holder.alive


class RunLock:
    """One writer at a time: `with RunLock(directory):` raises RunError while another process is at work.

    The lock of a process of this host that is gone is taken over; another host's never is.
    """

    def __init__(self, run_directory: Path) -> None:
        self._directory = run_directory
        self._path = run_directory / _LOCK_NAME
        self._created_at = psutil.Process().create_time()

    def __enter__(self) -> Self:
        with _alone_in(self._directory):
            holder = read_holder(self._directory)
            if holder is not None and (holder.alive or not holder.here):
                raise _held(self._directory, holder)
            self._write()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # A directory that was moved away or deleted took its lock along.
        with contextlib.suppress(FileNotFoundError), _alone_in(self._directory):
            if self.mine:
                self._path.unlink(missing_ok=True)

    @property
    def mine(self) -> bool:
        """The lock on the disk is this process's."""
        holder = read_holder(self._directory)
        return holder is not None and holder.here and holder.pid == os.getpid() and holder.alive

    def beat(self) -> None:
        """Give a sign of life; a lock that somebody took by force is left alone."""
        with _alone_in(self._directory):
            if self.mine or not self._path.exists():
                self._write()
            else:
                logger.error("%s: the lock was taken by another process", self._path)

    def _write(self) -> None:
        holder = Holder(os.getpid(), socket.gethostname(), self._created_at, time.time())
        write_atomically(self._path, json.dumps(dataclasses.asdict(holder)) + "\n")


class Heartbeat:
    """A thread that beats for a lock: `with RunLock(directory) as lock, Heartbeat(lock):`."""

    def __init__(self, lock: RunLock, interval_seconds: float = HEARTBEAT_SECONDS) -> None:
        self._lock = lock
        self._interval = interval_seconds
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="run-heartbeat", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()

    def _beat(self) -> None:
        while not self._ended.wait(self._interval):
            try:
                self._lock.beat()
            except OSError:  # a full or absent disk: the run itself will say so where it matters
                logger.exception("no heartbeat")


class CommandFile:
    """commands.jsonl: other processes append wishes, the run reads the new ones at step boundaries.

    Wishes that stand there when this is made are of an earlier time and never carried out.
    """

    def __init__(self, run_directory: Path) -> None:
        self._path = run_directory / _COMMANDS_NAME
        self._read_up_to = self._size()

    def append(self, command: str, value: float | None = None) -> None:
        """Wish for `command`: pause, resume, stop, or one of control.COMMAND_NAMES.

        Raises:
            RunError: no such command, or a value that does not fit.
        """
        record: dict[str, Any] = {"command": command, **({} if value is None else {"value": value})}
        problem = _problem(record)
        if problem:
            raise RunError(command, problem)
        # One write of a whole line to a file opened for appending does not mix with another's.
        with self._path.open("ab", buffering=0) as file:
            file.write(json.dumps(record).encode("utf-8") + b"\n")

    def read_new(self, control: Control, on_malformed: Callable[[str], None]) -> None:
        """Hand new wishes to `control`; costs one look at the file's size where there are none.

        Args:
            on_malformed: told about each line that is no wish.
        """
        size = self._size()
        if size < self._read_up_to:
            self._read_up_to = 0  # somebody emptied the file and wrote anew
        if size == self._read_up_to:
            return
        with self._path.open("rb") as file:
            file.seek(self._read_up_to)
            content = file.read()
        whole = content[: content.rfind(b"\n") + 1]
        self._read_up_to += len(whole)
        for line in whole.splitlines():
            _carry_out(line, control, on_malformed)

    def _size(self) -> int:
        try:
            return self._path.stat().st_size
        except FileNotFoundError:
            return 0


def _carry_out(line: bytes, control: Control, on_malformed: Callable[[str], None]) -> None:
    try:
        record = json.loads(line)
    except ValueError:
        record = None
    problem = _problem(record)
    if problem:
        on_malformed(f"{_COMMANDS_NAME}: {problem}: {line[:80].decode('utf-8', 'replace')}; the line is skipped")
    elif record["command"] in _SIMPLE_WISHES:
        {"pause": control.pause, "resume": control.resume, "stop": control.stop}[record["command"]]()
    else:
        control.request(Command(cast(CommandName, record["command"]), record.get("value")))


def _problem(record: object) -> str:
    """What is wrong with a wish; empty when nothing is."""
    if not isinstance(record, dict):
        return "not a JSON object"
    command, value = record.get("command"), record.get("value")
    if command not in (*_SIMPLE_WISHES, *COMMAND_NAMES):
        return f"unknown command {command!r}"
    if command != "learning_rate":
        return f"{command} takes no value" if value is not None else ""
    fits = isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= MAX_LEARNING_RATE
    return "" if fits else f"learning_rate needs a number above 0, at most {MAX_LEARNING_RATE:g}"


def _held(run_directory: Path, holder: Holder) -> RunError:
    seconds = max(0.0, time.time() - holder.heartbeat)
    problem = f"process {holder.pid} on {holder.host} is at work on it (last sign of life {seconds:.0f} s ago)"
    if holder.here:
        return RunError(str(run_directory), problem, "stop that one first, or choose another --name")
    remedy = f"if that machine no longer works on it, delete {run_directory / _LOCK_NAME}"
    return RunError(str(run_directory), problem, remedy)


@contextlib.contextmanager
def _alone_in(directory: Path) -> Iterator[None]:
    """Keep two processes of this host from taking over the same stale lock; where flock is missing, go on without."""
    if fcntl is None:
        yield
        return
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # network disks may know no flock
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
