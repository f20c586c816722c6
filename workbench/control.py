"""Wishes from one thread (a person, a signal, a command file) to another (the trainer).

The engine looks at them between steps, so a wish never leaves a step half done.
"""

import threading
from collections import deque
from dataclasses import dataclass
from typing import Literal, get_args

CommandName = Literal["checkpoint", "evaluate", "sample", "learning_rate"]
COMMAND_NAMES: tuple[str, ...] = get_args(CommandName)
MAX_LEARNING_RATE = 1.0  # a slip of the finger would cost the run


@dataclass(frozen=True)
class Command:
    """One thing to do at the next step boundary.

    Args:
        name: what to do.
        value: the new peak learning rate for `learning_rate`; nothing otherwise.
    """

    name: CommandName
    value: float | None = None


class Control:
    """Pause, resume, stop, and commands; every method may be called from any thread."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._paused = False
        self._stopping = False
        self._commands: deque[Command] = deque()

    @property
    def pause_requested(self) -> bool:
        """True from `pause()` until `resume()`; the engine says when it has really paused."""
        return self._paused

    @property
    def stop_requested(self) -> bool:
        """True once `stop()` was called; there is no way back."""
        return self._stopping

    def pause(self) -> None:
        """Ask the engine to wait at the next step boundary."""
        with self._condition:
            self._paused = True
            self._condition.notify_all()

    def resume(self) -> None:
        """Let a paused engine go on."""
        with self._condition:
            self._paused = False
            self._condition.notify_all()

    def stop(self) -> None:
        """Ask the engine to finish the step, save and end."""
        with self._condition:
            self._stopping = True
            self._condition.notify_all()

    def request(self, command: Command) -> None:
        """Queue `command` for the next step boundary; a paused engine carries it out too."""
        with self._condition:
            self._commands.append(command)
            self._condition.notify_all()

    def take_commands(self) -> list[Command]:
        """All commands queued so far, oldest first; the queue is empty afterwards."""
        with self._condition:
            commands = list(self._commands)
            self._commands.clear()
            return commands

    def wait_while_paused(self, timeout_seconds: float) -> None:
        """Sleep until something changes or the time is over; returns at once when not paused."""
        with self._condition:
            if self._paused and not self._stopping and not self._commands:
                self._condition.wait(timeout_seconds)
