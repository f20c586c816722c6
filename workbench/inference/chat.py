"""A conversation with a model: the one session object of the terminal chat and the Chat screen."""

import threading
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Literal, NamedTuple

import torch

from workbench.errors import UsageError
from workbench.inference.context import Context, answer_ids, chat_context, completion_context
from workbench.inference.dialogue import Node, Tree, Writing
from workbench.inference.generate import StopReason, generate, make_cache
from workbench.inference.lineage import only_pretrained
from workbench.inference.loading import load_both
from workbench.inference.reply import Reply, ReplyStats
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
class Written:
    """An answer as the model read and wrote it, to look at again.

    Args:
        prompt_ids: what it read before; token_ids: what it said, the token that ended it left out.
        settings: that it was drawn with.
        stopped_by: why it ends where it does.
    """

    prompt_ids: list[int]
    token_ids: list[int]
    settings: SamplingSettings
    stopped_by: StopReason


class _State(NamedTuple):
    """What was said, and the number of the question being answered; replaced as a whole, as other threads read it."""

    tree: Tree = Tree()
    asked: int | None = None


class _Task(NamedTuple):
    """An answer to be written: to which message of which tree, drawn how, and what it begins with."""

    tree: Tree
    question: int
    settings: SamplingSettings
    system_prompt: str
    attempt: int
    given: tuple[int, ...] = ()
    over: bool = False
    context_settings: SamplingSettings | None = None


