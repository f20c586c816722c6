"""Votes are kept and counted, and become pairs that a `dpo` stage reads."""

import json
import random
from pathlib import Path
from typing import Any

import pytest

from workbench.data.preferences import encode_preference, to_preference
from workbench.errors import UsageError
from workbench.inference.chat import ChatSession
from workbench.inference.contest import Contest
from workbench.inference.sampling import SamplingSettings
from workbench.inference.votes import Tally, Verdict, Vote, VoteBook
from workbench.model.transformer import Transformer
from workbench.tokenizer.tokenizer import Tokenizer

Parrot = Any


def vote(verdict: Verdict = "left", answers: tuple[str, str] = ("good", "bad"), swapped: bool = False) -> Vote:
    asked = ({"role": "system", "content": "S"}, {"role": "user", "content": "q"})
    return Vote(asked, ("b", "a") if swapped else ("a", "b"), answers, verdict, 1.0)  # type: ignore[arg-type]


def lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_a_vote_becomes_a_pair_in_the_form_of_preferences(tmp_path: Path, tokenizer: Tokenizer) -> None:
    book = VoteBook(tmp_path / "run")
    assert book.cast(vote("left")) == "" and book.cast(vote("right", ("worse 你", "better"))) == ""
    first, second = lines(book.preferences)
    asked = [{"role": "system", "content": "S"}, {"role": "user", "content": "q"}]
    assert first == {
        "chosen": [*asked, {"role": "assistant", "content": "good"}],
        "rejected": [*asked, {"role": "assistant", "content": "bad"}],
    }
    pair = to_preference(second)
    assert pair.prompt == asked
    assert [pair.chosen[0]["content"], pair.rejected[0]["content"]] == ["better", "worse 你"]
    chosen, rejected = encode_preference(tokenizer, pair)
    assert chosen != rejected and any(chosen[1])


@pytest.mark.parametrize(
    ("verdict", "answers"),
    [("tie", ("x", "y")), ("both bad", ("x", "y")), ("left", ("x", " ")), ("left", ("same", "same\n"))],
)
def test_what_tells_no_preference_is_counted_and_makes_no_pair(
    tmp_path: Path, verdict: Verdict, answers: tuple[str, str]
) -> None:
    book = VoteBook(tmp_path)
    assert book.cast(vote(verdict, answers)) != ""
    assert not book.preferences.exists() and book.tally("a", "b").votes == 1


def test_the_tally_counts_models_whichever_side_they_stood_at(tmp_path: Path) -> None:
    book = VoteBook(tmp_path)
    for verdict, swapped in (("left", False), ("right", True), ("right", False), ("tie", True), ("both bad", False)):
        book.cast(vote(verdict, swapped=swapped))  # type: ignore[arg-type]
    assert book.tally("a", "b") == Tally(first=2, second=1, ties=1, both_bad=1)
    assert book.tally("b", "a") == Tally(first=1, second=2, ties=1, both_bad=1)
    assert book.tally("a", "c").votes == 0 and book.pairs() == 3


def test_damaged_lines_are_passed_over_and_swallow_nothing(tmp_path: Path) -> None:
    book = VoteBook(tmp_path)
    book.votes.write_bytes(b'[1]\n{"models": 5, "verdict": []}\n{"half')
    book.cast(vote())
    assert book.tally("a", "b").first == 1


