"""Votes between two answers: kept one a line, counted, and turned into preference pairs to train on.

`preferences.jsonl` holds what a `dpo` stage reads and nothing else; `votes.jsonl` holds every vote, ties too, with who
said what.
"""

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from workbench.errors import UsageError
from workbench.tokenizer.chat_template import Message

Verdict = Literal["left", "right", "tie", "both bad"]
WhyNot = Literal["", "text", "verdict", "empty", "same"]
"""Why a vote makes no pair: the answers are text gone on with, none is preferred, one is empty, both are equal."""


@dataclass(frozen=True)
class Vote:
    """A person's opinion of two answers to the same messages.

    Args:
        messages: what both answer, the system prompt first where there was one.
        models, answers: of the left and of the right.
        time: seconds since the epoch.
    """

    messages: tuple[Message, ...]
    models: tuple[str, str]
    answers: tuple[str, str]
    verdict: Verdict
    time: float


@dataclass(frozen=True)
class Tally:
    """How often each of two models was preferred; of two samples of one model all wins are `first`'s."""

    first: int = 0
    second: int = 0
    ties: int = 0
    both_bad: int = 0

    @property
    def votes(self) -> int:
        """All of them."""
        return self.first + self.second + self.ties + self.both_bad


class VoteBook:
    """The votes of one folder: a run's, or a workspace's for models of no run."""

    def __init__(self, folder: Path) -> None:
        self.preferences = folder / "preferences.jsonl"
        self.votes = folder / "votes.jsonl"

    def cast(self, vote: Vote, *, keep_pair: bool = True) -> WhyNot:
        """Keep a vote, and the pair that it makes.

        Args:
            keep_pair: False where the answers are none to train on, as of models that only go on with text.
        Returns:
            Why it makes no pair; empty where it made one.
        Raises:
            UsageError: the files cannot be written.
        """
        why_not = no_pair(vote) if keep_pair else "text"
        record = {
            "time": round(vote.time, 3),
            "verdict": vote.verdict,
            "models": list(vote.models),
            "messages": list(vote.messages),
            "answers": list(vote.answers),
        }
        _append(self.votes, record)
        if not why_not:
            _append(self.preferences, pair(vote))
        return why_not

    def tally(self, first: str, second: str) -> Tally:
        """The votes between two models, whichever of them stood at the left."""
        counts = {"first": 0, "second": 0, "ties": 0, "both_bad": 0}
        for record in _records(self.votes):
            models, verdict = record.get("models"), record.get("verdict")
            if models not in ([first, second], [second, first]) or verdict not in get_args(Verdict):
                continue
            if verdict in ("tie", "both bad"):
                counts["ties" if verdict == "tie" else "both_bad"] += 1
            else:
                winner = models[0 if verdict == "left" else 1]
                counts["first" if winner == first else "second"] += 1
        return Tally(**counts)

    def pairs(self) -> int:
        """How many pairs there are to train on."""
        return sum(1 for _ in _records(self.preferences))


def no_pair(vote: Vote) -> WhyNot:
    """Why a vote makes no pair to train on; empty where it makes one."""
    if vote.verdict in ("tie", "both bad"):
        return "verdict"
    if not all(answer.strip() for answer in vote.answers):
        return "empty"
    if vote.answers[0].strip() == vote.answers[1].strip():
        return "same"
    return ""


def pair(vote: Vote) -> dict[str, list[Message]]:
    """The preference that a vote for the left or the right tells."""
    better = 0 if vote.verdict == "left" else 1
    return {"chosen": _said(vote, better), "rejected": _said(vote, 1 - better)}


def _said(vote: Vote, side: int) -> list[Message]:
    return [*vote.messages, {"role": "assistant", "content": vote.answers[side]}]


def _append(path: Path, record: dict[str, Any]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab+") as file:
            if file.seek(0, os.SEEK_END):
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":  # a crash left half a line: it must not swallow this one
                    file.write(b"\n")
            file.write(f"{json.dumps(record, ensure_ascii=True)}\n".encode())
    except OSError as error:
        remedy = "make room, or allow writing there"
        raise UsageError(str(path), f"cannot be written ({error.strerror})", remedy) from error


def _records(path: Path) -> Iterator[dict[str, Any]]:
    """The whole lines of a file, damaged ones passed over."""
    for line in _lines(path):
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(record, dict):
            yield record


def _lines(path: Path) -> Sequence[bytes]:
    try:
        return path.read_bytes().split(b"\n")
    except OSError:
        return ()