class ChatSession:
    """A conversation that streams; one answer at a time, `stop` from any thread.

    What the iterator of `send` yields is the answer's text in pieces, never half a character. An answer that is
    stopped, or whose iterator is closed early, stays as far as it came; one that fails leaves the conversation as it
    was before. `settings` and `system_prompt` may be set at any time and hold from the next answer on.

    The conversation is a tree: `retry`, `edit` and `branch` put an alternative beside what was there, `walk` goes from
    one to the other. `messages` are those shown, and those the model reads.

    Args:
        system_prompt: the first message of a chat; the opening of the text in completion mode.
        mode: chosen by whether the tokenizer has a chat template when None.
        name: of the model, for people; kept with its answers.
    """

    def __init__(
        self,
        model: Transformer,
        tokenizer: Tokenizer,
        settings: SamplingSettings | None = None,
        system_prompt: str = "",
        mode: Mode | None = None,
        name: str = "",
    ) -> None:
        if mode == "chat" and tokenizer.chat is None:
            raise UsageError("chat", "the model's tokenizer has no chat template", "use completion mode")
        self.model, self.tokenizer = model, tokenizer
        self.settings = settings or SamplingSettings()
        self.system_prompt = system_prompt
        self.mode: Mode = mode or ("chat" if tokenizer.chat is not None else "completion")
        self.name = name
        self.last_stats: ReplyStats | None = None
        self._state = _State()
        self._stop = threading.Event()
        self._answering = threading.Lock()
        self._cache: KVCache | None = None
        self._cached_ids: list[int] = []

    @property
    def tree(self) -> Tree:
        """Everything that was said, alternatives included."""
        return self._state.tree

    @property
    def messages(self) -> list[Message]:
        """The conversation shown, without the system prompt; while an answer is written it ends with the question."""
        tree, asked = self._state
        return tree.messages(asked)

    @property
    def context_length(self) -> int:
        """Tokens that the model can read and write together."""
        return self.model.config.max_position_embeddings

    @property
    def stop_ids(self) -> frozenset[int]:
        """The tokens that end an answer."""
        return frozenset(self.tokenizer.stop_token_ids | self.model.config.eos_token_ids)

    def send(self, text: str, attempt: int = 0) -> Iterator[str]:
        """Say `text` and stream the answer.

        Args:
            attempt: added to the seed, so that several answers to one message differ.
        Raises:
            UsageError: nothing to answer, too long for the model, or an answer is still being written.
        """
        return self._ask(self.tree.last, text, attempt)

    def retry(self, number: int | None = None, skip: int = 0) -> Iterator[str]:
        """Answer a message again with other random numbers; streams like `send`.

        The answer there was stays beside the new one.

        Args:
            number: of the message, or of an answer to it; the last where None.
            skip: attempts to leave out, for a session that must not draw what its twin draws.
        """
        tree = self.tree
        number = self._last("user") if number is None else number
        question = number if tree.nodes[number].role == "user" else tree.nodes[number].parent
        attempt = len(tree.children(question)) + skip
        return self._start(_Task(tree, question, self.settings, self.system_prompt, attempt))

    def edit(self, number: int, text: str, attempt: int = 0) -> Iterator[str]:
        """Say `text` instead of an earlier message of a person, which stays beside it, and stream the answer."""
        assert self.tree.nodes[number].role == "user", "answers are not edited"
        return self._ask(self.tree.nodes[number].parent, text, attempt)

    def edit_last(self, text: str, attempt: int = 0) -> Iterator[str]:
        """Say `text` instead of the last message and stream the answer to it."""
        self._check(text)
        return self.edit(self._last("user"), text, attempt)

    def branch(self, number: int, place: int, token_id: int) -> Iterator[str]:
        """Keep an answer up to one of its tokens, put another token there, and let the model go on: a new sibling.

        Args:
            number: of the answer.
            place: of the token, from 0; the number of tokens is the place behind the last.
            token_id: what is to stand there; a token that ends an answer ends it.
        Raises:
            UsageError: there is no such place.
        """
        written, writing = self.written(number), self.tree.nodes[number].writing
        if not 0 <= place <= len(written.token_ids):
            raise UsageError("branch", f"the answer has {len(written.token_ids)} tokens, no place {place}")
        over = token_id in self.stop_ids
        given = (*written.token_ids[:place], *(() if over else (token_id,)))
        question = self.tree.nodes[number].parent
        system_prompt = writing.system_prompt if writing is not None else self.system_prompt
        attempt = len(self.tree.children(question))
        task = _Task(self.tree, question, self.settings, system_prompt, attempt, given, over, written.settings)
        return self._start(task, branched_at=place)

    def written(self, number: int) -> Written:
        """An answer as this model would have read and written it.

        The tokens are those it was written with, where they were kept and are of this tokenizer; else the text's.
        """
        node = self.tree.nodes[number]
        writing = node.writing or Writing()
        settings = writing.settings or self.settings
        context = self._context(self.tree, node.parent, settings, writing.system_prompt)
        largest = max(writing.token_ids, default=self.model.config.vocab_size)
        own = writing.tokenizer == self._fingerprint and largest < self.model.config.vocab_size
        ids = list(writing.token_ids) if own else answer_ids(self.tokenizer, node.text)
        return Written(context.ids, ids, settings, writing.stopped_by)

    def walk(self, number: int, step: int) -> None:
        """Show the sibling of a message that stands `step` places further; nothing happens where there is none."""
        self._refuse_while_answering()
        self._state = _State(self.tree.beside(number, step))

    def take(self, tree: Tree) -> None:
        """Go on with another conversation in place of this one."""
        self._refuse_while_answering()
        self._state, self.last_stats = _State(tree), None

    def stop(self) -> None:
        """End the answer that is being written after its current token; from any thread."""
        self._stop.set()

    def reset(self) -> None:
        """Begin a new conversation with the same system prompt and settings."""
        self.take(Tree())

    def twin(self) -> "ChatSession":
        """Another session with the same model, standing where this one stands."""
        twin = ChatSession(self.model, self.tokenizer, self.settings, self.system_prompt, self.mode, self.name)
        twin.take(self.tree)
        return twin

    def save(self, path: Path, title: str = "") -> None:
        """Write the conversation, its system prompt and settings as JSON, complete or not at all."""
        write_transcript(path, Transcript(self.system_prompt, self.settings, self.tree, title, self.name))

    def load(self, path: Path) -> Transcript:
        """Go on with a saved conversation in place of this one.

        Raises:
            UsageError: the file is missing or is none of ours; the session stays as it was.
        """
        self._refuse_while_answering()
        transcript = read_transcript(path)
        self.system_prompt, self.settings = transcript.system_prompt, transcript.settings
        self.take(transcript.tree)
        return transcript

    @cached_property
    def _fingerprint(self) -> str:
        return self.tokenizer.fingerprint[:16]  # enough to tell a person's few tokenizers apart

    def _last(self, role: str) -> int:
        tree = self.tree
        for number in reversed(tree.path()):
            if tree.nodes[number].role == role:
                return number
        raise UsageError("chat", "there is no message yet", "say something first")

    def _check(self, text: str) -> None:
        # In completion mode an empty message means: go on, or begin some text.
        if self.mode == "chat" and not text.strip():
            raise UsageError("message", "it is empty", "write something first")

    def _refuse_while_answering(self) -> None:
        if self._answering.locked():
            raise _still_answering()

    def _ask(self, parent: int, text: str, attempt: int) -> Iterator[str]:
        self._check(text)
        tree = self.tree.add(Node(parent, "user", text))
        return self._start(_Task(tree, tree.last, self.settings, self.system_prompt, attempt))

    def _start(self, task: _Task, branched_at: int | None = None) -> Iterator[str]:
        """Stream the answer of `task`; a `stop` from now on counts, even before the first piece."""
        self._refuse_while_answering()
        self._stop = threading.Event()
        return self._stream(task, self._stop, branched_at)

    def _stream(self, task: _Task, stop: threading.Event, branched_at: int | None) -> Iterator[str]:
        if not self._answering.acquire(blocking=False):
            raise _still_answering()
        before = self._state
        self._state = _State(task.tree, task.question)
        reply = Reply(task.given)
        writing = Writing(
            tokenizer=self._fingerprint,
            model=self.name,
            settings=task.settings,
            system_prompt=task.system_prompt,
            branched_at=branched_at,
        )
        try:
            settings = task.context_settings or task.settings
            context = self._context(task.tree, task.question, settings, task.system_prompt)
            yield from self._write(reply, context, task, stop)
        except GeneratorExit:
            self._keep(reply, context, task, writing)
            raise
        except BaseException:
            self._state = before
            # A step that broke off may have left some layers one token ahead of others.
            self._cache, self._cached_ids = None, []
            raise
        else:
            self._keep(reply, context, task, writing)
        finally:
            self._answering.release()

    def _context(self, tree: Tree, question: int, settings: SamplingSettings, system_prompt: str) -> Context:
        # Some room to answer, but not so much that a short context would have no past.
        limit = self.context_length - min(settings.max_new_tokens, self.context_length // 4)
        build = chat_context if self.mode == "chat" else completion_context
        turns = tree.turns(tree.nodes[question].parent)
        return build(self.tokenizer, system_prompt, turns, tree.nodes[question].text, limit)

    def _write(self, reply: Reply, context: Context, task: _Task, stop: threading.Event) -> Iterator[str]:
        """Stream the answer's text into `reply` and to the caller."""
        tokens = _nothing() if task.over else self._tokens(reply, context, task, stop)
        yield from reply.follow(tokens, TextStream(self.tokenizer, skip_special_tokens=True))

    def _tokens(
        self, reply: Reply, context: Context, task: _Task, stop: threading.Event
    ) -> Generator[int, None, StopReason]:
        settings, ids = task.settings, [*context.ids, *task.given]
        left = settings.max_new_tokens - len(task.given)
        # An answer that was as long as it may be, and is to go on, has as much again.
        settings = replace(settings, max_new_tokens=left if left > 0 else settings.max_new_tokens)
        cache = self._prepare_cache(ids, settings.max_new_tokens)
        reply.reused_tokens = cache.length
        generator = make_generator(None if settings.seed is None else settings.seed + task.attempt)
        return generate(self.model, ids, settings, self.stop_ids, stop.is_set, cache=cache, generator=generator)

    def _prepare_cache(self, ids: list[int], max_new_tokens: int) -> KVCache:
        """The cache with what it shares with `ids` kept, and at least one token of them left to read."""
        needed = min(len(ids) + max_new_tokens, self.context_length)
        if self._cache is None or self._cache.max_length < needed:
            # Doubling: a conversation that outgrows its cache is read again from its start, so let it be rare.
            size = min(self.context_length, max(SMALLEST_CACHE, 1 << (needed - 1).bit_length()))
            self._cache, self._cached_ids = make_cache(self.model, 1, size), []
        self._cache.crop(_shared_length(self._cached_ids, ids[:-1]))
        return self._cache

    def _keep(self, reply: Reply, context: Context, task: _Task, writing: Writing) -> None:
        """Make the answer, as far as it came, part of the conversation."""
        if self._cache is not None and not task.over:
            self._cached_ids = [*context.ids, *reply.token_ids][: self._cache.length]
        writing = replace(writing, stopped_by=reply.stopped_by, token_ids=tuple(reply.token_ids))
        self._state = _State(task.tree.add(Node(task.question, "assistant", reply.text, writing)))
        self.last_stats = reply.stats(context)


def _nothing() -> Generator[int, None, StopReason]:
    """An answer that ends at once."""
    yield from ()
    return "end"


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
    name: str = "",
) -> ChatSession:
    """A conversation with the model of a directory; only pretrained ones open in completion mode.

    Args:
        name: of the model, for people; the directory's where empty.
    Raises:
        ModelError, TokenizerError: the directory does not hold both, or they do not belong together.
    """
    model, tokenizer = load_both(directory, device)
    model.eval()
    mode: Mode | None = "completion" if only_pretrained(directory) else None
    return ChatSession(model, tokenizer, settings, system_prompt, mode, name or str(directory))
