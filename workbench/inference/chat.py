"""A conversation with a model: the one session object of the terminal chat and the Chat screen."""

import threading
import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import torch

from workbench.errors import UsageError
from workbench.inference.context import Context, Turn, chat_context, completion_context
from workbench.inference.generate import StopReason, generate, make_cache
from workbench.inference.lineage import only_pretrained
from workbench.inference.loading import load_both
from workbench.inference.sampling import SamplingSettings, make_generator
from workbench.inference.transcript import Transcript, read_transcript, write_transcript
from workbench.model.kv_cache import KVCache
from workbench.model.transformer import Transformer
from workbench.tokenizer.chat_template import Message
from workbench.tokenizer.tokenizer import TextStream, Tokenizer

# "chat" asks through the chat template, "completion" goes on with the text.
Mode = Literal["chat", "completion"]
# Tokens; a long-context model's whole cache can be larger than its weights, so it grows as it is needed.
SMALLEST_CACHE = 1024


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


class _Conversation(NamedTuple):
    """What was said, and the question that is being answered; replaced as a whole, as other threads read it."""

    turns: tuple[Turn, ...] = ()
    asked: str | None = None


class ChatSession:
    """A conversation that streams; one answer at a time, `stop` from any thread.

    What the iterator of `send` yields is the answer's text in pieces, never half a character. An answer that is
    stopped, or whose iterator is closed early, stays as far as it came; one that fails leaves the conversation as it
    was before. `settings` and `system_prompt` may be set at any time and hold from the next answer on.

    Args:
        system_prompt: the first message of a chat; the opening of the text in completion mode.
        mode: chosen by whether the tokenizer has a chat template when None.
    """

    def __init__(
        self,
        model: Transformer,
        tokenizer: Tokenizer,
        settings: SamplingSettings | None = None,
        system_prompt: str = "",
        mode: Mode | None = None,
    ) -> None:
        if mode == "chat" and tokenizer.chat is None:
            raise UsageError("chat", "the model's tokenizer has no chat template", "use completion mode")
        self.model, self.tokenizer = model, tokenizer
        self.settings = settings or SamplingSettings()
        self.system_prompt = system_prompt
        self.mode: Mode = mode or ("chat" if tokenizer.chat is not None else "completion")
        self.last_stats: ReplyStats | None = None
        self._said = _Conversation()
        self._attempt = 0
        self._stop = threading.Event()
        self._answering = threading.Lock()
        self._cache: KVCache | None = None
        self._cached_ids: list[int] = []

    @property
    def messages(self) -> list[Message]:
        """The conversation so far, without the system prompt; while an answer is written it ends with the question."""
        turns, asked = self._said
        told = [message for turn in turns for message in turn.messages()]
        return told if asked is None else [*told, {"role": "user", "content": asked}]

    @property
    def context_length(self) -> int:
        """Tokens that the model can read and write together."""
        return self.model.config.max_position_embeddings

    def send(self, text: str) -> Iterator[str]:
        """Say `text` and stream the answer.

        Raises:
            UsageError: nothing to answer, too long for the model, or an answer is still being written.
        """
        self._check(text)
        return self._answer(self._said.turns, text, 0)

    def retry(self) -> Iterator[str]:
        """Answer the last message again, with other random numbers; streams like `send`."""
        return self._answer(self._said.turns[:-1], self._last_turn().question, self._attempt + 1)

    def edit_last(self, text: str) -> Iterator[str]:
        """Say `text` instead of the last message and stream the answer to it."""
        self._check(text)
        self._last_turn()
        return self._answer(self._said.turns[:-1], text, 0)

    def stop(self) -> None:
        """End the answer that is being written after its current token; from any thread."""
        self._stop.set()

    def reset(self) -> None:
        """Begin a new conversation with the same system prompt and settings."""
        self._refuse_while_answering()
        self._said, self._attempt, self.last_stats = _Conversation(), 0, None

    def save(self, path: Path) -> None:
        """Write the conversation, its system prompt and settings as JSON, complete or not at all."""
        write_transcript(path, Transcript(self.system_prompt, self.settings, self._said.turns))

    def load(self, path: Path) -> None:
        """Go on with a saved conversation in place of this one.

        Raises:
            UsageError: the file is missing or is none of ours; the session stays as it was.
        """
        self._refuse_while_answering()
        transcript = read_transcript(path)
        self.system_prompt, self.settings = transcript.system_prompt, transcript.settings
        self._said, self._attempt, self.last_stats = _Conversation(transcript.turns), 0, None

    def _last_turn(self) -> Turn:
        if not self._said.turns:
            raise UsageError("chat", "there is no message yet", "say something first")
        return self._said.turns[-1]

    def _check(self, text: str) -> None:
        # In completion mode an empty message means: go on, or begin some text.
        if self.mode == "chat" and not text.strip():
            raise UsageError("message", "it is empty", "write something first")

    def _refuse_while_answering(self) -> None:
        if self._answering.locked():
            raise _still_answering()

    def _answer(self, turns: tuple[Turn, ...], question: str, attempt: int) -> Iterator[str]:
        """Stream the answer to `question` after `turns`; a `stop` from now on counts, even before the first piece."""
        self._refuse_while_answering()
        self._stop = threading.Event()
        return self._stream(turns, question, attempt, self._stop)

    def _stream(self, turns: tuple[Turn, ...], question: str, attempt: int, stop: threading.Event) -> Iterator[str]:
        if not self._answering.acquire(blocking=False):
            raise _still_answering()
        before = self._said
        self._said = _Conversation(turns, question)
        reply = _Reply()
        try:
            context = self._context(turns, question)
            yield from self._write(reply, context, attempt, stop)
        except GeneratorExit:
            self._keep(reply, context, attempt)
            raise
        except BaseException:
            self._said = before
            # A step that broke off may have left some layers one token ahead of others.
            self._cache, self._cached_ids = None, []
            raise
        else:
            self._keep(reply, context, attempt)
        finally:
            self._answering.release()

    def _context(self, turns: Sequence[Turn], question: str) -> Context:
        # Some room to answer, but not so much that a short context would have no past.
        limit = self.context_length - min(self.settings.max_new_tokens, self.context_length // 4)
        build = chat_context if self.mode == "chat" else completion_context
        return build(self.tokenizer, self.system_prompt, turns, question, limit)

    def _write(self, reply: "_Reply", context: Context, attempt: int, stop: threading.Event) -> Iterator[str]:
        """Stream the answer's text into `reply` and to the caller."""
        settings = self.settings
        cache = self._prepare_cache(context.ids, settings.max_new_tokens)
        reply.reused_tokens = cache.length
        tokens = generate(
            self.model,
            context.ids,
            settings,
            self.tokenizer.stop_token_ids | self.model.config.eos_token_ids,
            stop.is_set,
            cache=cache,
            generator=make_generator(None if settings.seed is None else settings.seed + attempt),
        )
        yield from reply.follow(tokens, TextStream(self.tokenizer, skip_special_tokens=True))

    def _prepare_cache(self, ids: list[int], max_new_tokens: int) -> KVCache:
        """The cache with what it shares with `ids` kept, and at least one token of them left to read."""
        needed = min(len(ids) + max_new_tokens, self.context_length)
        if self._cache is None or self._cache.max_length < needed:
            # Doubling: a conversation that outgrows its cache is read again from its start, so let it be rare.
            size = min(self.context_length, max(SMALLEST_CACHE, 1 << (needed - 1).bit_length()))
            self._cache, self._cached_ids = make_cache(self.model, 1, size), []
        self._cache.crop(_shared_length(self._cached_ids, ids[:-1]))
        return self._cache

    def _keep(self, reply: "_Reply", context: Context, attempt: int) -> None:
        """Make the answer, as far as it came, part of the conversation."""
        turns, asked = self._said
        assert asked is not None and self._cache is not None
        self._cached_ids = [*context.ids, *reply.token_ids][: self._cache.length]
        self._said = _Conversation((*turns, Turn(asked, reply.text, reply.stopped_by)))
        self._attempt = attempt
        self.last_stats = reply.stats(context)


class _Reply:
    """An answer while it is written."""

    def __init__(self) -> None:
        self.text = ""
        self.token_ids: list[int] = []
        self.stopped_by: StopReason = "stopped"
        self.reused_tokens = 0
        self._started = time.perf_counter()
        self._first_at = self._last_at = self._started

    def follow(self, tokens: Generator[int, None, StopReason], characters: TextStream) -> Iterator[str]:
        """Yield the text of `tokens` piece by piece, as bytes become whole characters."""
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
        writing = self._last_at - self._first_at
        return ReplyStats(
            prompt_tokens=len(context.ids),
            reused_tokens=self.reused_tokens,
            tokens=len(self.token_ids),
            seconds=self._last_at - self._started,
            tokens_per_second=(len(self.token_ids) - 1) / writing if writing > 0 else 0.0,
            stopped_by=self.stopped_by,
            dropped_turns=context.dropped_turns,
            dropped_tokens=context.dropped_tokens,
        )

    def _count(self, token_id: int) -> None:
        self._last_at = time.perf_counter()
        if not self.token_ids:
            self._first_at = self._last_at
        self.token_ids.append(token_id)

    def _told(self, piece: str) -> Iterator[str]:
        # Kept before it is yielded: the consumer may not come back, and has seen it all the same.
        self.text += piece
        if piece:
            yield piece


def _still_answering() -> UsageError:
    return UsageError("chat", "an answer is still being written", "stop it first")


def _shared_length(first: Sequence[int], second: Sequence[int]) -> int:
    """How many ids from the start are the same."""
    for index, (one, other) in enumerate(zip(first, second, strict=False)):
        if one != other:
            return index
    return min(len(first), len(second))


def load_session(
    directory: Path,
    device: torch.device | str = "cpu",
    settings: SamplingSettings | None = None,
    system_prompt: str = "",
) -> ChatSession:
    """A conversation with the model of a directory; only pretrained ones open in completion mode.

    Raises:
        ModelError, TokenizerError: the directory does not hold both, or they do not belong together.
    """
    model, tokenizer = load_both(directory, device)
    model.eval()
    mode: Mode | None = "completion" if only_pretrained(directory) else None
    return ChatSession(model, tokenizer, settings, system_prompt, mode)
