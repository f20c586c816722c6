"""One process at a time writes into a folder; the operating system frees the lock of a process that died."""

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

POLL_SECONDS = 0.1


@contextmanager
def folder_lock(folder: Path, should_stop: Callable[[], bool]) -> Iterator[bool]:
    """Hold the folder's lock, waiting while another process has it; gives False when stopped in the wait."""
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        while not (held := _try_lock(descriptor)) and not should_stop():
            time.sleep(POLL_SECONDS)
        yield held
    finally:
        os.close(descriptor)  # which frees it


def _try_lock(descriptor: int) -> bool:
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    return True
