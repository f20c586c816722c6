"""A row of data in words: its line in a list, its raw form, its turns, its tokens with the loss mask."""

import json
from dataclasses import dataclass
from typing import Literal

from textual.content import Content

from workbench.data.conversations import Conversation, to_conversation, to_text
from workbench.data.preferences import Encoded, Preference, encode_preference, to_preference
from workbench.data.rows import BadRow, Row
from workbench.errors import TokenizerError
from workbench.language import retell, tr, tr_many
from workbench.tokenizer.chat_template import Message, encode_conversation
from workbench.tokenizer.tokenizer import Tokenizer

Kind = Literal["pretrain", "sft", "dpo"]

CHARACTERS_SHOWN = 20_000  # of a row; a longer one is cut before it is styled, or drawing it would take seconds
TOKENS_SHOWN = 4_000
PREVIEW_CHARACTERS = 400
ROLE_STYLES = {"system": "$warning", "user": "$primary", "assistant": "$accent", "tool": "$secondary"}
TINTS = ("$primary", "$accent")  # of neighbouring trained tokens, so that each can be told from the next


@dataclass(frozen=True)
class Decoded:
    """A row as training reads it.

    Args:
        kind: pretrain for a text, sft for a conversation, dpo for a preference pair.
    """

    kind: Kind
    content: str | Conversation | Preference


@dataclass(frozen=True)
class RowPreview:
    """A row in a list."""

    number: int
    text: str
    tokens: int | None = None
    bad: bool = False


def problem_of(row: Row | BadRow) -> Decoded | str:
    """The row as training reads it, or why it cannot be used."""
    if isinstance(row, BadRow):
        return row.reason
    value = row.value
    if isinstance(value, str):
        return Decoded("pretrain", value)
    try:
        if "chosen" in value:
            return Decoded("dpo", to_preference(value))
        if "text" in value or "content" in value:
            return Decoded("pretrain", to_text(value))
        return Decoded("sft", to_conversation(value))
    except ValueError as error:
        return str(error)


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


def token_view(row: Row | BadRow, tokenizer: Tokenizer, sequence_length: int | None, ids_shown: bool) -> Content:
    """Every token of a row with what training makes of it, told by form as well as by colour.

    Raises:
        TokenizerError: the chat template refuses the messages.
    """
    decoded = problem_of(row)
    if isinstance(decoded, str):
        return bad_view(row, decoded)
    if not isinstance(decoded.content, Preference):
        return _tokens(*encode(decoded, tokenizer), decoded.kind, tokenizer, sequence_length, ids_shown)
    parts: list[Content] = []
    for title, style, (ids, mask) in zip(
        (f"✓ {tr('chosen')}", f"✗ {tr('rejected')}"),
        ("$success", "$error"),
        encode_preference(tokenizer, decoded.content),
        strict=True,
    ):
        parts += [
            Content.styled(title, f"bold {style}"),
            _tokens(ids, mask, decoded.kind, tokenizer, sequence_length, ids_shown),
        ]
    return Content("\n\n").join(parts)


def _tokens(
    ids: list[int], mask: list[bool], kind: Kind, tokenizer: Tokenizer, sequence_length: int | None, ids_shown: bool
) -> Content:
    """The tokens of one row of training, below what they add up to."""
    limit = len(ids) if kind == "pretrain" or sequence_length is None else sequence_length + 1
    parts: list[Content] = [_legend(ids, mask, limit, sequence_length), Content("\n\n")]
    for place, (token, trained) in enumerate(zip(ids[:TOKENS_SHOWN], mask, strict=False)):
        parts.append(_token(tokenizer, token, place, trained, place >= limit))
        if ids_shown:
            parts.append(Content.styled(f":{token}", "$foreground 60%"))
        parts.append(Content("\n" if b"\n" in tokenizer.token_bytes(token) else " "))
    if len(ids) > TOKENS_SHOWN:
        parts.append(Content.styled(tr("… {count:,} more", count=len(ids) - TOKENS_SHOWN), "$foreground 60%"))
    return Content("").join(parts)


def _legend(ids: list[int], mask: list[bool], limit: int, sequence_length: int | None) -> Content:
    trained, cut = sum(mask[:limit]), max(0, len(ids) - limit)
    row_of = tr("row of {tokens}", tokens=sequence_length)
    return Content.assemble(
        (f"{tr('{count} tokens', count=f'{len(ids):,}')}   ", "bold"),
        (tr("trained"), f"underline {TINTS[0]}"),
        f" {trained:,}   ",
        (tr("not trained"), "$foreground 60%"),
        f" {len(ids) - trained - cut:,}   ",
        (tr("cut off"), "strike $error"),
        f" {cut:,}{f' ({row_of})' if limit == (sequence_length or 0) + 1 else ''}   ",
        (tr("<control>"), "bold italic $warning"),
    )


def _token(tokenizer: Tokenizer, token: int, place: int, trained: bool, cut: bool) -> Content:
    control = not tokenizer.token_bytes(token)
    if cut:
        style = "strike $error"
    elif control:
        style = f"bold italic $warning{' underline' if trained else ''}"
    else:
        style = f"underline {TINTS[place % 2]}" if trained else "$foreground 60%"
    return Content.styled(tokenizer.token_label(token), style)


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
