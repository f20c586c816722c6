"""A run that goes on without the workbench: a process of its own takes it up where ours stopped."""

import logging
import subprocess
import sys
from pathlib import Path

from workbench.language import language, tr
from workbench.runs.store import RunDirectory

logger = logging.getLogger(__name__)


def part_from(directory: Path, *, hand_on: bool) -> str:
    """Leave a run that stopped; where it is to be handed on, another process goes on. What to tell the person."""
    stopped = tr("stopped and saved; go on with: llm-workbench resume {directory}", directory=directory)
    if not hand_on:
        return stopped
    try:
        process = hand_over(directory)
    except OSError as error:
        logger.exception("no process could go on with %s", directory)
        return tr("no process could be started ({error}); {advice}", error=error.strerror, advice=stopped)
    logger.info("process %d goes on with %s", process, directory)
    return tr(
        "{run} goes on in the background; stop it with: llm-workbench control {directory} stop",
        run=directory.name,
        directory=directory,
    )


def hand_over(directory: Path) -> int:
    """Go on with a run that stopped, in a process without a terminal; its narration goes to the run's console.log.

    Returns:
        The number of the process.
    Raises:
        OSError: it cannot be started.
    """
    run = RunDirectory(directory.resolve())
    # -P: a file of the current folder must not stand in for a module of Python.
    # It writes the log and the report in the language that is spoken here, which may be that of this start alone.
    command = [sys.executable, "-P", "-m", "workbench.cli", "resume", str(run.path), "--lang", language()]
    with run.console_log_path.open("ab") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
    process.returncode = 0  # nobody waits for it: without this Python would warn that it still runs
    return process.pid
