"""Files that are either the old one or the new one, never a half."""

import os
import tempfile
from pathlib import Path


def write_atomically(path: Path, content: str) -> None:
    """Put `content` at `path` as UTF-8: written beside it, flushed to the disk, renamed over it.

    Raises:
        OSError: with `path` as its filename, whichever file it was about.
    """
    try:
        _write_beside(path, content)
    except OSError as error:
        if error.errno is not None:  # without one, a file name would take the place of the message
            error.filename = str(path)
        raise


def _write_beside(path: Path, content: str) -> None:
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="\n") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o644)  # mkstemp makes files that only their owner reads
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
