"""Conversations as text, and as token ids with a loss mask: one Jinja template gives both.

Only what the assistant says carries loss: its thoughts, text, tool calls and the token that ends its turn; not the
header that opens the turn, nor the line break after it. Where a turn begins and ends comes from the template itself:
from its generation markers when it has them, else by comparing what it renders for the messages before a turn,
with the prompt for an answer, with what it renders for all of them.
"""

import json
import re
import secrets
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cached_property
from typing import Any, NotRequired, Protocol, TypedDict

from jinja2 import TemplateSyntaxError, nodes
from jinja2.exceptions import TemplateError
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.runtime import Macro
from jinja2.sandbox import ImmutableSandboxedEnvironment

from workbench.errors import TokenizerError
from workbench.tokenizer.chatml import DEFAULT_TEMPLATE as DEFAULT_TEMPLATE  # part of what this file offers
from workbench.tokenizer.chatml import MARKED_TEMPLATE
from workbench.tokenizer.special_tokens import ControlTokens


class Message(TypedDict):
    """One turn of a conversation, as Hugging Face and OpenAI write it."""

    role: str
    content: str
    reasoning_content: NotRequired[str]
    tool_calls: NotRequired[list[Any]]


Span = tuple[int, int]
Tools = Sequence[Mapping[str, Any]]


class ChatTokenizer(Protocol):
    """What encoding a conversation needs of a tokenizer."""

    chat: "ChatTemplate | None"
    controls: ControlTokens

    def encode_with_offsets(self, text: str) -> tuple[list[int], list[Span]]: ...

    def encode_private(self, text: str) -> tuple[list[int], list[Span]]: ...


def encode_conversation(
    tokenizer: ChatTokenizer, messages: Sequence[Message], tools: Tools | None = None
) -> tuple[list[int], list[bool]]:
    """A conversation's token ids, and for each whether it carries loss.

    The ids are those of the rendered text; control tokens written inside messages are encoded as plain text.

    Raises:
        TokenizerError: there is no chat template, or it refuses these messages.
    """
    chat = _chat_of(tokenizer)
    quote = tokenizer.controls.quote
    text, spans = chat.render_with_spans(quote(chat.with_thoughts_apart(messages)), quote(tools))
    ids, offsets = _encode_rendered(tokenizer, text)
    if tokenizer.controls.mark in text:
        spans = [(len(tokenizer.controls.reveal(text[:a])), len(tokenizer.controls.reveal(text[:b]))) for a, b in spans]
    return ids, _mask(offsets, spans)


def encode_prompt(tokenizer: ChatTokenizer, messages: Sequence[Message], tools: Tools | None = None) -> list[int]:
    """The token ids of a conversation, up to where the assistant is to answer."""
    chat = _chat_of(tokenizer)
    quote = tokenizer.controls.quote
    text = chat.render(quote(chat.with_thoughts_apart(messages)), True, quote(tools))
    return _encode_rendered(tokenizer, text)[0]


