"""Chat on a terminal: streaming, stopped by Ctrl+C, steered by /commands; and answers to piped lines."""

import contextlib
import signal
import sys
from collections.abc import Iterable, Iterator
from types import FrameType
from typing import TYPE_CHECKING

from workbench.cli.chat_commands import HELP, Leave, carry_out
from workbench.cli.terminal import coloured, printable
from workbench.errors import UsageError, WorkbenchError
from workbench.language import retell, tr

if TYPE_CHECKING:
    from workbench.inference.chat import ChatSession

try:
    import readline
except ImportError:  # Windows: the console edits lines itself
    readline = None  # type: ignore[assignment]


def answer_lines(session: "ChatSession", lines: Iterable[str]) -> int:
    """Answer each line in turn, in one conversation; nothing but the answers on stdout.

    Returns:
        The exit code, that of an error where a line could not be answered: it is told, and the next ones are answered.
    """
    exit_code = 0
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            for piece in session.send(line.rstrip("\r\n")):
                print(printable(piece), end="", flush=True)
            print(flush=True)
        except UsageError as error:
            _note(f"{tr('line {line:,}', line=number)}: {retell(str(error))}", "error")
            exit_code = error.exit_code
    return exit_code


def converse(session: "ChatSession", name: str) -> int:
    """Talk with the person at the terminal until they leave."""
    _note(f"{name}: {_greeting(session)}")
    conversation = Conversation(session)
    while not conversation.over:
        conversation.take_turn()
    return 0


class Conversation:
    """The turns of a person and a model at a terminal."""

    def __init__(self, session: "ChatSession") -> None:
        self.over = False
        self._session = session
        self._interrupted = False  # a further Ctrl+C at an empty prompt leaves

    def take_turn(self, prefill: str = "") -> None:
        """One line of the person, and what follows from it."""
        try:
            line = _read_line(prefill)
        except EOFError:
            print()
            self.over = True
        except KeyboardInterrupt:
            print()
            self._interrupt_at_prompt()
        else:
            self._interrupted = False
            if line.strip():
                self._obey(line)

    def _interrupt_at_prompt(self) -> None:
        typed = readline.get_line_buffer() if readline is not None else ""
        if self._interrupted and not typed:
            self.over = True
        elif not typed:
            self._interrupted = True
            _note(tr("(Ctrl+C again, Ctrl+D or /quit leaves)"))

    def _obey(self, line: str) -> None:
        """Send a message, or carry out a command; errors are told and the conversation goes on."""
        try:
            if line.startswith("/"):
                answer = carry_out(line, self._session, _note, _read_line)
            else:
                answer = self._session.send(line)
            if answer is not None:
                self._interrupted = self._stream(answer)
        except Leave:
            self.over = True
        except WorkbenchError as error:
            _note(retell(str(error)), "error")

    def _stream(self, pieces: Iterator[str]) -> bool:
        """Print an answer as it comes; True when Ctrl+C stopped it."""
        with _stopping_by_interrupt(self._session) as interrupts:
            try:
                for piece in pieces:
                    print(printable(piece), end="", flush=True)
            finally:
                print(flush=True)
        self._tell_figures()
        return bool(interrupts)

    def _tell_figures(self) -> None:
        stats = self._session.last_stats
        if stats is None:
            return
        parts = [tr("{count} tokens, {speed:.0f} tok/s", count=stats.tokens, speed=stats.tokens_per_second)]
        if stats.stopped_by == "length":
            parts.append(tr("cut at its longest; raise it with /set max_new_tokens=N"))
        elif stats.stopped_by == "stopped":
            parts.append(tr("stopped"))
        if stats.dropped_turns or stats.dropped_tokens:
            parts.append(tr("the beginning of the conversation no longer fits and was left out"))
        _note(tr("; ").join(parts))


@contextlib.contextmanager
def _stopping_by_interrupt(session: "ChatSession") -> Iterator[list[int]]:
    """Let Ctrl+C end the answer after its current token; a second one, if that hangs, ends it the hard way."""
    interrupts: list[int] = []

    def on_interrupt(number: int, frame: FrameType | None) -> None:
        interrupts.append(number)
        if len(interrupts) > 1:
            raise KeyboardInterrupt
        session.stop()

    previous = signal.signal(signal.SIGINT, on_interrupt)
    try:
        yield interrupts
    finally:
        signal.signal(signal.SIGINT, previous)


def _read_line(prefill: str = "") -> str:
    """A line of the person, which begins as `prefill` where lines can be edited.

    Raises:
        EOFError, KeyboardInterrupt: the person leaves, or gives the line up.
    """
    if readline is not None:
        readline.set_startup_hook((lambda: readline.insert_text(prefill)) if prefill else None)
    try:
        if sys.stdout.isatty():
            return input(f"{tr('you')}> ")
        sys.stderr.write(f"{tr('you')}> ")  # stdout goes elsewhere and is for answers
        sys.stderr.flush()
        return input()
    finally:
        if readline is not None:
            readline.set_startup_hook(None)


def _greeting(session: "ChatSession") -> str:
    if session.mode == "completion":
        told = tr("this model goes on with what you write; it has not learned to answer.")
        return f"{told} {tr(HELP)}"
    return tr(HELP)


def _note(text: str, tone: str = "quiet") -> None:
    """Words of the program, not of the model: on stderr."""
    print(coloured(printable(text), tone, sys.stderr), file=sys.stderr)
