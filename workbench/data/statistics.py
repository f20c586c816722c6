"""What a data file is like as a whole: how many rows, how long, in which scripts, how many twice, how many bad.

Rows are counted one by one and forgotten; what stays is a number a row, so that files larger than the memory can be
counted.
"""

import unicodedata
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Protocol

from workbench.data.conversations import Conversation, to_conversation, to_text
from workbench.data.preferences import Preference, to_preference
from workbench.data.purpose import Purpose
from workbench.data.rows import BadRow, Row, fingerprint
from workbench.data.sources import read_lines, read_rows, resolve_format
from workbench.tokenizer.chat_template import Message

Content = str | Conversation | Preference
"""What training reads of a row: a text, a conversation, or a pair of answers."""
COMPARED_ROWS = 2_000_000  # for duplicates: about 200 MB of hashes
MIXED = "mixed"
_MAIN_SHARE = 0.8  # of a row's letters, for it to count as written in one script
_LETTERS_LOOKED_AT = 2_000  # of a row
_LATIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
_BATCH = 256  # texts given to the tokenizer at once


class CountingTokenizer(Protocol):
    """What counting tokens needs of a tokenizer."""

    def encode_batch(self, texts: list[str]) -> list[list[int]]: ...


@dataclass(frozen=True)
class Lengths:
    """How long rows are: all together, on average, at most, and what half, 90 % and 99 % of them stay below."""

    total: int
    mean: float
    median: int
    p90: int
    p99: int
    longest: int


@dataclass(frozen=True)
class Statistics:
    """What was counted in a file.

    Args:
        rows: that were looked at; problems: those of them that cannot be used, by the kind of problem ("empty answer",
            say); complete: whether these are all rows of the file.
        kinds: usable rows by what they are for.
        duplicates: usable rows whose content came before, among the first two million.
        scripts: usable rows by what they are written in: "Chinese", "Japanese", "Korean", "Latin", another
            script by its Unicode name, "mixed", or "no letters".
        turns: messages by role.
        characters, tokens: of a row's texts, without what a chat template adds; None where nothing was counted.
    """

    rows: int
    problems: dict[str, int]
    complete: bool
    kinds: dict[Purpose, int]
    duplicates: int
    scripts: dict[str, int]
    turns: dict[str, int]
    characters: Lengths | None
    tokens: Lengths | None

    @property
    def bad(self) -> int:
        """Rows that cannot be used."""
        return sum(self.problems.values())


