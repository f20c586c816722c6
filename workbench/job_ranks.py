"""Several processes that do one run: how they meet, and that what ends one of them ends all, told once.

torchrun starts them and says by its variables who is who. They talk by gloo, whatever they compute on; beside that, a
store that outlives a connection keeps the first failure.
"""

import contextlib
import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any

import psutil
import torch.distributed as dist
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

from workbench.config import Profile
from workbench.errors import DeviceError, UsageError, WorkbenchError
from workbench.runs.store import RunDirectory
from workbench.training.ranks import Ranks

MEETING_TIME = timedelta(minutes=10)
PATIENCE = timedelta(days=7)  # one rank tokenises and scores while the others wait
TELLING_SECONDS = 20.0  # for rank 0 to tell what ended another rank; later that one tells it itself
LEAVING_SECONDS = 5.0  # a GPU's connections may hang where a process was lost
HEARING_SECONDS = 3.0  # for the others to hear that rank 0 tells it; one that is gone never will
SHARED_DISK_SECONDS = 60.0  # until a disk in the network must show what another machine wrote
_OF_CONNECTIONS = ("gloo", "nccl", "connection", "broken pipe", "timed out", "socket")


@dataclass(frozen=True)
class Failure:
    """What ended a rank, for the others."""

    rank: int
    where: str
    problem: str
    remedy: str
    exit_code: int

    @property
    def error(self) -> WorkbenchError:
        """It as an error, with the exit code that it has there."""
        kinds = {kind.exit_code: kind for kind in (WorkbenchError, UsageError, DeviceError)}
        return kinds[self.exit_code](self.where, self.problem, self.remedy)


class Meeting:
    """The processes of one run; without arguments this one alone.

    Args:
        store: what all of them see until the last has ended.
    """

    def __init__(self, ranks: Ranks | None = None, store: Any = None) -> None:
        self.ranks, self._store = ranks or Ranks(), store

    def cause(self, error: BaseException) -> WorkbenchError | None:
        """What ended another rank, where `error` comes of that; None where it is this rank's own."""
        if self.ranks.alone or isinstance(error, WorkbenchError) or not _of_connection(error):
            return None
        first = self._first()
        if first is not None:
            return None if first.rank == self.ranks.rank else first.error
        problem = "another process is gone: it was killed, or its machine is no longer reached"
        return WorkbenchError("run", problem, "start it again: it goes on from its last checkpoint")

    def end(self) -> None:
        """All is done: leave together."""
        self.ranks.led(lambda: None)
        self._leave()

    def end_with(self, error: Exception) -> Exception:
        """Put on record what ended this rank and leave; what to raise then.

        Raises:
            SystemExit: another rank tells it, rank 0 if it can.
        """
        told = self.cause(error) or error
        self._record(told)
        _hang_up()
        self._leave()
        own = told.exit_code if isinstance(told, WorkbenchError) else WorkbenchError.exit_code
        if not self.ranks.leads:
            self._await_telling()
        exit_code = self._say(own)
        if exit_code is not None:
            raise SystemExit(exit_code)
        return told

    def _record(self, error: Exception) -> None:
        where, problem, remedy, code = "run", f"{type(error).__name__}: {error}", "", WorkbenchError.exit_code
        if isinstance(error, WorkbenchError):
            where, problem, remedy, code = error.where, error.problem, error.remedy, error.exit_code
        failure = Failure(self.ranks.rank, f"{_name(self.ranks)}: {where}", problem, remedy, code)
        with contextlib.suppress(RuntimeError):  # the store is gone with rank 0
            self._store.compare_set("failure", "", json.dumps(asdict(failure)))

    def _first(self) -> Failure | None:
        with contextlib.suppress(RuntimeError):
            if self._store.check(["failure"]):
                return Failure(**json.loads(self._store.get("failure")))
        return None

    def _await_telling(self) -> None:
        """Give rank 0 the time to tell what happened."""
        deadline = time.monotonic() + TELLING_SECONDS
        with contextlib.suppress(RuntimeError):
            while time.monotonic() < deadline and not self._store.check(["told"]):
                time.sleep(0.05)

    def _say(self, exit_code: int) -> int | None:
        """Take on telling it; the exit code to end with in silence where another rank has."""
        with contextlib.suppress(RuntimeError):
            own = f"{self.ranks.rank} {exit_code}"
            teller, _, code = self._store.compare_set("told", "", own).decode().partition(" ")
            if int(teller) != self.ranks.rank:
                self._store.add("heard", 1)
                time.sleep(0.5)  # torchrun ends the others with the first that ends, and that one has a word to say
                return int(code)
            # the store may end with this process
            deadline = time.monotonic() + HEARING_SECONDS
            while time.monotonic() < deadline and self._store.add("heard", 0) < self.ranks.count - 1:
                time.sleep(0.05)
        return None

    def _leave(self) -> None:
        """End the group; without waiting long for what may hang."""
        leaving = threading.Thread(target=_destroy, daemon=True)
        leaving.start()
        leaving.join(LEAVING_SECONDS)


