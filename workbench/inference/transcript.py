"""A conversation as a file: the messages shown in the form that fine-tuning reads, and the whole tree beside them.

Version 1 knew no alternatives and had the messages alone; it is still read.
"""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from workbench.atomic import write_atomically
from workbench.errors import UsageError
from workbench.inference.context import Turn
from workbench.inference.dialogue import ROOT, Node, Tree, Writing, tree_of
from workbench.inference.generate import StopReason
from workbench.inference.sampling import SamplingSettings

VERSION = 2


@dataclass(frozen=True)
class Transcript:
    """What is kept of a conversation.

    Args:
        title: for lists; empty where nobody gave one.
        model: that was talked to last, for people.
    """

    system_prompt: str
    settings: SamplingSettings
    tree: Tree
    title: str = ""
    model: str = ""


def write_transcript(path: Path, transcript: Transcript) -> None:
    """Write the conversation as JSON, complete or not at all."""
    opening = [{"role": "system", "content": transcript.system_prompt}] if transcript.system_prompt else []
    tree = transcript.tree
    document = {
        "version": VERSION,
        "title": transcript.title,
        "model": transcript.model,
        "settings": dataclasses.asdict(transcript.settings),
        "messages": [*opening, *tree.messages()],
        "tree": [_written(node) for node in tree.nodes],
        "chosen": [[parent, child] for parent, child in tree.chosen.items()],
    }
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, json.dumps(document, ensure_ascii=False, indent=1))
    except (OSError, UnicodeEncodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "half a character in it"
        raise UsageError(str(path), f"cannot be written ({reason})", "choose another file") from error


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
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError, UsageError) as error:
        problem = error.problem if isinstance(error, UsageError) else repr(error)
        raise UsageError(str(path), f"is no saved conversation ({problem})", "choose a file that chat saved") from error


def _written(node: Node) -> dict[str, Any]:
    record: dict[str, Any] = {"role": node.role, "content": node.text, "parent": node.parent}
    if node.writing is None:
        return record
    writing = {key: value for key, value in vars(node.writing).items() if value not in (None, "", ())}
    return record | writing | {"settings": _settings_record(node.writing.settings)}


def _settings_record(settings: SamplingSettings | None) -> dict[str, Any] | None:
    return None if settings is None else dataclasses.asdict(settings)


def _transcript(document: dict[str, Any]) -> Transcript:
    if document["version"] not in (1, VERSION):
        raise ValueError(f"version {document['version']!r}, where {VERSION} is known")
    messages = list(document["messages"])
    system_prompt = messages.pop(0)["content"] if messages and messages[0]["role"] == "system" else ""
    title, model = document.get("title", ""), document.get("model", "")
    _require_text([system_prompt, title, model])
    tree = tree_of(_turns(messages)) if document["version"] == 1 else _tree(document["tree"], document["chosen"])
    return Transcript(system_prompt, SamplingSettings(**document["settings"]), tree, title, model)


def _tree(records: Sequence[Mapping[str, Any]], chosen: Sequence[tuple[int, int]]) -> Tree:
    nodes: list[Node] = []
    for number, record in enumerate(records):
        parent, role = record["parent"], record["role"]
        if not (_is_whole(parent) and ROOT <= parent < number):
            raise ValueError(f"message {number} follows number {parent!r}")
        expected = "user" if parent == ROOT or nodes[parent].role == "assistant" else "assistant"
        if role != expected:
            raise ValueError(f"message {number} is of {role!r}, expected {expected}")
        _require_text([record["content"]])
        nodes.append(Node(parent, role, record["content"], _writing(record) if role == "assistant" else None))
    shown: dict[int, int] = dict(chosen)
    for at, child in shown.items():
        if not (_is_whole(at) and _is_whole(child) and 0 <= child < len(nodes) and nodes[child].parent == at):
            raise ValueError(f"message {child!r} does not follow {at!r}")
    answered = {node.parent for node in nodes}
    if any(node.role == "user" and number not in answered for number, node in enumerate(nodes)):
        raise ValueError("a message has no answer")
    return Tree(tuple(nodes), shown)


def _writing(record: Mapping[str, Any]) -> Writing:
    ids, settings = record.get("token_ids", ()), record.get("settings")
    branched_at = record.get("branched_at")
    texts = [record.get(key, "") for key in ("tokenizer", "model", "system_prompt")]
    _require_text(texts)
    if not isinstance(ids, list | tuple) or not all(_is_whole(each) and each >= 0 for each in ids):
        raise ValueError("token_ids are no list of whole numbers")
    if branched_at is not None and not _is_whole(branched_at):
        raise ValueError(f"branched_at {branched_at!r}")
    return Writing(
        stopped_by=_stop_reason(record),
        token_ids=tuple(ids),
        tokenizer=texts[0],
        model=texts[1],
        settings=None if settings is None else SamplingSettings(**settings),
        system_prompt=texts[2],
        branched_at=branched_at,
    )


def _turns(messages: Sequence[dict[str, Any]]) -> tuple[Turn, ...]:
    questions, answers = messages[::2], messages[1::2]
    if len(questions) != len(answers):
        raise ValueError("the last message has no answer")
    turns = []
    for question, answer in zip(questions, answers, strict=True):
        if (question["role"], answer["role"]) != ("user", "assistant"):
            raise ValueError("messages of user and assistant do not alternate")
        _require_text([question["content"], answer["content"]])
        turns.append(Turn(question["content"], answer["content"], _stop_reason(answer)))
    return tuple(turns)


def _stop_reason(record: Mapping[str, Any]) -> StopReason:
    reason: StopReason = record["stopped_by"]
    if reason not in get_args(StopReason):
        raise ValueError(f"stopped_by {reason!r}")
    return reason


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _require_text(values: Sequence[object]) -> None:
    if not all(isinstance(value, str) for value in values):
        raise ValueError("a message's content is not text")
