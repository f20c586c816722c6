"""A row of data in words: its line in a list, its raw form, its turns, its tokens with the loss mask."""

import json
from dataclasses import dataclass

from textual.content import Content

from workbench.data.conversations import Conversation
from workbench.data.preferences import Encoded, Preference, encode_preference
from workbench.data.purpose import Purpose
from workbench.data.rows import BadRow, Row
from workbench.data.statistics import Content as RowContent
from workbench.data.statistics import content_of, kind_of
from workbench.errors import TokenizerError
from workbench.language import retell, tr, tr_many
from workbench.tokenizer.chat_template import Message, encode_conversation
from workbench.tokenizer.tokenizer import Tokenizer

CHARACTERS_SHOWN = 20_000  # of a row; a longer one is cut before it is styled, or drawing it would take seconds
PREVIEW_CHARACTERS = 400
ROLE_STYLES = {"system": "$warning", "user": "$primary", "assistant": "$accent", "tool": "$secondary"}


@dataclass(frozen=True)
class Decoded:
    """A row as training reads it.

    Args:
        kind: pretrain for a text, sft for a conversation, dpo for a preference pair.
    """

    kind: Purpose
    content: RowContent


@dataclass(frozen=True)
class RowPreview:
    """A row in a list."""

    number: int
    text: str
    tokens: int | None = None
    bad: bool = False


def problem_of(row: Row | BadRow) -> Decoded | str:
    """The row as training reads it, or why it cannot be used."""
    if isinstance(row, Row) and isinstance(row.value, str) and not row.value.strip():
        return Decoded("pretrain", row.value)  # an empty line of a plain text
    try:
        content = content_of(row)
    except ValueError as error:
        return str(error)
    return Decoded(kind_of(content), content)


def token_count(decoded: Decoded, tokenizer: Tokenizer) -> int:
    """Tokens of a row; of a text too long to be read for this, about as many as its beginning lets expect.

    Raises:
        TokenizerError: the chat template refuses the messages.
    """
    counted = len(encode(decoded, tokenizer)[0])
    content = decoded.content
    return counted if not isinstance(content, str) else round(counted * max(1.0, len(content) / CHARACTERS_SHOWN))


def encode(decoded: Decoded, tokenizer: Tokenizer) -> Encoded:
    """Token ids of a row, and for each whether it is a target of training; of a pair the longer answer's.

    Raises:
        TokenizerError: the chat template refuses the messages.
    """
    content = decoded.content
    if isinstance(content, Preference):
        return max(encode_preference(tokenizer, content), key=lambda side: len(side[0]))
    if isinstance(content, Conversation):
        return encode_conversation(tokenizer, content.messages, content.tools)
    ids = [*tokenizer.encode(content[:CHARACTERS_SHOWN]), tokenizer.eos_token_id]
    # Nothing stands before a document's first token, so nothing is asked to foretell it.
    return ids, [place > 0 for place in range(len(ids))]


def preview(number: int, row: Row | BadRow, tokenizer: Tokenizer | None) -> RowPreview:
    """The row's line in a list."""
    decoded = problem_of(row)
    if isinstance(decoded, str):
        return RowPreview(
            number, tr("✗ line {line}: {reason}", line=row.line, reason=_one_line(retell(decoded))), bad=True
        )
    tokens = None
    if tokenizer is not None and len(_whole_text(decoded)) <= CHARACTERS_SHOWN:
        try:
            tokens = len(encode(decoded, tokenizer)[0])
        except TokenizerError:
            tokens = None  # the detail says why
    return RowPreview(number, _one_line(_whole_text(decoded)), tokens)


def raw_view(row: Row | BadRow) -> Content:
    """The row as its file holds it: JSON set out over lines, or the text."""
    if isinstance(row, BadRow):
        return bad_view(row, row.reason)
    text = row.value if isinstance(row.value, str) else json.dumps(row.value, ensure_ascii=False, indent=2)
    return _clipped(text)


def decoded_view(row: Row | BadRow) -> Content:
    """The row as turns or as text."""
    decoded = problem_of(row)
    if isinstance(decoded, str):
        return bad_view(row, decoded)
    content = decoded.content
    if isinstance(content, str):
        return _clipped(content)
    if isinstance(content, Conversation):
        tools = (
            [tr_many("{count} tool is offered", "{count} tools are offered", len(content.tools))]
            if content.tools
            else []
        )
        return Content("\n\n").join([*map(Content, tools), *map(_turn, content.messages)])
    parts = [*map(_turn, content.prompt)]
    for title, style, messages in (
        (f"✓ {tr('chosen')}", "$success", content.chosen),
        (f"✗ {tr('rejected')}", "$error", content.rejected),
    ):
        parts += [Content.styled(title, f"bold {style}"), *map(_turn, messages)]
    return Content("\n\n").join(parts)


def bad_view(row: Row | BadRow, reason: str) -> Content:
    """Where a row is that cannot be used, and why."""
    return Content.assemble(
        (f"✗ {tr('this row cannot be used')}\n\n", "bold $error"),
        (f"{retell(reason)}\n\n", "$error"),
        (tr("{file}, line {line}", file=row.file, line=row.line), "$foreground 60%"),
    )


def _turn(message: Message) -> Content:
    role = message["role"]
    parts = [Content.styled(role, f"bold {ROLE_STYLES.get(role, '$foreground')}"), Content("\n")]
    if thought := message.get("reasoning_content"):
        parts += [Content.styled(f"{thought[:CHARACTERS_SHOWN]}\n", "italic $foreground 60%")]
    parts.append(_clipped(message["content"]))
    for call in message.get("tool_calls") or []:
        parts.append(
            Content.styled(f"\n{tr('calls')} {json.dumps(call.get('function', call), ensure_ascii=False)}", "$warning")
        )
    return Content("").join(parts)


def _clipped(text: str) -> Content:
    shown = visible(text[:CHARACTERS_SHOWN])
    if len(text) <= CHARACTERS_SHOWN:
        return Content(shown)
    more = tr("… {count:,} more characters", count=len(text) - CHARACTERS_SHOWN)
    return Content.assemble(shown, (f"\n{more}", "$foreground 60%"))


def visible(text: str) -> str:
    """`text` with control characters as signs: they would move the terminal's cursor."""
    if text.isprintable():
        return text
    return "".join(
        letter
        if letter.isprintable() or letter in "\n\t\u3000"
        else chr(0x2400 + ord(letter))
        if letter < " "
        else "\ufffd"
        for letter in text
    )


def _whole_text(decoded: Decoded) -> str:
    content = decoded.content
    if isinstance(content, str):
        return content
    messages = content.messages if isinstance(content, Conversation) else [*content.prompt, *content.chosen]
    return "  ".join(f"{message['role']}: {message['content']}" for message in messages)


def _one_line(text: str) -> str:
    head = text[:PREVIEW_CHARACTERS]
    return visible(head.replace("\r", "").replace("\n", "⏎").replace("\t", " "))
