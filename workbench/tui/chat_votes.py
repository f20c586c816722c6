"""Blind votes on the Chat screen: which folder keeps them, and what is told about them."""

from pathlib import Path
from typing import TYPE_CHECKING

from workbench.tui.talk import Talk

if TYPE_CHECKING:
    from workbench.inference.contest import Contest
    from workbench.inference.votes import Vote, VoteBook

QUESTION = "Which is better?   a left   b right   t tie   n both bad   esc no vote"
STACKED_QUESTION = "Which is better?   a upper   b lower   t tie   n both bad   esc no vote"


def folder_of_votes(directory: Path | None, active_run: Path | None, workspace: Path) -> Path:
    """Where votes on a model are kept: its run's folder, or the workspace for a model of no run.

    Args:
        directory: the model's; None for the one in training, which is of `active_run`.
    """
    if directory is None:
        return active_run or workspace
    for folder in directory.absolute().parents:
        if (folder / "profile.toml").is_file():
            return folder
    return workspace


def cast(contest: "Contest", book: "VoteBook", verdict: str) -> str:
    """Vote, keep it, and say whose answers these were and what became of the vote.

    Raises:
        WorkbenchError: the vote cannot be kept; both conversations have gone on all the same.
    """
    vote = contest.vote(verdict)  # type: ignore[arg-type]
    why_not = book.cast(vote, keep_pair=contest.main.mode == "chat")
    if why_not:
        return f"{_decided(vote)}. No pair: {why_not}; the vote is in {book.votes}"
    return f"{_decided(vote)}. Pair {book.pairs():,} in {book.preferences}"


def tally(contest: "Contest", book: "VoteBook") -> str:
    """The votes so far, in a line."""
    main, other = contest.main.name, contest.other.name
    found = book.tally(main, other)
    if not found.votes:
        return "no votes yet"
    rest = f"{found.ties} tie{'' if found.ties == 1 else 's'}, {found.both_bad} both bad"
    votes = f"{found.votes} vote{'' if found.votes == 1 else 's'}"
    if main == other:
        return f"{votes}: {found.first} for one of two samples, {rest}"
    return f"{votes}: {main} {found.first}, {other} {found.second}, {rest}"


def alias_sides(contest: "Contest", talks: list[Talk]) -> None:
    """Let each column show its side, without a name where the contest is blind."""
    for talk, seat in zip(talks, contest.seats, strict=True):
        talk.session = seat.session
        talk.alias = seat.letter if contest.blind else ""


def _decided(vote: "Vote") -> str:
    if vote.models[0] == vote.models[1]:
        return {"left": "A is kept", "right": "B is kept"}.get(vote.verdict, vote.verdict.capitalize())
    names = f"A was {vote.models[0]}, B {vote.models[1]}"
    better = {"left": vote.models[0], "right": vote.models[1]}.get(vote.verdict)
    return f"{better} is better ({names})" if better else f"{vote.verdict.capitalize()} ({names})"
