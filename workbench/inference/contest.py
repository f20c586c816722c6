"""Two answers to one message, side by side; blind where nobody is to know yet whose is whose."""

import random
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

from workbench.errors import UsageError
from workbench.inference.chat import ChatSession
from workbench.inference.dialogue import Node, Tree
from workbench.inference.sampling import LARGEST_SEED, SamplingSettings
from workbench.inference.votes import Verdict, Vote
from workbench.tokenizer.chat_template import Message

Pieces = tuple[Iterator[str], Iterator[str]]


@dataclass(frozen=True)
class Seat:
    """One side of a contest: who sits there.

    Args:
        letter: what it is called while names are hidden.
    """

    session: ChatSession
    letter: str


class Contest:
    """Asks two sessions the same, with the same settings and the same seed.

    Without `blind` each has a conversation of its own. Blind, both answer the conversation of `main`, at sides drawn
    anew for every message; after the vote both answers stand there beside each other, and both sessions go on from the
    better one (from the one of `main` where neither is).

    Args:
        main: whose conversation it is; `other` takes it over.
        blind: whether the sides are shuffled, and names withheld until the vote.
        shuffle: decides the sides; for tests.
    """

    def __init__(
        self, main: ChatSession, other: ChatSession, blind: bool = False, shuffle: random.Random | None = None
    ) -> None:
        self.main, self.other, self.blind = main, other, blind
        self.sides: tuple[ChatSession, ChatSession] = (main, other)
        self.waiting = False
        self._shuffle = shuffle or random.SystemRandom()
        self._before = (Tree(), Tree())
        other.take(main.tree)

    @property
    def one_model(self) -> bool:
        """Whether both are samples of the same model, and need different random numbers."""
        return self.main.model is self.other.model

    @property
    def seats(self) -> tuple[Seat, Seat]:
        """Left and right."""
        return Seat(self.sides[0], "A"), Seat(self.sides[1], "B")

    def send(self, text: str) -> Pieces:
        """Say `text` to both; the two answers stream independently, left and right."""
        self._prepare()
        return self._in_sides(self.main.send(text), self.other.send(text, attempt=int(self.one_model)))

    def retry(self) -> Pieces:
        """Let both answer the last message again."""
        self._prepare()
        return self._in_sides(self.main.retry(), self.other.retry(skip=int(self.one_model)))

    def edit_last(self, text: str) -> Pieces:
        """Say `text` to both in place of the last message."""
        self._prepare()
        return self._in_sides(self.main.edit_last(text), self.other.edit_last(text, attempt=int(self.one_model)))

    def stop(self) -> None:
        """End both answers."""
        self.main.stop()
        self.other.stop()

    def finished(self) -> None:
        """Both answers are done: blind, a vote is waited for."""
        self.waiting = self.blind

    def vote(self, verdict: Verdict) -> Vote:
        """Decide, and let both go on from the better answer; `sides` then tell whose was whose.

        Raises:
            UsageError: there is nothing to vote on.
        """
        if not self.waiting:
            raise UsageError("vote", "there are no two answers to vote on", "send a message first")
        vote = Vote(
            messages=tuple(self._asked()),
            models=(self.sides[0].name, self.sides[1].name),
            answers=(self._answer(self.sides[0]), self._answer(self.sides[1])),
            verdict=verdict,
            time=time.time(),
        )
        winner = self.main if verdict in ("tie", "both bad") else self.sides[0 if verdict == "left" else 1]
        self._settle(winner)
        return vote

    def skip(self) -> None:
        """Go on without a vote, from the answer of `main`; the other stays beside it."""
        if self.waiting:
            self._settle(self.main)

    def discard(self) -> None:
        """One of the answers failed: both conversations are again as they were before."""
        self.waiting = False
        self.main.take(self._before[0])
        self.other.take(self._before[1])

    def _prepare(self) -> None:
        if self.waiting:
            raise UsageError("chat", "the last two answers wait for a vote", "vote or skip it first")
        self.other.settings, self.other.system_prompt = self._shared_settings(), self.main.system_prompt
        self.main.settings = self.other.settings
        if self.blind:
            self.other.take(self.main.tree)
        self._before = (self.main.tree, self.other.tree)
        if self.blind:
            self.sides = (self.main, self.other) if self._shuffle.random() < 0.5 else (self.other, self.main)

    def _shared_settings(self) -> SamplingSettings:
        """The settings of `main`; a seed that nobody chose is drawn here, so that both have the same."""
        settings = self.main.settings
        return settings if settings.seed is not None else replace(settings, seed=random.randrange(LARGEST_SEED // 2))

    def _in_sides(self, of_main: Iterator[str], of_other: Iterator[str]) -> Pieces:
        return (of_main, of_other) if self.sides[0] is self.main else (of_other, of_main)

    def _settle(self, winner: ChatSession) -> None:
        """Bring both answers into one tree, and show the winner's there."""
        self.waiting = False
        tree, theirs = self.main.tree, self.other.tree
        mine = tree.last
        given = theirs.nodes[theirs.last]
        tree = tree.add(Node(tree.nodes[mine].parent, given.role, given.text, given.writing))
        tree = tree if winner is self.other else tree.showing(mine)
        self.main.take(tree)
        self.other.take(tree)

    def _asked(self) -> list[Message]:
        system: list[Message] = []
        if self.other.system_prompt:  # that of the asking: the other's may have been changed since
            system = [{"role": "system", "content": self.other.system_prompt}]
        return [*system, *self.main.messages[:-1]]

    def _answer(self, session: ChatSession) -> str:
        return session.messages[-1]["content"]
