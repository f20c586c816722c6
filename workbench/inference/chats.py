"""The saved conversations of a workspace: a folder of files, and one of them as Markdown."""

import contextlib
import json
import re
import time
from dataclasses import dataclass, replace
from pathlib import Path

from workbench.atomic import write_atomically
from workbench.errors import UsageError
from workbench.inference.dialogue import Node
from workbench.inference.parts import parts_of
from workbench.inference.transcript import Transcript, read_transcript, write_transcript
from workbench.language import tr

FOLDER = "chats"
_TITLE_CELLS = 60
_FENCE = re.compile(r"`{3,}")


@dataclass(frozen=True)
class SavedChat:
    """One line of the list.

    Args:
        saved_at: seconds since the epoch.
        problem: why it cannot be opened; empty where it can.
    """

    path: Path
    title: str
    model: str
    messages: int
    saved_at: float
    problem: str = ""


class ChatShelf:
    """The folder `chats` of a workspace, one `chat-*.json` for each conversation."""

    def __init__(self, workspace: Path) -> None:
        self.folder = workspace / FOLDER

    def new_path(self) -> Path:
        """Where a conversation that begins now is to be saved."""
        name = time.strftime("chat-%Y%m%d-%H%M%S")
        names = (name, *(f"{name}-{number}" for number in range(2, 1000)))
        return next(path for each in names if not (path := self.folder / f"{each}.json").exists())

    def list(self) -> list[SavedChat]:
        """Every conversation, the latest first; damaged ones say what is wrong with them."""
        found = []
        for path in self.folder.glob("chat-*.json"):
            with contextlib.suppress(FileNotFoundError):  # deleted between the two looks
                found.append(_look(path))
        return sorted(found, key=lambda chat: chat.saved_at, reverse=True)

    def rename(self, path: Path, title: str) -> None:
        """Give a conversation another title."""
        write_transcript(path, replace(read_transcript(path), title=" ".join(title.split())))

    def delete(self, path: Path) -> Path:
        """Move a conversation out of the list; returns where it lies now, so that it can be moved back."""
        target = self.folder / ".trash" / path.name
        try:
            target.parent.mkdir(exist_ok=True)
            path.replace(target)
        except OSError as error:
            raise UsageError(str(path), f"cannot be moved to {target.parent} ({error.strerror})") from error
        return target

    def restore(self, trashed: Path) -> None:
        """Bring back what was deleted."""
        try:
            trashed.replace(self.folder / trashed.name)
        except OSError as error:
            raise UsageError(str(trashed), f"cannot be brought back ({error.strerror})") from error


def title_of(text: str) -> str:
    """A title from the first message of a conversation."""
    line = " ".join(text.split())
    return line if len(line) <= _TITLE_CELLS else f"{line[: _TITLE_CELLS - 1]}…"


def kept_title(path: Path) -> str:
    """The title that somebody gave a saved conversation; empty where nobody did, or it cannot be read."""
    try:
        title = json.loads(path.read_text(encoding="utf-8"))["title"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return ""
    return title if isinstance(title, str) else ""


def export_markdown(transcript: Transcript, path: Path) -> None:
    """Write the conversation that is shown as Markdown.

    Raises:
        UsageError: the file cannot be written, or exists.
    """
    if path.exists():
        raise UsageError(str(path), "exists already", "choose another name")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, as_markdown(transcript))
    except OSError as error:
        raise UsageError(str(path), f"cannot be written ({error.strerror})", "choose another place") from error


def as_markdown(transcript: Transcript) -> str:
    """The conversation that is shown, a heading for each message; thoughts are quoted, tool calls are code."""
    tree = transcript.tree
    nodes = [tree.nodes[number] for number in tree.path()]
    title = transcript.title or (title_of(nodes[0].text) if nodes else "")
    blocks = [f"# {title or tr('Conversation')}"]
    if transcript.system_prompt:
        blocks += [f"## {tr('System')}", transcript.system_prompt]
    for node in nodes:
        model = node.writing.model if node.writing is not None else ""
        speaker = tr("You") if node.role == "user" else model or transcript.model or tr("Model")
        blocks.append(f"## {speaker}")
        blocks += [node.text] if node.role == "user" else _answer(node)
    text = "\n\n".join(block for block in blocks if block.strip())
    return "".join(each for each in f"{text}\n" if each >= " " or each in "\n\t")


def _answer(node: Node) -> list[str]:
    blocks = []
    for part in parts_of(node.text):
        if part.kind == "text":
            blocks.append(part.text)
        elif part.kind == "thought":
            blocks.append(
                "\n".join(f"> {line}".rstrip() for line in (f"*{tr('Thought')}*", "", *part.text.splitlines()))
            )
        else:
            fence = "`" * (max([2, *(len(run) for run in _FENCE.findall(part.text))]) + 1)
            blocks.append(f"*{tr(part.kind).capitalize()}*\n\n{fence}\n{part.text}\n{fence}")
    return blocks


def _look(path: Path) -> SavedChat:
    saved_at = path.stat().st_mtime
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        messages = [each for each in document["messages"] if each["role"] != "system"]
        title = document.get("title") or (title_of(messages[0]["content"]) if messages else "")
        return SavedChat(path, str(title) or path.stem, str(document.get("model", "")), len(messages), saved_at)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        return SavedChat(path, path.name, "", 0, saved_at, f"damaged ({type(error).__name__})")
