"""The /commands of the terminal chat."""

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.cli.chat_alternatives import branch, export, show_other, x_ray_table
from workbench.errors import UsageError
from workbench.language import mark, tr
from workbench.runs.store import suggest

if TYPE_CHECKING:
    from workbench.inference.chat import ChatSession

HELP = mark("/help lists the commands, Ctrl+C stops an answer, Ctrl+D leaves")
COMMANDS = {
    "/retry": mark("answer the last message again, differently"),
    "/edit": mark("change the last message and have it answered; /edit TEXT replaces it"),
    "/next": mark("show the next alternative of the last answer; /previous the one before"),
    "/previous": mark("show the alternative of the last answer before this one"),
    "/xray": mark("each token of the last answer: how likely it was, and what else could have stood there"),
    "/branch": mark("/branch 5 2 cuts the last answer at token 5, puts its alternative 2 there and goes on from it"),
    "/system": mark("/system TEXT sets the system prompt, /system alone shows it, /system - removes it"),
    "/set": mark("/set temperature=0.5 top_k=40 changes how answers are chosen; /set alone shows it"),
    "/reset": mark("begin a new conversation"),
    "/save": mark("/save FILE writes the conversation as JSON"),
    "/load": mark("/load FILE goes on with a saved conversation"),
    "/export": mark("/export FILE.md writes the conversation as Markdown"),
    "/help": mark("this list"),
    "/quit": mark("leave"),
}
Tell = Callable[[str], None]


class Leave(Exception):  # noqa: N818  not an error
    """The person wants to leave."""


def carry_out(line: str, session: "ChatSession", tell: Tell, read_line: Callable[[str], str]) -> Iterator[str] | None:
    """Do what `line` says.

    Args:
        read_line: lets the person edit a text.
    Returns:
        An answer to stream, where the command asks for one.
    Raises:
        Leave: the person wants to leave.
        UsageError: the command is unknown or cannot be carried out.
    """
    command, _, rest = line.strip().partition(" ")
    rest = rest.strip()
    match command:
        case "/retry":
            return session.retry()
        case "/edit":
            return _edit(session, rest, read_line)
        case "/next" | "/previous":
            show_other(session, 1 if command == "/next" else -1, tell)
        case "/xray":
            tell(x_ray_table(session))
        case "/branch":
            return branch(session, rest)
        case "/system":
            _system(session, rest, tell)
        case "/set":
            _set(session, rest, tell)
        case "/reset":
            session.reset()
            tell(tr("a new conversation"))
        case "/save":
            session.save(_file(command, rest))
            tell(tr("saved to {path}", path=rest))
        case "/load":
            session.load(_file(command, rest))
            tell(tr("{count} messages of {path}", count=len(session.messages), path=rest))
        case "/export":
            export(session, _file(command, rest))
            tell(tr("written to {path}", path=rest))
        case "/help":
            tell("\n".join(f"{name:<9} {tr(text)}" for name, text in COMMANDS.items()))
        case "/quit" | "/exit":
            raise Leave
        case _:
            raise UsageError(command, "no such command", suggest(command, list(COMMANDS)))
    return None


def parse_settings(text: str, current: dict[str, Any]) -> dict[str, Any]:
    """`temperature=0.5 top-k=40` as values of the kinds in `current`.

    Raises:
        UsageError: an unknown name, or a value that is no number.
    """
    changes: dict[str, Any] = {}
    for part in text.split():
        name, equals, value = part.partition("=")
        name = name.replace("-", "_")
        if name not in current or not equals:
            raise UsageError(f"/set {part}", "no such setting", suggest(name, list(current)))
        if name == "seed" and value in ("none", "off", ""):
            changes[name] = None
            continue
        kind = float if isinstance(current[name], float) else int
        try:
            changes[name] = kind(value)
        except ValueError:
            problem = f"{value!r} is not a number" if kind is float else f"{value!r} is not a whole number"
            raise UsageError(f"/set {part}", problem) from None
    return changes


def _edit(session: "ChatSession", text: str, read_line: Callable[[str], str]) -> Iterator[str] | None:
    if not text:
        questions = [message["content"] for message in session.messages if message["role"] == "user"]
        try:
            text = read_line(questions[-1] if questions else "")
        except (EOFError, KeyboardInterrupt):
            return None
    return session.edit_last(text)


def _system(session: "ChatSession", text: str, tell: Tell) -> None:
    if text:
        session.system_prompt = "" if text == "-" else text
    tell(tr("system prompt: {text}", text=session.system_prompt or tr("none")))


def _set(session: "ChatSession", text: str, tell: Tell) -> None:
    current = dataclasses.asdict(session.settings)
    session.settings = dataclasses.replace(session.settings, **parse_settings(text, current))
    shown = dataclasses.asdict(session.settings)
    tell("  ".join(f"{name}={'none' if value is None else value}" for name, value in shown.items()))


def _file(command: str, text: str) -> Path:
    if not text:
        raise UsageError(command, "needs a file", f"for example: {command} chat.json")
    return Path(text).expanduser()
