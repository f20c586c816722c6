"""`llm-workbench`: the command line, and the border at which every error becomes one message and an exit code."""

import argparse
import contextlib
import errno
import importlib
import json
import logging
import os
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any

from workbench.ascii_signs import write_in_ascii
from workbench.cli.arguments import parse_arguments
from workbench.cli.parser import language_on
from workbench.cli.terminal import forgive_encoding, open_missing_streams, printable
from workbench.errors import DeviceError, WorkbenchError
from workbench.language import choose_language, retell, tr, use_language
from workbench.locations import state_folder
from workbench.preferences import preference, switched_on

INTERRUPTED = 130
BROKEN_PIPE = 141
_LOG_BYTES = 1_000_000


def main(argv: Sequence[str] | None = None) -> int:
    """Carry out one command line; returns the exit code, errors told on stderr."""
    open_missing_streams()
    forgive_encoding()
    wish = language_on(sys.argv[1:] if argv is None else argv)  # known before the parser is made, which speaks it
    use_language(choose_language(wish, os.environ, preference("language")))
    arguments = parse_arguments(argv)
    arguments.ascii = arguments.ascii or switched_on("ascii")
    if arguments.ascii:
        _speak_ascii()
    keep_log(log_path())
    try:
        exit_code = _load(arguments.command)(arguments)
        sys.stdout.flush()  # here, where a reader that went away can still be noticed
        return exit_code
    except WorkbenchError as error:
        return _refuse(error, arguments)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        _abandon_stdout()
        return BROKEN_PIPE
    except Exception as error:  # noqa: BLE001  the border of the program: a person sees one line, the log has the rest
        written_down = _written_down(error)
        if isinstance(error, OSError) and error.strerror:
            return _refuse(_of_the_system(error), arguments)
        known = _as_device_error(error)
        surprise = tr("unexpected {kind}: {error}", kind=type(error).__name__, error=error)
        _complain(f"{retell(str(known)) if known else surprise}{written_down}")
        return known.exit_code if known else WorkbenchError.exit_code


def _speak_ascii() -> None:
    """Narration, and what a person reads of the rest: data for other programs stays as it is."""
    write_in_ascii(sys.stderr)
    if sys.stdout.isatty():
        write_in_ascii(sys.stdout)


def log_path() -> Path:
    """Where tracebacks and diagnosis go."""
    return state_folder() / "log" / "llm-workbench.log"


def keep_log(path: Path) -> None:
    """Send diagnosis of this program and its libraries to a file, so that none of it spoils the screen."""
    root = logging.getLogger()
    if any(isinstance(handler, RotatingFileHandler) for handler in root.handlers):
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handler: logging.Handler = RotatingFileHandler(path, maxBytes=_LOG_BYTES, backupCount=2, encoding="utf-8")
    except OSError:
        handler = logging.NullHandler()  # a home that cannot be written is no reason not to work
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root.addHandler(handler)
    logging.captureWarnings(True)


def _load(command: str) -> Callable[[Any], int]:
    """The function `module:name` of this package: only the chosen command is imported, with what it needs."""
    module, _, name = command.partition(":")
    function: Callable[[Any], int] = getattr(importlib.import_module(f"workbench.cli.{module}"), name)
    return function


def _refuse(error: WorkbenchError, arguments: argparse.Namespace) -> int:
    """Tell a person, and with --json the program that reads stdout; gives the exit code."""
    _complain(retell(str(error)))
    if getattr(arguments, "json", False) or arguments.events_json:
        told = {"where": error.where, "problem": error.problem, "remedy": error.remedy}
        with contextlib.suppress(OSError, ValueError):
            print(json.dumps({"error": told}, ensure_ascii=False), flush=True)
    return error.exit_code


def _complain(message: str) -> None:
    with contextlib.suppress(OSError, ValueError):  # a terminal that is gone
        sys.stderr.write(f"llm-workbench: {printable(message)}\n")
        sys.stderr.flush()


def _of_the_system(error: OSError) -> WorkbenchError:
    """What the system refused, as something to act on."""
    where = error.filename or ("stdout" if _stdout_fails() else "a file or stdout")
    remedy = ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        remedy = "make room there"
    elif error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        remedy = "check its permissions, or choose another place with --workspace or LLM_WORKBENCH_HOME"
    return WorkbenchError(str(where), error.strerror or str(error), remedy)


def _stdout_fails() -> bool:
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        _abandon_stdout()
        return True
    return False


def _as_device_error(error: Exception) -> DeviceError | None:
    """Memory that does not suffice, whoever noticed it; torch has its own types, which are not imported for this."""
    text = str(error)
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError" or "can't allocate memory" in text:
        return DeviceError("memory", text or "it does not suffice", "lower micro_batch_size or the model's sizes")
    return None


def _written_down(error: Exception) -> str:
    """Put the traceback into the log; the words that point to it, or the traceback itself where there is no log."""
    lines = traceback.format_exception(error)
    try:
        log_path().parent.mkdir(parents=True, exist_ok=True)
        # Arguments of another encoding hold what is no text.
        with log_path().open("a", encoding="utf-8", errors="backslashreplace") as file:
            file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {' '.join(sys.argv)}\n{''.join(lines)}\n")
    except OSError:
        return "\n" + "".join(lines)
    return tr("; the traceback is in {path}", path=log_path())


def _abandon_stdout() -> None:
    """Keep Python from trying once more, at its end, to write where nothing can be written."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
