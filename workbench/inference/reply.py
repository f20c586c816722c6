"""An answer while it is written, and the figures of one that is done."""

import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass

from workbench.inference.context import Context
from workbench.inference.generate import StopReason
from workbench.tokenizer.tokenizer import TextStream


@dataclass(frozen=True)
class ReplyStats:
    """Figures of one answer.

    Args:
        prompt_tokens: read before the answer, `reused_tokens` of them from the cache of the answer before.
        tokens: of the answer.
        seconds: reading and writing together.
        tokens_per_second: of writing, after the first token; 0 where there is only one.
        dropped_turns: earlier turns the model did not get to read, as they did not fit.
        dropped_tokens: the same for the start of a text in completion mode.
    """

    prompt_tokens: int
    reused_tokens: int
    tokens: int
    seconds: float
    tokens_per_second: float
    stopped_by: StopReason
    dropped_turns: int
    dropped_tokens: int


class Reply:
    """An answer while it is written.

    Args:
        given: tokens that it begins with, which the model did not choose.
    """

    def __init__(self, given: Sequence[int] = ()) -> None:
        self.text = ""
        self.token_ids: list[int] = list(given)
        self.stopped_by: StopReason = "stopped"
        self.reused_tokens = 0
        self._given = len(given)
        self._started = time.perf_counter()
        self._first_at = self._last_at = self._started

    def follow(self, tokens: Generator[int, None, StopReason], characters: TextStream) -> Iterator[str]:
        """Yield the text of the given tokens, then that of `tokens` piece by piece, as bytes become characters."""
        yield from self._told("".join(characters.push(token_id) for token_id in self.token_ids))
        while True:
            try:
                token_id = next(tokens)
            except StopIteration as end:
                self.stopped_by = end.value
                break
            self._count(token_id)
            yield from self._told(characters.push(token_id))
        tail = characters.finish()
        # Where we cut the text, half a character is our doing and no error of the model to be shown.
        yield from self._told(tail if self.stopped_by == "end" else tail.rstrip("\ufffd"))

    def stats(self, context: Context) -> ReplyStats:
        """The figures, once the answer is done."""
        writing, written = self._last_at - self._first_at, len(self.token_ids) - self._given
        return ReplyStats(
            prompt_tokens=len(context.ids),
            reused_tokens=self.reused_tokens,
            tokens=len(self.token_ids),
            seconds=self._last_at - self._started,
            tokens_per_second=(written - 1) / writing if writing > 0 else 0.0,
            stopped_by=self.stopped_by,
            dropped_turns=context.dropped_turns,
            dropped_tokens=context.dropped_tokens,
        )

    def _count(self, token_id: int) -> None:
        self._last_at = time.perf_counter()
        if len(self.token_ids) == self._given:
            self._first_at = self._last_at
        self.token_ids.append(token_id)

    def _told(self, piece: str) -> Iterator[str]:
        # Kept before it is yielded: the consumer may not come back, and has seen it all the same.
        self.text += piece
        if piece:
            yield piece
