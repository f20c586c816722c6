"""Learns BPE merges in a child process.

The library's training can neither be interrupted nor be held to a memory limit. In a process of its own it can be
killed, and all it took is given back at its end. A plain subprocess, not `multiprocessing`: it needs no importable
main module, shares no file handles, and is the same on every system.
"""

import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path

import workbench
from workbench.errors import WorkbenchError
from workbench.tokenizer.bpe_worker import Request

_SECONDS_BETWEEN_LOOKS = 0.1
_TASKS = {"Tokenize words": "counting words", "Count pairs": "counting pairs", "Compute merges": "learning merges"}


def learn_in_child_process(
    request: Request, on_progress: Callable[[str, int, int | None], None], should_stop: Callable[[], bool]
) -> bool:
    """Have `bpe_worker` carry out `request`; False when stopped, in which case the child is gone on return.

    Raises:
        WorkbenchError: the child failed.
    """
    with _start() as child:
        assert child.stdin is not None and child.stdout is not None
        lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        threading.Thread(target=_forward, args=(child.stdout, lines), name="bpe-progress", daemon=True).start()
        try:
            _send(child, request)
            remarks = _follow(lines, on_progress, should_stop)
            if remarks is None:
                return False
            exit_code = child.wait()
        finally:
            child.kill()  # does nothing to a child that has ended
    if exit_code != 0:
        raise WorkbenchError(
            "tokenizer training",
            f"the child process ended with code {exit_code}: {' '.join(remarks) or 'it said nothing'}",
            "if memory ran out, lower tokenizer.sample_bytes",
        )
    return True


def _start() -> subprocess.Popen[str]:
    package_root = str(Path(next(iter(workbench.__path__))).parent)
    search_path = os.pathsep.join(filter(None, [package_root, os.environ.get("PYTHONPATH")]))
    return subprocess.Popen(
        [sys.executable, "-m", "workbench.tokenizer.bpe_worker"],
        stdin=subprocess.PIPE,  # stays open: the child ends when it closes, so it never outlives us
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,  # where the library writes its progress
        encoding="utf-8",
        errors="replace",
        env={**os.environ, "PYTHONPATH": search_path, "PYTHONUTF8": "1"},
        creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
    )


def _send(child: subprocess.Popen[str], request: Request) -> None:
    assert child.stdin is not None
    try:
        child.stdin.write(json.dumps(asdict(request)) + "\n")
        child.stdin.flush()
    except BrokenPipeError:
        pass  # it has ended already; its exit code and remarks say why


def _forward(lines: Iterable[str], to: "queue.SimpleQueue[str | None]") -> None:
    """Pass lines on, then None for the end; in a thread, as no system can wait for a pipe and a wish at once."""
    for line in lines:
        to.put(line)
    to.put(None)


def _follow(
    lines: "queue.SimpleQueue[str | None]",
    on_progress: Callable[[str, int, int | None], None],
    should_stop: Callable[[], bool],
) -> list[str] | None:
    """Report what the child says until it ends; its last other remarks, or None when stopped."""
    remarks: deque[str] = deque(maxlen=10)
    progress: tuple[str, int, int | None] | None = None
    while not should_stop():
        until = time.monotonic() + _SECONDS_BETWEEN_LOOKS
        while (left := until - time.monotonic()) > 0:
            try:
                line = lines.get(timeout=left)
            except queue.Empty:
                break
            if line is None:
                if progress:
                    on_progress(*progress)
                return list(remarks)
            said = _progress_in(line)
            if said is None:
                remarks.append(line.strip())
            else:
                progress = said
        if progress:
            on_progress(*progress)
    return None


def _progress_in(line: str) -> tuple[str, int, int | None] | None:
    """Task, amount done and whole amount, if `line` is a report of progress."""
    try:
        report = json.loads(line)
        return _TASKS.get(report["stage"], report["stage"]), int(report["current"]), report["total"] or None
    except (ValueError, KeyError, TypeError):
        return None