class ChatTemplate:
    """A chat template in Jinja, rendered in a sandbox under the rules of transformers.

    Args:
        source: the template's text.
        named_tokens: what the template may ask for, such as `bos_token`.
        controls: the tokenizer's control tokens.
        where: the file it came from, for error messages.

    Raises:
        TokenizerError: the template has a syntax error.
    """

    def __init__(
        self,
        source: str,
        named_tokens: Mapping[str, str] | None = None,
        controls: ControlTokens | None = None,
        where: str = "chat template",
    ) -> None:
        self.source = source
        self._where = where
        self._named_tokens = dict(named_tokens or {})
        self._controls = controls or ControlTokens({})
        nonce = secrets.token_hex(8)  # nothing in a message can pass for one of our markers
        self._open, self._close = f"\ufdd0{nonce}+\ufdd1", f"\ufdd0{nonce}-\ufdd1"
        self._marker = re.compile(f"({re.escape(self._open)}|{re.escape(self._close)})")
        environment = _environment((self._open, self._close))
        try:
            self._template = environment.from_string(MARKED_TEMPLATE if source == DEFAULT_TEMPLATE else source)
        except TemplateSyntaxError as error:
            raise TokenizerError(
                where, f"the chat template has a syntax error in line {error.lineno}: {error.message}", "correct it"
            ) from error

    def render(
        self, messages: Sequence[Message], add_generation_prompt: bool = False, tools: Tools | None = None
    ) -> str:
        """The conversation as text, with the opening of the assistant's next turn if wanted.

        Raises:
            TokenizerError: the template refuses these messages or fails on them.
        """
        return self._marker.sub("", self._render(messages, add_generation_prompt, tools))

    def render_with_spans(self, messages: Sequence[Message], tools: Tools | None = None) -> tuple[str, list[Span]]:
        """The conversation as text, and the character ranges the assistant wrote, in order."""
        marked = self._render(messages, False, tools)
        if self._open in marked:
            return self._without_markers(marked)
        return marked, self._spans_by_comparison(messages, tools, marked)

    def with_thoughts_apart(self, messages: Sequence[Message]) -> list[Message]:
        """The messages, thoughts at the head of an answer moved to `reasoning_content` if the template knows that.

        Datasets and models write `<think>...</think>` inside the content; quoted, a template would not find it there.
        """
        if "reasoning_content" not in self.source:
            return list(messages)
        return [_with_thoughts_apart(message) for message in messages]

    @cached_property
    def end_of_turn(self) -> str | None:
        """The control token that ends an assistant's turn, or None if the template writes none."""
        probe: list[Message] = [{"role": "user", "content": "question"}, {"role": "assistant", "content": "answer"}]
        try:
            after = self.render(probe).rpartition("answer")[2]
        except TokenizerError:
            return None
        found = self._controls.pattern.search(after)
        return found[0] if found else None

    def _render(self, messages: Sequence[Message], add_generation_prompt: bool, tools: Tools | None) -> str:
        try:
            return self._template.render(
                **self._named_tokens,
                # An absent field is what templates expect; None would be written as "None" by many.
                messages=[{key: value for key, value in message.items() if value is not None} for message in messages],
                tools=tools or None,
                documents=None,
                add_generation_prompt=add_generation_prompt,
            )
        except Exception as error:  # the template is a stranger's program: it may fail in any way
            raise TokenizerError(
                self._where,
                f"the chat template cannot render these {len(messages)} messages: {error}",
                "check roles and contents, or the template",
            ) from error

    def _without_markers(self, marked: str) -> tuple[str, list[Span]]:
        text, spans, start = "", [], 0
        for piece in self._marker.split(marked):
            if piece == self._open:
                start = len(text)
            elif piece == self._close:
                spans.append((start, len(text)))
            else:
                text += piece
        return text, spans

    def _spans_by_comparison(self, messages: Sequence[Message], tools: Tools | None, text: str) -> list[Span]:
        spans = []
        for index, message in enumerate(messages):
            if message.get("role") != "assistant":
                continue
            before = self.render(messages[:index], False, tools)
            prompt = self.render(messages[:index], True, tools)
            start = _common_length(prompt, text)
            if start < len(before) or not text.startswith(before):
                raise TokenizerError(
                    self._where,
                    f"the chat template writes the messages before number {index + 1} differently once more follow, "
                    "so the assistant's part cannot be told apart",
                    "mark it with {% generation %} ... {% endgeneration %} in the template",
                )
            spans.append((start, self._end_of_turn_after(start, messages[: index + 1], tools, text)))
        return spans

    def _end_of_turn_after(self, start: int, messages: Sequence[Message], tools: Tools | None, text: str) -> int:
        found = text.find(self.end_of_turn, start) if self.end_of_turn else -1
        if self.end_of_turn and found >= 0:
            return found + len(self.end_of_turn)
        return _common_length(self.render(messages, False, tools), text)


def _common_length(first: str, second: str) -> int:
    """How many characters two texts have in common at their beginning."""
    if second.startswith(first):
        return len(first)
    pairs = enumerate(zip(first, second, strict=False))
    return next((index for index, (one, other) in pairs if one != other), len(second))


def _with_thoughts_apart(message: Message) -> Message:
    content, apart = message.get("content"), message.get("reasoning_content")
    if message.get("role") != "assistant" or not isinstance(content, str) or (apart and apart.strip()):
        return message
    head, closed, answer = content.partition("</think>")
    if not closed or not head.lstrip().startswith("<think>"):
        return message
    thoughts = head.lstrip().removeprefix("<think>").strip("\n")
    return {**message, "reasoning_content": thoughts, "content": answer.lstrip("\n")}


def _chat_of(tokenizer: ChatTokenizer) -> ChatTemplate:
    if tokenizer.chat is None:
        raise TokenizerError(
            "tokenizer", "it has no chat template, so it cannot encode conversations", "add chat_template.jinja"
        )
    return tokenizer.chat


def _encode_rendered(tokenizer: ChatTokenizer, text: str) -> tuple[list[int], list[Span]]:
    """Ids and character ranges of a chat rendered from quoted messages."""
    if tokenizer.controls.mark in text:
        return tokenizer.encode_private(tokenizer.controls.reveal(text))
    return tokenizer.encode_with_offsets(text)


def _mask(offsets: Sequence[Span], spans: Sequence[Span]) -> list[bool]:
    """For each token whether it begins inside one of the spans, which are in order."""
    mask, index = [], 0
    for start, _ in offsets:
        while index < len(spans) and spans[index][1] <= start:
            index += 1
        mask.append(index < len(spans) and spans[index][0] <= start)
    return mask


class _GenerationMarkers(Extension):
    """`{% generation %} ... {% endgeneration %}`: puts the environment's two markers around what the assistant says."""

    tags = {"generation"}

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("_marked"), [], [], body).set_lineno(line)

    def _marked(self, caller: Macro) -> str:
        opening, closing = self.environment.generation_markers  # type: ignore[attr-defined]
        return f"{opening}{caller()}{closing}"


def _environment(generation_markers: tuple[str, str]) -> ImmutableSandboxedEnvironment:
    """The sandbox of chat templates, with what transformers offers them."""
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_GenerationMarkers, loopcontrols]
    )
    environment.extend(generation_markers=generation_markers)
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _raise_exception
    environment.globals["strftime_now"] = _strftime_now
    return environment


def _to_json(value: Any, ensure_ascii: bool = False, indent: int | None = None, **options: Any) -> str:
    """JSON as transformers writes it; Jinja's own filter would escape `<` and `&`."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, **options)


def _raise_exception(message: str) -> None:
    raise TemplateError(message)


def _strftime_now(form: str) -> str:
    return datetime.now().strftime(form)
