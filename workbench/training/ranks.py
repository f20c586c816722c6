"""The processes of one run, a device each: what they decide together, and who goes first.

All go through the same code. What follows from the same numbers is computed by each; what depends on a clock, a disk or
a person is decided by rank 0 and told to the others. Methods wait for every rank: all must call them in the same order.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from workbench.control import Command, Control
from workbench.data.loader import Batch

T = TypeVar("T")


@dataclass(frozen=True)
class Wishes:
    """What all ranks do at a step boundary.

    Args:
        commands: to be carried out, oldest first.
        checkpoint: rank 0 wants one by its clock.
    """

    stop: bool
    pause: bool
    commands: list[Command]
    checkpoint: bool


@dataclass(frozen=True)
class Ranks:
    """Which of how many processes this one is; without arguments the only one, and every method costs nothing.

    Args:
        rank: among all; rank 0 leads: it alone writes and speaks.
        count: of all processes, over all machines.
        local_rank, local_count: among those on this machine.
    """

    rank: int = 0
    count: int = 1
    local_rank: int = 0
    local_count: int = 1

    @property
    def leads(self) -> bool:
        """Whether this is rank 0."""
        return self.rank == 0

    @property
    def alone(self) -> bool:
        """Whether there is no other."""
        return self.count == 1

    def led(self, work: Callable[[], T]) -> T:
        """What rank 0 makes of `work`, at every rank; the others wait for it, however long it takes."""
        if self.alone:
            return work()
        made: list[Any] = [work() if self.leads else None]
        dist.broadcast_object_list(made, src=0)
        return made[0]

    def led_alone(self, work: Callable[[], T]) -> T | None:
        """What rank 0 makes of `work`, which stays there; the others wait, and get None."""
        made = work() if self.leads else None
        self.led(lambda: None)
        return made

    def in_turn(self, work: Callable[[], T | None]) -> T | None:
        """What each rank makes of `work`: rank 0 first, the others when it is done; None everywhere if it has None."""
        made = work() if self.leads else None
        if self.led(lambda: made is None):
            return None
        return made if self.leads else work()

    def any(self, wish: bool) -> bool:
        """Whether one of the ranks wishes it."""
        return wish if self.alone else bool(_largest([wish])[0])

    def summed(self, numbers: Sequence[float]) -> list[float]:
        """Each number added up over the ranks, in float64."""
        if self.alone:
            return list(numbers)
        totals = torch.tensor(numbers, dtype=torch.float64)
        dist.all_reduce(totals)
        return totals.tolist()

    def collected(self, own: T) -> list[T]:
        """What every rank has, by rank."""
        if self.alone:
            return [own]
        found: list[Any] = [None] * self.count
        dist.all_gather_object(found, own)
        return found

    def part(self, batch: Batch) -> Batch:
        """This rank's units of a step's batch: as many as the others have, or one less."""
        first, behind = (batch.units * rank // self.count for rank in (self.rank, self.rank + 1))
        return batch if self.alone else batch.part(first, behind)

    def most_parts(self, units: int, size: int) -> int:
        """Into how many micro-batches of at most `size` a step is cut by the rank that has the most of it."""
        largest = -(-units // self.count)
        return -(-largest // size)

    def share_wishes(self, control: Control, checkpoint: bool) -> Wishes:
        """The wishes of rank 0, and a stop that any rank was told of.

        Args:
            checkpoint: whether the clock here says that one is due.
        """
        commands = control.take_commands()
        if self.alone:
            return Wishes(control.stop_requested, control.pause_requested, commands, checkpoint)
        own = [control.pause_requested, len(commands), checkpoint] if self.leads else [0, 0, 0]
        stop, pause, waiting, due = _largest([control.stop_requested, *own])
        return Wishes(bool(stop), bool(pause), self.led(lambda: commands) if waiting else [], bool(due))


def _largest(numbers: Sequence[int]) -> list[int]:
    told = torch.tensor(numbers, dtype=torch.int64)
    dist.all_reduce(told, dist.ReduceOp.MAX)
    return told.tolist()
