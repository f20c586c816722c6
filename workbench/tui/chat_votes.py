"""Blind votes on the Chat screen: which folder keeps them, and what is told about them."""

from pathlib import Path
from typing import TYPE_CHECKING

from workbench.language import mark, tr, tr_many
from workbench.tui.talk import Talk

if TYPE_CHECKING:
    from workbench.inference.contest import Contest
    from workbench.inference.votes import Vote, VoteBook

QUESTION = mark("Which is better?   a left   b right   t tie   n both bad   esc no vote")
STACKED_QUESTION = mark("Which is better?   a upper   b lower   t tie   n both bad   esc no vote")

WHY_NOT = {
    "text": mark("a text that was gone on with makes no pair"),
    "verdict": mark("neither answer is the better one"),
    "empty": mark("one of the answers is empty"),
    "same": mark("both answers are the same"),
}
_VERDICTS = {
    "left": mark("A is kept"),
    "right": mark("B is kept"),
    "tie": mark("Tie"),
    "both bad": mark("Both bad"),
}


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
    why_not = book.cast(vote, keep_pair=contest.main.mode == contest.other.mode == "chat")
    if why_not:
        where = tr("No pair: {reason}; the vote is in {file}", reason=tr(WHY_NOT[why_not]), file=book.votes)
    else:
        where = tr("Pair {number:,} in {file}", number=book.pairs(), file=book.preferences)
    return tr("{decision}. {kept}", decision=_decided(vote), kept=where)


def tally(contest: "Contest", book: "VoteBook") -> str:
    """The votes so far, in a line."""
    main, other = contest.main.name, contest.other.name
    found = book.tally(main, other)
    if not found.votes:
        return tr("no votes yet")
    votes = tr_many("{count} vote", "{count:,} votes", found.votes)
    ties = tr_many("{count} tie", "{count:,} ties", found.ties)
    bad = tr("{number:,} both bad", number=found.both_bad)
    if main == other:
        better = tr("{number:,} for one of two samples", number=found.first)
    else:
        better = f"{main} {found.first:,}, {other} {found.second:,}"
    return tr("{votes}: {better}, {ties}, {bad}", votes=votes, better=better, ties=ties, bad=bad)


def alias_sides(contest: "Contest", talks: list[Talk]) -> None:
    """Let each column show its side, without a name where the contest is blind."""
    for talk, seat in zip(talks, contest.seats, strict=True):
        talk.session = seat.session
        talk.alias = seat.letter if contest.blind else ""


def _decided(vote: "Vote") -> str:
    if vote.models[0] == vote.models[1]:
        return tr(_VERDICTS[vote.verdict])
    names = tr("A was {one}, B {other}", one=vote.models[0], other=vote.models[1])
    better = {"left": vote.models[0], "right": vote.models[1]}.get(vote.verdict)
    said = tr("{model} is better", model=better) if better else tr(_VERDICTS[vote.verdict])
    return f"{said}; {names}"
