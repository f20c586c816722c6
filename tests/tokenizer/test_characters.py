from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.config import TokenizerSettings
from workbench.tokenizer.bpe import train_tokenizer
from workbench.tokenizer.characters import byte_tokenizer, character_tokenizer, count_characters
from workbench.tokenizer.tokenizer import Tokenizer


def test_a_character_vocabulary_has_four_tokens_more_than_characters(make: Callable[[str], Tokenizer]) -> None:
    tokenizer = make("characters")
    names = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<unk>"]
    assert [tokenizer.controls.ids[name] for name in names] == [0, 1, 2, 3]
    backend = character_tokenizer("hello world")
    assert backend.get_vocab_size() == 4 + len(set("hello world"))


def test_characters_are_in_the_order_of_their_code_points() -> None:
    backend = character_tokenizer("cba鱼")
    assert [backend.token_to_id(character) for character in "abc鱼"] == [4, 5, 6, 7]


@given(text=st.text(alphabet="abc \n鱼"))
def test_known_characters_come_back(text: str) -> None:
    tokenizer = Tokenizer(character_tokenizer("abc \n鱼"), {}, None)
    ids = tokenizer.encode(text)
    assert len(ids) == len(text)
    assert tokenizer.decode(ids) == text


def test_each_unknown_character_is_one_unknown_token() -> None:
    tokenizer = Tokenizer(character_tokenizer("ab"), {}, None)
    assert tokenizer.encode("a😀😀b") == [4, 3, 3, 5]
    assert tokenizer.decode([4, 3, 5]) == "a<unk>b"
    assert int(tokenizer.byte_lengths()[3]) == 0


@given(text=st.text())
def test_bytes_spell_any_text_in_the_order_of_their_values(text: str) -> None:
    tokenizer = Tokenizer(byte_tokenizer(), {}, None)
    assert tokenizer.encode(text) == [9 + byte for byte in text.encode()]
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_counting_stops_when_asked() -> None:
    assert count_characters(["a"], lambda: True) is None
    stopped = train_tokenizer(
        TokenizerSettings(kind="characters"), ["a"], on_progress=lambda *_: None, should_stop=lambda: True
    )
    assert stopped is None


@pytest.mark.parametrize(("kind", "bytes_per_token"), [("characters", 2.0), ("bytes", 1.0)])
def test_a_byte_or_character_by_token_is_reported(kind: str, bytes_per_token: float) -> None:
    trained = train_tokenizer(
        TokenizerSettings.model_validate({"kind": kind}),
        ["鱼a", "é"],
        on_progress=lambda *_: None,
        should_stop=lambda: False,
    )
    assert trained is not None
    assert trained.training_sample is not None
    assert trained.training_sample.bytes_per_token == bytes_per_token
