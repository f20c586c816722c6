"""What was said, as a tree: alternatives stand beside each other, and one way through them is shown.

A message of a person has the answers to it below it, an answer the messages that went on from it. Nothing is ever
taken out: answering again, editing and branching add a sibling. The tree is a value: each change gives another one, so
any thread may read the one it holds.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from workbench.inference.context import Turn
from workbench.inference.generate import StopReason
from workbench.inference.sampling import SamplingSettings
from workbench.tokenizer.chat_template import Message

ROOT = -1
Role = Literal["user", "assistant"]


@dataclass(frozen=True)
class Writing:
    """How an answer came about.

    Args:
        stopped_by: why it ends where it does.
        token_ids: what the model said, the token that ended it left out; empty where nobody kept them.
        tokenizer: fingerprint of the tokenizer these ids are of.
        model: who said it, for people.
        settings: that held then; None where nobody kept them.
        system_prompt: that held then.
        branched_at: the place of a token that a person chose in place of the model's; None for any other answer.
    """

    stopped_by: StopReason = "end"
    token_ids: tuple[int, ...] = ()
    tokenizer: str = ""
    model: str = ""
    settings: SamplingSettings | None = None
    system_prompt: str = ""
    branched_at: int | None = None


@dataclass(frozen=True)
class Node:
    """One message; its number is its place in `Tree.nodes`.

    Args:
        parent: number of the message before it; `ROOT` for one that begins the conversation.
        writing: of an answer.
    """

    parent: int
    role: Role
    text: str
    writing: Writing | None = None


@dataclass(frozen=True)
class Tree:
    """All messages of a conversation.

    Args:
        nodes: in the order they were said; a parent stands before its children.
        chosen: of each message that has children (and of `ROOT`), the one that is shown.
    """

    nodes: tuple[Node, ...] = ()
    chosen: Mapping[int, int] = field(default_factory=dict)

    def path(self, to: int | None = None) -> list[int]:
        """Numbers of the messages shown, the first one first; with `to`, of those up to this one, shown or not."""
        found: list[int] = []
        if to is not None:
            while to != ROOT:
                found.append(to)
                to = self.nodes[to].parent
            return found[::-1]
        at = ROOT
        while at in self.chosen:
            at = self.chosen[at]
            found.append(at)
        return found

    @property
    def last(self) -> int:
        """Number of the last message shown; `ROOT` where there is none."""
        return [ROOT, *self.path()][-1]

    def children(self, number: int) -> list[int]:
        """Numbers of the messages that follow one, the oldest first."""
        return [child for child, node in enumerate(self.nodes) if node.parent == number]

    def siblings(self, number: int) -> list[int]:
        """Numbers of a message and of those that stand beside it, the oldest first."""
        return self.children(self.nodes[number].parent)

    def add(self, node: Node) -> "Tree":
        """With another message, which is then shown."""
        number = len(self.nodes)
        return replace(self, nodes=(*self.nodes, node)).showing(number)

    def showing(self, number: int) -> "Tree":
        """With the way through it leading over this message."""
        path = self.path(number)
        return replace(self, chosen={**self.chosen, **dict(zip([ROOT, *path], path, strict=False))})

    def beside(self, number: int, step: int) -> "Tree":
        """With the sibling `step` places further shown in place of a message; unchanged where there is none."""
        siblings = self.siblings(number)
        place = siblings.index(number) + step
        return self.showing(siblings[place]) if 0 <= place < len(siblings) else self

    def turns(self, to: int) -> tuple[Turn, ...]:
        """Questions and answers from the beginning up to the message `to`; a question without an answer is none."""
        path = self.path(to) if to != ROOT else []
        pairs = zip(path[::2], path[1::2], strict=False)
        return tuple(Turn(self.nodes[one].text, self.nodes[other].text, self._end(other)) for one, other in pairs)

    def messages(self, to: int | None = None) -> list[Message]:
        """What is shown, or what leads up to `to`, as messages."""
        nodes = (self.nodes[number] for number in self.path(to))
        return [{"role": node.role, "content": node.text} for node in nodes]

    def _end(self, number: int) -> StopReason:
        writing = self.nodes[number].writing
        return "end" if writing is None else writing.stopped_by


def tree_of(turns: tuple[Turn, ...]) -> Tree:
    """A conversation without alternatives."""
    tree = Tree()
    for turn in turns:
        tree = tree.add(Node(tree.last, "user", turn.question))
        tree = tree.add(Node(tree.last, "assistant", turn.answer, Writing(turn.stopped_by)))
    return tree
