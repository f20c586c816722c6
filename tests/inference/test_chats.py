"""The folder of saved conversations, and one of them as Markdown."""

from pathlib import Path
from typing import Any

import pytest

from workbench.errors import UsageError
from workbench.inference.chat import ChatSession
from workbench.inference.chats import ChatShelf, as_markdown, export_markdown
from workbench.inference.dialogue import ROOT, Node, Tree, Writing
from workbench.inference.sampling import SamplingSettings
from workbench.inference.transcript import Transcript, read_transcript
from workbench.tokenizer.tokenizer import Tokenizer

Parrot = Any


@pytest.fixture
def saved(parrot: Parrot, tokenizer: Tokenizer, tmp_path: Path) -> tuple[ChatShelf, Path]:
    shelf = ChatShelf(tmp_path)
    session = ChatSession(parrot, tokenizer, SamplingSettings(temperature=0), name="parrot")
    parrot.say("Hello!")
    list(session.send("  Hi\nthere " + "x" * 80))
    path = shelf.new_path()
    session.save(path)
    return shelf, path


def test_a_conversation_without_a_title_is_called_by_its_first_message(saved: tuple[ChatShelf, Path]) -> None:
    shelf, path = saved
    [chat] = shelf.list()
    assert chat.path == path and chat.title.startswith("Hi there xx") and chat.title.endswith("…")
    assert (chat.model, chat.messages, chat.problem) == ("parrot", 2, "")


def test_names_are_never_taken_twice(saved: tuple[ChatShelf, Path]) -> None:
    shelf, path = saved
    for _ in range(3):
        fresh = shelf.new_path()
        assert not fresh.exists() and fresh != path
        fresh.write_text(path.read_text(encoding="utf-8"), encoding="utf-8")
    assert len(shelf.list()) == 4


def test_a_title_can_be_given_and_a_chat_deleted_and_brought_back(saved: tuple[ChatShelf, Path]) -> None:
    shelf, path = saved
    shelf.rename(path, " On \n parrots [/INST] ")
    assert shelf.list()[0].title == "On parrots [/INST]"
    trashed = shelf.delete(path)
    assert shelf.list() == []
    shelf.restore(trashed)
    assert shelf.list()[0].path == path and read_transcript(path).title == "On parrots [/INST]"


@pytest.mark.parametrize("content", [b"{", b"[]", b"\xff", b"[" * 100_000, b'{"messages": [1]}', b"{}"])
def test_damaged_files_are_listed_as_such(saved: tuple[ChatShelf, Path], content: bytes) -> None:
    shelf, path = saved
    (shelf.folder / "chat-broken.json").write_bytes(content)
    problems = {chat.path.name: chat.problem for chat in shelf.list()}
    assert problems["chat-broken.json"].startswith("damaged") and problems[path.name] == ""
    with pytest.raises(UsageError, match=r"chat-broken\.json"):
        read_transcript(shelf.folder / "chat-broken.json")


def test_an_empty_folder_is_an_empty_list(tmp_path: Path) -> None:
    assert ChatShelf(tmp_path / "nowhere").list() == []


def transcript(answer: str) -> Transcript:
    tree = Tree().add(Node(ROOT, "user", "Ask")).add(Node(0, "assistant", "not shown", Writing(model="m")))
    tree = tree.add(Node(0, "assistant", answer, Writing(model="m")))
    return Transcript("Be kind.", SamplingSettings(), tree, "A talk")


def test_markdown_holds_what_is_shown(tmp_path: Path) -> None:
    text = as_markdown(
        transcript('<think>\nhm\n\nwell\n</think>\n\nyes \x1b[2J\n<tool_call>\n{"a": "```"}\n</tool_call>')
    )
    assert text == (
        "# A talk\n\n## System\n\nBe kind.\n\n## You\n\nAsk\n\n## m\n\n> *Thought*\n>\n> hm\n>\n> well\n\nyes [2J\n\n"
        '*Tool call*\n\n````\n{"a": "```"}\n````\n'
    )
    path = tmp_path / "out" / "talk.md"
    export_markdown(transcript("yes"), path)
    assert path.read_text(encoding="utf-8").endswith("yes\n")
    with pytest.raises(UsageError, match="exists already"):
        export_markdown(transcript("yes"), path)
