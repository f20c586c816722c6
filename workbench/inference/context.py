"""What of a conversation the model gets to read: all of it, or what fits, the oldest dropped first."""

import re
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

from workbench.inference.generate import StopReason
from workbench.tokenizer.chat_template import Message, encode_prompt
from workbench.tokenizer.special_tokens import VISIBLE_TAGS
from workbench.tokenizer.tokenizer import Tokenizer

_TAGS = re.compile(f"({'|'.join(map(re.escape, VISIBLE_TAGS))})")


@dataclass(frozen=True)
class Turn:
    """A question and its answer.

    Args:
        stopped_by: why the answer ended where it does.
    """

    question: str
    answer: str
    stopped_by: StopReason

    def messages(self) -> list[Message]:
        """The turn as two messages."""
        return [{"role": "user", "content": self.question}, {"role": "assistant", "content": self.answer}]


@dataclass(frozen=True)
class Context:
    """What the model reads before it answers.

    Args:
        dropped_turns: earlier turns left out because they did not fit (in a chat).
        dropped_tokens: tokens left out at the start of the text (in a completion).
    """

    ids: list[int]
    dropped_turns: int = 0
    dropped_tokens: int = 0


def chat_context(tokenizer: Tokenizer, system_prompt: str, turns: Sequence[Turn], question: str, limit: int) -> Context:
    """The conversation through the chat template, with the system prompt and the question always in it.

    Args:
        limit: tokens that the prompt should not pass; the question alone may.
    """
    system: list[Message] = [{"role": "system", "content": system_prompt}] if system_prompt else []

    def encoded(dropped: int) -> list[int]:
        kept = [message for turn in turns[dropped:] for message in turn.messages()]
        return encode_prompt(tokenizer, [*system, *kept, {"role": "user", "content": question}])

    whole = encoded(0)
    if len(whole) <= limit:
        return Context(whole)
    dropped = bisect_left(range(len(turns)), True, key=lambda count: len(encoded(count)) <= limit)
    return Context(encoded(dropped), dropped_turns=dropped)


def completion_context(
    tokenizer: Tokenizer, system_prompt: str, turns: Sequence[Turn], question: str, limit: int
) -> Context:
    """The text so far with `question` at its end, for a model that only goes on with text.

    A text that the model ended is over: what is asked after it begins a new one, which the system prompt opens.
    """
    begun = max((index + 1 for index, turn in enumerate(turns) if turn.stopped_by == "end"), default=0)
    opening = [f"{system_prompt}\n"] if system_prompt else []
    text = "".join([*opening, *(turn.question + turn.answer for turn in turns[begun:]), question])
    ids = text_ids(tokenizer, text)
    dropped = max(0, len(ids) - limit)
    return Context(ids[dropped:], dropped_tokens=dropped)


def text_ids(tokenizer: Tokenizer, text: str) -> list[int]:
    """The ids of a text to go on with; for an empty one the token that stands between documents."""
    return tokenizer.encode(text) or [tokenizer.eos_token_id]


def answer_ids(tokenizer: Tokenizer, text: str) -> list[int]:
    """The ids of an answer that is there as text alone; tags of thoughts and tool calls are tokens of their own."""
    ids: list[int] = []
    for part in _TAGS.split(text):
        tag = tokenizer.controls.ids.get(part)
        ids += tokenizer.encode(part) if tag is None else [tag]
    return ids
