"""The SHA-256 of files, remembered by size and modification time so that a large file is read for it once."""

import hashlib
import json
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

CHUNK_BYTES = 1 << 20
SETTLED_SECONDS = 2.0  # a younger file may change again within the clock's grain, and keep size and time


def content_hash(path: Path, memory: Path, should_stop: Callable[[], bool]) -> str | None:
    """The SHA-256 of a file's content, in hexadecimal; None when stopped.

    Args:
        memory: a JSON file of earlier answers, `{path: [size, modification time in ns, hash]}`. It may be deleted.
    """
    path = path.resolve()
    signature = file_signature(path)
    known = _read(memory).get(str(path))
    if known is not None and tuple(known[:2]) == signature:
        return str(known[2])
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            if should_stop():
                return None
            digest.update(chunk)
    if file_signature(path) == signature and time.time() - signature[1] / 1e9 > SETTLED_SECONDS:
        _remember(memory, str(path), [*signature, digest.hexdigest()])
    return digest.hexdigest()


def file_signature(path: Path) -> tuple[int, int]:
    """Size and modification time (ns): what changes when a file does."""
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def _read(memory: Path) -> dict[str, list[int | str]]:
    try:
        known = json.loads(memory.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def _remember(memory: Path, path: str, entry: list[int | str]) -> None:
    """Two processes at once may lose one of their entries, which costs one more reading of a file."""
    memory.parent.mkdir(parents=True, exist_ok=True)
    replace_text(memory, json.dumps({**_read(memory), path: entry}))


def replace_text(path: Path, text: str) -> None:
    """Write a small file whole or not at all."""
    partial = partial_path(path)
    with partial.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def partial_path(path: Path) -> Path:
    """A name beside `path` that no other process or thread writes to."""
    return path.with_name(f"{path.name}.{os.getpid()}-{threading.get_ident()}.part")