def file_statistics(
    path: Path,
    tokenizer: CountingTokenizer | None = None,
    *,
    format: str = "auto",  # noqa: A002
    limit: int | None = None,
    on_progress: Callable[[int], None] = lambda _: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Statistics:
    """Count the rows of a file; of a plain text, its lines that are not blank.

    Args:
        tokenizer: to count tokens with.
        limit: rows to look at, at most.
        on_progress: told how many rows were looked at, every thousand.
    Raises:
        DataError: the file is missing or cannot be read at all.
    """
    plain = resolve_format(path, format) == "text"
    rows = read_lines(path) if plain else read_rows(path, format)
    tally = Tally(tokenizer)
    complete = True
    for number, row in enumerate(islice(rows, None if limit is None else limit + 1)):
        if should_stop() or number == limit:
            complete = False
            break
        if plain and isinstance(row, Row) and not str(row.value).strip():
            continue
        tally.add(row)
        if number % 1000 == 999:
            on_progress(number + 1)
    return tally.statistics(complete)


class Tally:
    """Counts rows as they come."""

    def __init__(self, tokenizer: CountingTokenizer | None = None) -> None:
        self._tokenizer = tokenizer
        self._rows = self._duplicates = 0
        self._problems: Counter[str] = Counter()
        self._kinds: Counter[Purpose] = Counter()
        self._scripts: Counter[str] = Counter()
        self._turns: Counter[str] = Counter()
        self._seen: set[int] = set()
        self._characters, self._tokens = array("L"), array("L")
        self._waiting: list[str] = []

    def add(self, row: Row | BadRow) -> Content | None:
        """Count one more row; gives what training reads of it, None where it cannot be used."""
        self._rows += 1
        try:
            content = content_of(row)
        except ValueError as error:
            self._problems[str(error).partition(":")[0]] += 1
            return None
        texts = list(_texts(content))
        whole = "\n".join(texts)
        self._kinds[kind_of(content)] += 1
        self._scripts[script_of(whole)] += 1
        self._characters.append(sum(map(len, texts)))
        self._note_turns(content)
        self._note_content(row)
        if self._tokenizer is not None:
            self._waiting.append(whole)
            if len(self._waiting) >= _BATCH:
                self._count_tokens()
        return content

    def statistics(self, complete: bool = True) -> Statistics:
        """What was counted so far."""
        self._count_tokens()
        return Statistics(
            rows=self._rows,
            problems=dict(self._problems.most_common()),
            complete=complete,
            kinds=dict(self._kinds.most_common()),
            duplicates=self._duplicates,
            scripts=dict(self._scripts.most_common()),
            turns=dict(self._turns.most_common()),
            characters=_lengths(self._characters),
            tokens=_lengths(self._tokens),
        )

    def _note_turns(self, content: Content) -> None:
        messages: list[Message] = []
        if isinstance(content, Conversation):
            messages = content.messages
        elif isinstance(content, Preference):
            messages = [*content.prompt, *content.chosen, *content.rejected]
        self._turns.update(message["role"] for message in messages)

    def _note_content(self, row: Row | BadRow) -> None:
        if len(self._seen) >= COMPARED_ROWS or isinstance(row, BadRow):
            return
        number = fingerprint(row)
        if number in self._seen:
            self._duplicates += 1
        else:
            self._seen.add(number)

    def _count_tokens(self) -> None:
        if self._tokenizer is not None and self._waiting:
            self._tokens.extend(map(len, self._tokenizer.encode_batch(self._waiting)))
        self._waiting = []


def script_of(text: str) -> str:
    """What most letters of a text's beginning are of; see `Statistics.scripts`."""
    counts: Counter[str] = Counter()
    for character in islice((each for each in text if each.isalpha()), _LETTERS_LOOKED_AT):
        counts[_script(character)] += 1
    if not counts:
        return "no letters"
    if counts["Japanese"]:  # its texts are half Chinese characters
        counts["Japanese"] += counts.pop("Chinese", 0)
    name, number = counts.most_common(1)[0]
    return name if number >= _MAIN_SHARE * counts.total() else MIXED


def _script(letter: str) -> str:
    if letter in _LATIN:
        return "Latin"
    if "\u4e00" <= letter <= "\u9fff":
        return "Chinese"
    words = unicodedata.name(letter, "OTHER").split()
    names = {"CJK": "Chinese", "HIRAGANA": "Japanese", "KATAKANA": "Japanese", "HANGUL": "Korean"}
    return names.get(words[0], "Latin" if words[0] == "LATIN" else words[0].capitalize())


def content_of(row: Row | BadRow) -> Content:
    """The row as training reads it.

    Raises:
        ValueError: why it cannot be used.
    """
    if isinstance(row, BadRow):
        raise ValueError(row.reason)
    value = row.value
    if not isinstance(value, str) and "chosen" in value:
        return to_preference(value)
    if isinstance(value, str) or "text" in value or "content" in value:
        return to_text(value)
    return to_conversation(value)


def kind_of(content: Content) -> Purpose:
    """What such content is for."""
    if isinstance(content, str):
        return "pretrain"
    return "sft" if isinstance(content, Conversation) else "dpo"


def _texts(content: Content) -> Iterator[str]:
    if isinstance(content, str):
        yield content
    elif isinstance(content, Conversation):
        yield from _said(content.messages)
    else:
        for messages in (content.prompt, content.chosen, content.rejected):
            yield from _said(messages)


def _said(messages: Iterable[Message]) -> Iterator[str]:
    return (message["content"] or "" for message in messages)


def _lengths(found: "array[int]") -> Lengths | None:
    if not found:
        return None
    ordered = sorted(found)

    def below(share: float) -> int:
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]

    total = sum(ordered)
    return Lengths(total, total / len(ordered), below(0.5), below(0.9), below(0.99), ordered[-1])
