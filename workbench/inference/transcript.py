"""A conversation as a file: the messages in the form that fine-tuning reads, with system prompt and settings."""

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from workbench.atomic import write_atomically
from workbench.errors import UsageError
from workbench.inference.context import Turn
from workbench.inference.generate import StopReason
from workbench.inference.sampling import SamplingSettings

VERSION = 1


@dataclass(frozen=True)
class Transcript:
    """What is kept of a conversation."""

    system_prompt: str
    settings: SamplingSettings
    turns: tuple[Turn, ...]


def write_transcript(path: Path, transcript: Transcript) -> None:
    """Write the conversation as JSON, complete or not at all."""
    opening = [{"role": "system", "content": transcript.system_prompt}] if transcript.system_prompt else []
    document = {
        "version": VERSION,
        "settings": dataclasses.asdict(transcript.settings),
        "messages": [*opening, *(message for turn in transcript.turns for message in _written(turn))],
    }
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, json.dumps(document, ensure_ascii=False, indent=1))
    except OSError as error:
        raise UsageError(str(path), f"cannot be written ({error.strerror})", "choose another file") from error


def read_transcript(path: Path) -> Transcript:
    """Read what `write_transcript` wrote.

    Raises:
        UsageError: no such file, or none of ours.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        return _transcript(document)
    except OSError as error:
        raise UsageError(str(path), f"cannot be read ({error.strerror})", "choose a saved conversation") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(str(path), f"is no saved conversation ({error!r})", "choose a file that chat saved") from error


def _written(turn: Turn) -> list[dict[str, str]]:
    return [
        {"role": "user", "content": turn.question},
        {"role": "assistant", "content": turn.answer, "stopped_by": turn.stopped_by},
    ]


def _transcript(document: dict[str, Any]) -> Transcript:
    if document["version"] != VERSION:
        raise ValueError(f"version {document['version']!r}, where {VERSION} is known")
    messages = list(document["messages"])
    system_prompt = messages.pop(0)["content"] if messages and messages[0]["role"] == "system" else ""
    _require_text([system_prompt])
    return Transcript(system_prompt, SamplingSettings(**document["settings"]), _turns(messages))


def _turns(messages: Sequence[dict[str, Any]]) -> tuple[Turn, ...]:
    questions, answers = messages[::2], messages[1::2]
    if len(questions) != len(answers):
        raise ValueError("the last message has no answer")
    turns = []
    for question, answer in zip(questions, answers, strict=True):
        if (question["role"], answer["role"]) != ("user", "assistant"):
            raise ValueError("messages of user and assistant do not alternate")
        if answer["stopped_by"] not in get_args(StopReason):
            raise ValueError(f"stopped_by {answer['stopped_by']!r}")
        _require_text([question["content"], answer["content"]])
        turns.append(Turn(question["content"], answer["content"], answer["stopped_by"]))
    return tuple(turns)


def _require_text(values: Sequence[object]) -> None:
    if not all(isinstance(value, str) for value in values):
        raise ValueError("a message's content is not text")
