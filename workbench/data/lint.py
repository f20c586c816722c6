"""What is suspicious in a data file, with file and line, before hours are spent on it."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from workbench.data.conversations import Conversation, to_conversation, to_text
from workbench.data.preferences import Preference, to_preference
from workbench.data.rows import BadRow, Row, fingerprint
from workbench.data.sources import read_lines, read_rows, resolve_format
from workbench.tokenizer.chat_template import Message

Severity = Literal["error", "warning", "note"]
Content = str | Conversation | Preference
CONTROL_TOKENS = (
    *("<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<|start_header_id|>"),
    *("<s>", "</s>", "[INST]", "[/INST]"),
)
FINDINGS_KEPT = 1000
ROWS_COMPARED = 2_000_000  # for duplicates: about 200 MB of hashes
FOLLOWERS = {
    "": {"system", "user"},
    "system": {"user"},
    "user": {"assistant"},
    "assistant": {"user", "tool"},
    "tool": {"tool", "assistant"},
}


class LintTokenizer(Protocol):
    """What measuring rows needs of a tokenizer."""

    def encode_batch(self, texts: list[str]) -> list[list[int]]: ...


@dataclass(frozen=True)
class Finding:
    """Something to look at in a data file.

    Args:
        severity: an error is a row that cannot be used; a warning would teach something unwanted; a note informs.
    """

    file: str
    line: int
    severity: Severity
    message: str


def lint(
    path: Path,
    kind: Literal["pretrain", "sft", "dpo"],
    tokenizer: LintTokenizer | None = None,
    *,
    format: str = "auto",  # noqa: A002
    sequence_length: int | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> list[Finding]:
    """The findings of a file in order, up to `FINDINGS_KEPT` of them and a last one that says so.

    Args:
        kind: what the file is for.
        tokenizer: with `sequence_length`, tells of rows that are longer.
    Raises:
        DataError: the file is missing or cannot be read at all.
    """
    findings: list[Finding] = []
    seen: dict[int, int] = {}
    row: Row | BadRow | None = None
    plain = resolve_format(path, format) == "text"
    for row in read_lines(path) if plain else read_rows(path, format):
        if should_stop():
            break
        if plain and isinstance(row, Row) and kind == "pretrain":
            findings += [Finding(row.file, row.line, "warning", text) for text in _text_problems([str(row.value)])]
        else:
            findings += _row_findings(row, kind, seen, tokenizer, sequence_length)
        if len(findings) >= FINDINGS_KEPT:
            message = f"stopped after {FINDINGS_KEPT} findings; the rest of the file was not looked at"
            findings.append(Finding(str(path), row.line, "note", message))
            break
    if row is None:
        findings.append(Finding(str(path), 1, "error", "empty: there is no row in this file"))
    return findings


def _row_findings(
    row: Row | BadRow, kind: str, seen: dict[int, int], tokenizer: LintTokenizer | None, sequence_length: int | None
) -> Iterator[Finding]:
    def found(severity: Severity, message: str) -> Finding:
        return Finding(row.file, row.line, severity, message)

    if isinstance(row, BadRow):
        yield found("error", row.reason)
        return
    try:
        content = _content(row, kind)
    except ValueError as error:
        yield found("error", str(error))
        return
    if (first := _seen_before(row, seen)) is not None:
        yield found("warning", f"the same as line {first}")
    for message in _conversation_problems(content):
        yield found("warning", message)
    texts = list(_texts(content))
    for message in _text_problems(texts):
        yield found("warning", message)
    if tokenizer is not None and sequence_length is not None and kind != "pretrain":
        length = sum(map(len, tokenizer.encode_batch(texts)))
        if length > sequence_length:
            yield found("note", f"{length} tokens are longer than a row of {sequence_length}: its end will be cut off")


def _content(row: Row, kind: str) -> Content:
    if kind == "pretrain":
        return to_text(row.value)
    return to_conversation(row.value) if kind == "sft" else to_preference(row.value)


def _seen_before(row: Row, seen: dict[int, int]) -> int | None:
    """The line of the first row with this content, if there was one."""
    number = fingerprint(row)
    first = seen.get(number)
    if first is None and len(seen) < ROWS_COMPARED:
        seen[number] = row.line
    return first


def _texts(content: Content) -> Iterator[str]:
    if isinstance(content, str):
        yield content
    elif isinstance(content, Conversation):
        yield from (message["content"] for message in content.messages)
    else:
        for messages in (content.prompt, content.chosen, content.rejected):
            yield from (message["content"] for message in messages)


def _text_problems(texts: Iterable[str]) -> Iterator[str]:
    whole = "\n".join(texts)
    if "\ufffd" in whole:
        yield f"{whole.count(chr(0xFFFD))} replacement characters: the text was decoded wrongly before"
    for token in CONTROL_TOKENS:
        if token in whole:
            yield f"the control token {token} stands in the text; it will be plain text, not control"
    controls = {character for character in whole if character < " " and character not in "\t\n\r"}
    if controls:
        yield f"control characters: {', '.join(f'U+{ord(character):04X}' for character in sorted(controls))}"


def _conversation_problems(content: Content) -> Iterator[str]:
    if isinstance(content, Conversation):
        yield from _order_problems(content.messages)
    elif isinstance(content, Preference):
        yield from _order_problems([*content.prompt, *content.chosen])


def _order_problems(messages: list[Message]) -> Iterator[str]:
    before = ""
    for number, message in enumerate(messages, 1):
        role = message["role"]
        if role not in FOLLOWERS[before]:
            first = f"turn {number} is by {role}, with no turn before it"
            yield f"turn {number} is by {role}, after {before}" if before else first
        if role == "user" and not message["content"].strip():
            yield f"turn {number} of the user is empty"
        before = role
    if before != "assistant":
        yield f"the last turn is by {before}: nothing is learnt from it"