@contextlib.contextmanager
def together() -> Iterator[Meeting]:
    """Inside, all processes that torchrun started do one run; without its variables they cannot meet.

    Raises:
        SystemExit: another rank tells the error that ended all, with its exit code.
    """
    meeting = _meet()
    try:
        yield meeting
        meeting.end()
    except Exception as error:
        told = meeting.end_with(error)
        if told is error:
            raise
        raise told from error


def check_ranks(profile: Profile, ranks: Ranks) -> None:
    """Refuse what several ranks cannot do, all of it in one message.

    Raises:
        UsageError: with what to do instead.
    """
    if ranks.alone:
        return
    problems, sharded = [], profile.run.parallel == "fsdp"
    for stage in profile.stage:
        key = f"stage.{stage.name}.batch_size: {stage.batch_size}"
        if stage.batch_size < ranks.count:
            problems.append(f"{key} is less than a row for each of {ranks.count} processes; raise it, or start fewer")
        elif sharded and stage.batch_size % ranks.count:
            problems.append(f"{key} does not divide among {ranks.count} processes, as 'fsdp' needs; or use 'ddp'")
        if sharded and stage.optimizer.state != "fp32":
            state = f"stage.{stage.name}.optimizer.state: {stage.optimizer.state!r}"
            problems.append(f"{state} rounds whole tensors, of which 'fsdp' leaves each process a part; use 'fp32'")
    if sharded and profile.run.compile is True:
        problems.append("run.compile: true does not go with 'fsdp', whose gathering is not compiled; leave it out")
    if profile.run.device == "mps":
        problems.append("run.device: 'mps' is a single device; start one process, or use 'cpu'")
    if problems:
        listed = problems[0] if len(problems) == 1 else "".join(f"\n  - {problem}" for problem in problems)
        raise UsageError(f"run.parallel on {ranks.count} processes", listed)


def await_folder(run: RunDirectory, ranks: Ranks) -> None:
    """Wait until the run's folder, which rank 0 made, is seen here.

    Raises:
        UsageError: it is not.
    """
    deadline = time.monotonic() + SHARED_DISK_SECONDS
    while not run.profile_path.is_file():
        if time.monotonic() > deadline:
            remedy = "put --workspace on a disk that all machines share"
            raise UsageError(_name(ranks), f"does not see {run.path}", remedy)
        time.sleep(0.5)


def _meet() -> Meeting:
    env = os.environ
    try:
        store, rank, count = next(iter(rendezvous("env://", timeout=MEETING_TIME)))
        dist.init_process_group(
            "gloo", store=PrefixStore("ranks", store), rank=rank, world_size=count, timeout=PATIENCE
        )
    except (ValueError, RuntimeError, OSError) as error:
        raise WorkbenchError("torchrun", f"the processes do not meet: {error}", "see docs/distributed.md") from error
    local_rank, local_count = int(env.get("LOCAL_RANK", rank)), int(env.get("LOCAL_WORLD_SIZE", count))
    return Meeting(Ranks(rank, count, local_rank, local_count), PrefixStore("run", store))


def _hang_up() -> None:
    """End this process's connections to the others, but for the store, so that nobody waits for it.

    A group that is destroyed keeps them open as long as something refers to it.
    """
    store = int(os.environ.get("MASTER_PORT", "0"))
    with contextlib.suppress(psutil.Error, OSError):
        for each in psutil.Process().net_connections("tcp"):
            if each.status == psutil.CONN_ESTABLISHED and store not in (each.laddr.port, each.raddr.port):
                with contextlib.suppress(OSError), socket.socket(fileno=os.dup(each.fd)) as connection:
                    connection.shutdown(socket.SHUT_RDWR)


def _destroy() -> None:
    with contextlib.suppress(Exception):  # nothing is left to be said to the others
        dist.destroy_process_group()


def _name(ranks: Ranks) -> str:
    host = f" on {socket.gethostname()}" if ranks.local_count < ranks.count else ""
    return f"rank {ranks.rank}{host}"


def _of_connection(error: BaseException) -> bool:
    text = str(error).lower()
    return isinstance(error, dist.DistError) or (
        isinstance(error, RuntimeError) and any(word in text for word in _OF_CONNECTIONS)
    )
