"""How a tokenizer comes from text to tokens, step by step: the words it cuts, and the merges within each."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from workbench.tokenizer.tokenizer import Tokenizer

_LONGEST_WORD = 400  # symbols that merges are shown for; without spaces a text is one word to some tokenizers


@dataclass(frozen=True)
class Word:
    """A piece of text that is merged by itself.

    Args:
        start, end: its place in the text, in characters.
        steps: its symbols as the tokenizer spells them, at first and after each merge; only the last for a word that
            needs no merge, or that is too long to be shown.
        ids: the tokens it becomes.
    """

    start: int
    end: int
    steps: tuple[tuple[str, ...], ...]
    ids: tuple[int, ...]


class MergeTable:
    """The merges of a tokenizer, the most frequent of its training first.

    Args:
        tokenizer: of any kind; one that does not merge has an empty table, and its words come in one step.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        model: dict[str, Any] = json.loads(tokenizer.backend.to_str())["model"]
        merges = model.get("merges") or []
        pairs = [tuple(each.split(" ", 1)) if isinstance(each, str) else tuple(each) for each in merges]
        self._ranks: dict[tuple[str, ...], int] = {pair: rank for rank, pair in enumerate(pairs)}
        self._whole_words = bool(model.get("ignore_merges"))
        self._byte_fallback = bool(model.get("byte_fallback"))
        self._vocabulary, self._backend = tokenizer.vocabulary, tokenizer.backend
        self._unknown = tokenizer.vocabulary.get(model.get("unk_token") or "")
        added = tokenizer.backend.get_added_tokens_decoder().values()
        names = [re.escape(token.content) for token in added if token.content not in tokenizer.controls.ids]
        self._added = re.compile("|".join(sorted(names, key=len, reverse=True))) if names else None

    def __len__(self) -> int:
        return len(self._ranks)

    def words(self, text: str) -> list[Word]:
        """The words of `text` in order; control tokens written in it are text like any other."""
        found, done = [], 0
        for match in self._added.finditer(text) if self._added is not None else ():
            found += self._cut(text[done : match.start()], done)
            found.append(Word(*match.span(), ((match[0],),), (self._vocabulary[match[0]],)))
            done = match.end()
        return [*found, *self._cut(text[done:], done)]

    def _cut(self, text: str, at: int) -> list[Word]:
        """The words of a stretch of text between added tokens; it begins at character `at`."""
        if not text:
            return []
        normalizer, cutter = self._backend.normalizer, self._backend.pre_tokenizer
        normal = normalizer.normalize_str(text) if normalizer is not None else text
        cut = cutter.pre_tokenize_str(normal) if cutter is not None else [(normal, (0, len(normal)))]
        return [self._word(spelled, at + start, at + end) for spelled, (start, end) in cut]

    def _word(self, spelled: str, start: int, end: int) -> Word:
        symbols = self._symbols(spelled)
        if len(symbols) > _LONGEST_WORD:
            steps = [symbols]
            for merged in self._merges(symbols):
                steps = [merged]
        else:
            steps = [symbols, *self._merges(symbols)]
        known = (self._vocabulary.get(symbol, self._unknown) for symbol in steps[-1])
        ids = tuple(token_id for token_id in known if token_id is not None)
        return Word(start, end, tuple(tuple(step) for step in steps), ids)

    def _symbols(self, spelled: str) -> list[str]:
        """What the merges begin with: characters, or bytes of those that are no token."""
        if self._whole_words and spelled in self._vocabulary:
            return [spelled]
        symbols: list[str] = []
        for character in spelled:
            if character in self._vocabulary or not self._byte_fallback:
                symbols.append(character)
            else:
                symbols += [f"<0x{byte:02X}>" for byte in character.encode()]
        return symbols

    def _merges(self, symbols: list[str]) -> Iterator[list[str]]:
        """The symbols after each merge: always of the pair that was learnt first, and of its leftmost occurrence."""
        while True:
            ranked = [(self._ranks[pair], place) for place, pair in enumerate(pairwise(symbols)) if pair in self._ranks]
            if not ranked:
                return
            _, place = min(ranked)
            symbols = [*symbols[:place], symbols[place] + symbols[place + 1], *symbols[place + 2 :]]
            yield symbols
