"""Conversations of two people who were asked to keep a chat going."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from workbench.data.fetched.archives import read_members
from workbench.data.fetched.progress import Progress
from workbench.data.fetched.rows import conversation, write_jsonl


def convert(archive: Path, folder: Path, progress: Progress) -> None:
    """Write `chitchat.jsonl` into `folder`: conversations of two speakers with an answer at least."""
    progress.tell("reading the package", 0)
    for _, content in read_members(archive, lambda name: name == "chitchat_dataset/dataset.json"):
        chats = json.loads(content).values()
        rows = (row for chat in chats if (row := conversation(_turns(chat["messages"]))) is not None)
        write_jsonl(folder / "chitchat.jsonl", rows, progress)


def _turns(groups: list[list[dict[str, Any]]]) -> Iterator[str]:
    """What each speaker said until the other spoke, for chats of exactly two."""
    messages = [message for group in groups for message in group]
    if len({message["sender"] for message in messages}) != 2:
        return
    held: list[str] = []
    speaker = messages[0]["sender"]
    for message in messages:
        if message["sender"] != speaker:
            yield "\n".join(held)
            held, speaker = [], message["sender"]
        if text := message["text"].strip():
            held.append(text)
    yield "\n".join(held)
