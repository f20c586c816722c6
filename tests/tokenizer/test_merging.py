"""The merges shown are those the library makes: the last step of every word is what encoding gives."""

from collections.abc import Callable
from itertools import pairwise

import pytest

from workbench.tokenizer.merging import MergeTable
from workbench.tokenizer.tokenizer import Tokenizer

EXAMPLES = [
    "The old fisherman mends his nets.",
    "老渔夫住在海边。",
    "fish fish  fish\n\n3456! 😀 naïve <|im_start|>[/INST]",
    " ",
    "",
    "a" * 500,
]


@pytest.mark.parametrize("text", EXAMPLES)
def test_the_last_step_is_what_encoding_gives(any_tokenizer: Tokenizer, text: str) -> None:
    words = MergeTable(any_tokenizer).words(text)
    assert [token for word in words for token in word.ids] == any_tokenizer.encode(text)


def test_each_step_merges_one_pair(make: Callable[[str], Tokenizer]) -> None:
    table = MergeTable(make("gpt-2"))
    word = max(table.words("The old fisherman"), key=lambda word: len(word.steps))
    assert len(table) > 50 and len(word.steps) > 3
    assert word.steps[0] == tuple("".join(word.steps[0]))
    for before, after in pairwise(word.steps):
        assert len(after) == len(before) - 1 and "".join(after) == "".join(before)


def test_words_know_their_place(make: Callable[[str], Tokenizer]) -> None:
    text = "老渔夫 old fish"
    words = MergeTable(make("qwen2")).words(text)
    assert "".join(text[word.start : word.end] for word in words) == text


def test_a_tokenizer_of_single_characters_merges_nothing(make: Callable[[str], Tokenizer]) -> None:
    table = MergeTable(make("characters"))
    assert len(table) == 0
    assert all(len(word.steps) == 1 for word in table.words("The old"))
