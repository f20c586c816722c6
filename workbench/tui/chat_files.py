"""Saved conversations on the Chat screen: the list, and what can be done with one."""

import asyncio
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from textual.content import Content

from workbench.errors import WorkbenchError
from workbench.language import retell, tr, tr_many
from workbench.tui.modals.ask import AskModal
from workbench.tui.modals.chats import ChatsModal
from workbench.tui.talk import Talk
from workbench.tui.widgets.conversation import printable

if TYPE_CHECKING:
    from workbench.inference.chat import ChatSession
    from workbench.inference.chats import ChatShelf, SavedChat
    from workbench.tui.app import WorkbenchApp


async def choose_chat(app: "WorkbenchApp") -> Path | None:
    """Let the person choose a saved conversation, after renaming, exporting and deleting as they like."""
    shelf, at, trashed = shelf_of(app.workspace), 0, None
    while True:
        chats = await asyncio.to_thread(shelf.list)
        if not chats and trashed is None:
            app.notify(tr("No conversation is saved yet: each is, after its first answer."), markup=False)
            return None
        answer = await app.push_screen_wait(ChatsModal([_line(chat) for chat in chats], at, str(shelf.folder)))
        if answer is None:
            return None
        verb, at = answer
        chat = chats[at] if at < len(chats) else None
        try:
            if verb == "undo":
                if trashed is not None:
                    shelf.restore(trashed)
                    trashed = None
            elif chat is None:
                continue
            elif verb == "open":
                return chat.path
            elif verb == "rename":
                await _rename(app, shelf, chat)
            elif verb == "export":
                await export_chat(app, chat.path)
            else:
                trashed = shelf.delete(chat.path)
                app.notify(tr("Deleted {title}; u brings it back", title=chat.title), markup=False)
        except WorkbenchError as error:
            app.notify(retell(str(error)), severity="error", markup=False, timeout=8)


async def export_chat(app: "WorkbenchApp", path: Path) -> None:
    """Ask where to, and write the conversation as Markdown.

    Raises:
        WorkbenchError: it cannot be read, or not be written there.
    """
    from workbench.inference.chats import export_markdown
    from workbench.inference.transcript import read_transcript

    transcript = await asyncio.to_thread(read_transcript, path)
    target = await app.push_screen_wait(AskModal(tr("Export as Markdown"), "", str(path.with_suffix(".md"))))
    if target is not None:
        export_markdown(transcript, Path(target).expanduser())
        app.notify(tr("Exported to {file}", file=target), markup=False)


def save_talk(talk: Talk, session: "ChatSession | None", workspace: Path, who: str = "") -> str:
    """Save a column's conversation where it was before, or in a new file; returns what went wrong, if anything.

    Args:
        who: whose answers it holds, told in the title of a new file: of two columns, both begin with the same message.
    """
    from workbench.inference.chats import kept_title, title_of

    if session is None or not session.tree.nodes:
        return ""
    try:
        if talk.path is None:
            talk.path = shelf_of(workspace).new_path()
            talk.title = talk.title or (f"{title_of(session.messages[0]['content'])} · {who}" if who else "")
        else:
            talk.title = kept_title(talk.path) or talk.title  # it may have been renamed in the list
        session.save(talk.path, talk.title)
    except WorkbenchError as error:
        return retell(str(error))
    return ""


def load_talk(talk: Talk, session: "ChatSession", path: Path) -> tuple[dict[str, float], str]:
    """Open a saved conversation in a column; returns its sampling settings by name, and its system prompt.

    Raises:
        WorkbenchError: the file is damaged; the column stays as it was.
    """
    transcript = session.load(path)
    talk.path, talk.title = path, transcript.title
    return dataclasses.asdict(transcript.settings), transcript.system_prompt


def shelf_of(workspace: Path) -> "ChatShelf":
    """The saved conversations of a workspace; what reads them comes with torch."""
    from workbench.inference.chats import ChatShelf

    return ChatShelf(workspace)


async def _rename(app: "WorkbenchApp", shelf: "ChatShelf", chat: "SavedChat") -> None:
    title = await app.push_screen_wait(AskModal(tr("Title of the conversation"), "", chat.title))
    if title is not None:
        await asyncio.to_thread(shelf.rename, chat.path, title)


def _line(chat: "SavedChat") -> Content:
    if chat.problem:
        return Content.assemble((printable(chat.title), ""), "   ", (tr("damaged"), "$error"))
    messages = tr_many("{count} message", "{count:,} messages", chat.messages)
    return Content.assemble(
        (printable(chat.title), "bold"), (f"\n    {printable(chat.model)}  {messages}", "$foreground 60%")
    )