def test_a_folder_that_cannot_be_written_is_one_message(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(UsageError, match="cannot be written"):
        VoteBook(tmp_path / "file").cast(vote())


class Coin(random.Random):
    """Puts the main session left or right, as it is told."""

    def __init__(self, main_left: bool) -> None:
        super().__init__()
        self.main_left = main_left

    def random(self) -> float:
        return 0.0 if self.main_left else 0.9


@pytest.fixture
def pair_of_sessions(long_model: Transformer, model: Transformer, tokenizer: Tokenizer) -> tuple[ChatSession, ...]:
    settings = SamplingSettings(temperature=1.5, top_p=1.0, max_new_tokens=12)
    one = ChatSession(long_model, tokenizer, settings, name="one")
    return one, ChatSession(long_model.__class__(long_model.config), tokenizer, settings, name="other")


def told(pieces: tuple[Any, Any]) -> list[str]:
    """Both answers, their pieces taken in turns as two threads would."""
    texts = ["", ""]
    streams = [iter(each) for each in pieces]
    while streams != [None, None]:
        for side in (0, 1):
            if streams[side] is not None:
                piece = next(streams[side], None)  # type: ignore[arg-type]
                texts[side] += piece or ""
                streams[side] = streams[side] if piece is not None else None  # type: ignore[call-overload]
    return texts


def test_two_samples_of_one_model_share_a_seed_and_differ(long_model: Transformer, tokenizer: Tokenizer) -> None:
    settings = SamplingSettings(temperature=1.5, top_p=1.0, max_new_tokens=12)
    sessions = [ChatSession(long_model, tokenizer, settings, name=name) for name in ("one", "other")]
    contest = Contest(*sessions)
    assert contest.one_model
    left, right = told(contest.send("Hi"))
    assert left != right  # two samples of one model
    seeds = {session.tree.nodes[-1].writing.settings.seed for session in sessions}  # type: ignore[union-attr]
    assert len(seeds) == 1 and None not in seeds


def test_two_models_get_the_same_message_seed_and_settings(pair_of_sessions: tuple[ChatSession, ChatSession]) -> None:
    one, other = pair_of_sessions
    with pytest.raises(UsageError, match="no two answers"):
        Contest(one, other).vote("left")
    other.model.load_state_dict(one.model.state_dict())
    left, right = told(Contest(one, other).send("Hi"))
    assert left == right  # equal weights, equal numbers


@pytest.mark.parametrize("main_left", [True, False])
@pytest.mark.parametrize("verdict", ["left", "right", "tie", "both bad"])
def test_a_blind_vote_settles_both_conversations(
    parrot: Parrot, tokenizer: Tokenizer, main_left: bool, verdict: Verdict
) -> None:
    greedy = SamplingSettings(temperature=0, max_new_tokens=50)
    main, other = (ChatSession(parrot, tokenizer, greedy, "S", name=name) for name in ("main", "other"))
    contest = Contest(main, other, blind=True, shuffle=Coin(main_left))
    streams = contest.send("q")
    parrot.say("left says", "right says")
    texts = ["".join(streams[0]), "".join(streams[1])]
    contest.finished()
    with pytest.raises(UsageError, match="wait for a vote"):
        contest.send("next")
    cast = contest.vote(verdict)
    assert list(cast.answers) == texts == ["left says", "right says"]
    assert cast.models == (("main", "other") if main_left else ("other", "main"))
    assert [message["role"] for message in cast.messages] == ["system", "user"]
    better = {"left": 0, "right": 1}.get(verdict, 0 if main_left else 1)
    assert main.messages == other.messages and main.messages[-1]["content"] == texts[better]
    assert len(main.tree.siblings(main.tree.last)) == 2


def test_a_skipped_vote_goes_on_from_the_main_answer(parrot: Parrot, tokenizer: Tokenizer) -> None:
    main = ChatSession(parrot, tokenizer, SamplingSettings(temperature=0, max_new_tokens=50), name="main")
    contest = Contest(main, main.twin(), blind=True, shuffle=Coin(False))
    left, right = contest.send("q")
    parrot.say("right is main", "left is the twin")
    "".join(right), "".join(left)
    contest.finished()
    contest.skip()
    assert main.messages[-1]["content"] == "right is main" and not contest.waiting


def test_an_answer_that_failed_leaves_both_as_they_were(parrot: Parrot, tokenizer: Tokenizer) -> None:
    main = ChatSession(parrot, tokenizer, SamplingSettings(temperature=0, max_new_tokens=50), name="main")
    contest = Contest(main, main.twin(), blind=True)
    parrot.say("fine", RuntimeError("out of memory"))
    left, right = contest.send("q")
    list(left)
    with pytest.raises(RuntimeError):
        list(right)
    contest.discard()
    assert main.messages == [] and contest.other.messages == []
