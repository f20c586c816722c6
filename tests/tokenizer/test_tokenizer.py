import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tokenizers
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, models

from workbench.errors import TokenizerError
from workbench.tokenizer.compression import measure_compression
from workbench.tokenizer.tokenizer import TextStream, Tokenizer

CONTROLS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<think>", "</think>", "<tool_call>", "</s>", "<eos>"]
PIECES = st.sampled_from([*CONTROLS, "<|im_", "end|>", "<", " ", "\n", "\n\n", "fish", "渔夫", "😀", "12", "'s", "é"])
TEXT = st.one_of(st.text(max_size=40), st.lists(PIECES, max_size=12).map("".join))
quick = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@quick
@given(text=TEXT)
def test_special_tokens_written_in_a_text_are_text(any_tokenizer: Tokenizer, text: str) -> None:
    ids = any_tokenizer.encode(text)
    unknown = any_tokenizer.controls.ids.get("<unk>")
    assert not set(ids) & set(any_tokenizer.controls.ids.values()) - {unknown}
    if any_tokenizer.kind != "characters":
        assert any_tokenizer.decode(ids) == text


@quick
@given(text=TEXT)
def test_transformers_reads_the_saved_files_to_the_same_ids_and_texts(
    any_tokenizer: Tokenizer, peer: Callable[[Tokenizer], Any], text: str
) -> None:
    theirs = peer(any_tokenizer)
    ids = any_tokenizer.encode_with_specials(text)
    assert ids == theirs.encode(text, add_special_tokens=False)
    assert any_tokenizer.decode(ids) == theirs.decode(ids)
    assert any_tokenizer.decode(ids, skip_special_tokens=True) == theirs.decode(ids, skip_special_tokens=True)
    if not any(name in text for name in any_tokenizer.controls.ids):
        assert any_tokenizer.encode(text) == ids


@quick
@given(texts=st.lists(TEXT, max_size=5))
def test_a_batch_gives_what_its_texts_give_one_by_one(any_tokenizer: Tokenizer, texts: list[str]) -> None:
    assert any_tokenizer.encode_batch(texts) == [any_tokenizer.encode(text) for text in texts]


@quick
@given(text=TEXT)
def test_the_bytes_of_the_tokens_are_the_bytes_of_the_text(own: Tokenizer, text: str) -> None:
    ids = own.encode(text)
    lengths = own.byte_lengths()
    assert lengths.dtype == "int32"
    assert lengths.shape == (own.vocab_size,)
    if own.kind != "characters":
        assert b"".join(own.token_bytes(token) for token in ids) == text.encode()
        assert lengths[ids].sum() == len(text.encode())


@quick
@given(data=st.data(), skip=st.booleans())
def test_a_stream_gives_in_all_what_decoding_gives_at_once(
    any_tokenizer: Tokenizer, data: st.DataObject, skip: bool
) -> None:
    ids = data.draw(st.lists(st.integers(0, any_tokenizer.vocab_size - 1), max_size=30))
    whole = any_tokenizer.decode(ids, skip_special_tokens=skip)
    # The library voids a whole run of fallback bytes for one that is broken, which no stream can foresee.
    assume(any_tokenizer.byte_level or "\ufffd" not in whole)
    stream = TextStream(any_tokenizer, skip_special_tokens=skip)
    streamed = "".join([stream.push(token) for token in ids]) + stream.finish()
    assert streamed == whole


@quick
@given(text=TEXT)
def test_a_stream_never_gives_half_a_character(any_tokenizer: Tokenizer, text: str) -> None:
    stream = TextStream(any_tokenizer)
    parts = [stream.push(token) for token in any_tokenizer.encode(text)]
    assert all("\ufffd" not in part for part in parts) or "\ufffd" in text
    if any_tokenizer.kind != "characters":
        assert "".join(parts) + stream.finish() == text


def test_a_stream_holds_back_only_what_is_not_complete(make: Callable[[str], Tokenizer]) -> None:
    tokenizer = make("bytes")
    stream = TextStream(tokenizer)
    assert [stream.push(token) for token in tokenizer.encode("a鱼b")] == ["a", "", "", "鱼", "b"]


def test_a_saved_tokenizer_comes_back_the_same(any_tokenizer: Tokenizer, tmp_path: Path, texts: list[str]) -> None:
    any_tokenizer.save(tmp_path)
    loaded = Tokenizer.load(tmp_path)
    assert loaded.fingerprint == any_tokenizer.fingerprint
    assert loaded.encode_batch(texts) == any_tokenizer.encode_batch(texts)
    assert (loaded.kind, loaded.vocab_size) == (any_tokenizer.kind, any_tokenizer.vocab_size)
    assert loaded.stop_token_ids == any_tokenizer.stop_token_ids
    assert (loaded.eos_token_id, loaded.pad_token_id, loaded.bos_token_id) == (
        any_tokenizer.eos_token_id,
        any_tokenizer.pad_token_id,
        any_tokenizer.bos_token_id,
    )
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "chat_template.jinja",
        "special_tokens_map.json",
        "tokenizer.json",
        "tokenizer_config.json",
    ]


def test_another_template_is_another_fingerprint(make: Callable[[str], Tokenizer], tmp_path: Path) -> None:
    make("bytes").save(tmp_path)
    (tmp_path / "chat_template.jinja").write_text("{{ messages }}", encoding="utf-8")
    assert Tokenizer.load(tmp_path).fingerprint != make("bytes").fingerprint


def test_the_first_ids_are_the_special_tokens(make: Callable[[str], Tokenizer]) -> None:
    names = "<|endoftext|> <|im_start|> <|im_end|> <think> </think> <tool_call> </tool_call> <tool_response>"
    for name in ("gpt-2", "bytes"):
        tokenizer = make(name)
        assert tokenizer.encode_with_specials(names.replace(" ", "")) == list(range(8))
        assert tokenizer.stop_token_ids == {0, 2}
        assert tokenizer.decode([2, 3, 5], skip_special_tokens=True) == "<think><tool_call>"
        assert tokenizer.encode_with_specials("fish<|im_end|>") == [*tokenizer.encode("fish"), 2]


def test_stop_tokens_of_a_foreign_tokenizer_come_from_its_template(make: Callable[[str], Tokenizer]) -> None:
    foreign = make("foreign")
    assert foreign.stop_token_ids == {foreign.controls.ids["<eos>"], foreign.controls.ids["<end_of_turn>"]}


def test_added_white_space_stays_a_token_of_plain_text(make: Callable[[str], Tokenizer]) -> None:
    foreign = make("foreign")
    assert len(foreign.encode("a\n\nb")) == 3
    assert foreign.token_bytes(foreign.encode("a\n\nb")[1]) == b"\n\n"


def test_labels_are_for_people(make: Callable[[str], Tokenizer]) -> None:
    tokenizer = make("bytes")
    labels = [tokenizer.token_label(token) for token in tokenizer.encode_with_specials("a \n鱼<|im_end|>")]
    assert labels == ["a", "·", "\\n", "\\xe9", "\\xb1", "\\xbc", "<|im_end|>"]
    assert tokenizer.token_label(10**6) == "[1000000]"
    assert make("characters").token_label(make("characters").encode("鱼")[0]) == "鱼"


def test_halves_of_surrogate_pairs_do_not_stop_encoding(own: Tokenizer) -> None:
    assert own.encode("a\ud83d\ude00") == own.encode("a😀")
    assert own.encode("a\ud83db") == own.encode("a\ufffdb")


def test_a_limit_in_the_file_does_not_cut_texts(make: Callable[[str], Tokenizer], tmp_path: Path) -> None:
    make("bytes").save(tmp_path)
    file = tmp_path / "tokenizer.json"
    backend = tokenizers.Tokenizer.from_file(str(file))
    backend.enable_truncation(3)
    backend.enable_padding(length=50)
    backend.save(str(file))
    assert len(Tokenizer.load(file).encode("ten letters")) == 11


def test_merges_cannot_spell_a_control_token() -> None:
    vocabulary = {"<": 0, "s": 1, ">": 2, "<s": 3, "<s>": 4}
    backend = tokenizers.Tokenizer(models.BPE(vocab=vocabulary, merges=[("<", "s"), ("<s", ">")]))
    backend.add_special_tokens([AddedToken("<s>", normalized=False)])
    tokenizer = Tokenizer(backend, {"eos_token": "<s>"}, None)
    assert tokenizer.encode("<s>") == [3, 2]
    assert tokenizer.encode_with_specials("<s>") == [4]


def test_control_tokens_that_overlap_in_a_text_are_all_neutral() -> None:
    backend = tokenizers.Tokenizer(models.BPE(vocab={"a": 0, "b": 1, "c": 2, "ab": 3, "bc": 4}, merges=[]))
    backend.add_special_tokens(["ab", "bc"])
    tokenizer = Tokenizer(backend, {"eos_token": "ab"}, "{{ messages[0]['content'] }}")
    quoted = tokenizer.controls.quote("abcab")
    assert not tokenizer.controls.pattern.search(quoted)
    assert tokenizer.controls.reveal(quoted) == "abcab"
    assert tokenizer.encode("abcab") == [0, 1, 2, 0, 1]


def test_compression_counts_bytes_characters_and_tokens(make: Callable[[str], Tokenizer]) -> None:
    measured = measure_compression(make("characters"), ["鱼鱼", "ab"])
    assert (measured.size_bytes, measured.characters, measured.tokens) == (8, 4, 4)
    assert measured.bytes_per_token == 2.0
    assert measured.characters_per_token == 1.0
    assert measure_compression(make("qwen2"), []).bytes_per_token == 0.0


@pytest.mark.parametrize(
    ("files", "problem"),
    [
        ({}, "no tokenizer.json"),
        ({"tokenizer.json": "{}"}, "not a tokenizer.json"),
        ({"tokenizer.json": "\x00 not json"}, "not a tokenizer.json"),
    ],
)
def test_what_is_no_tokenizer_is_refused_by_name(tmp_path: Path, files: dict[str, str], problem: str) -> None:
    for name, content in files.items():
        (tmp_path / name).write_text(content, encoding="utf-8")
    with pytest.raises(TokenizerError, match=problem) as caught:
        Tokenizer.load(tmp_path)
    assert str(tmp_path) in caught.value.where
    assert caught.value.remedy


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TokenizerError, match="no such file"):
        Tokenizer.load(tmp_path / "absent.json")


@pytest.mark.parametrize("content", ["{", "[]"])
def test_a_broken_configuration_is_refused_by_name(
    make: Callable[[str], Tokenizer], tmp_path: Path, content: str
) -> None:
    make("bytes").save(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text(content, encoding="utf-8")
    with pytest.raises(TokenizerError, match=r"tokenizer_config\.json"):
        Tokenizer.load(tmp_path)


def test_a_tokenizer_without_an_end_of_text_is_refused(tmp_path: Path) -> None:
    tokenizers.Tokenizer(models.BPE(vocab={"a": 0}, merges=[])).save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(TokenizerError, match="eos_token"):
        Tokenizer.load(tmp_path)


def test_a_configuration_beside_a_file_of_any_name_is_read(make: Callable[[str], Tokenizer], tmp_path: Path) -> None:
    make("foreign").save(tmp_path)
    (tmp_path / "tokenizer.json").rename(tmp_path / "other.json")
    (tmp_path / "tokenizer_config.json").rename(tmp_path / "other_config.json")
    (tmp_path / "chat_template.jinja").unlink()
    assert Tokenizer.load(tmp_path / "other.json").fingerprint == make("foreign").fingerprint


def test_a_template_chosen_from_several_is_the_default(make: Callable[[str], Tokenizer], tmp_path: Path) -> None:
    make("bytes").save(tmp_path)
    (tmp_path / "chat_template.jinja").unlink()
    file = tmp_path / "tokenizer_config.json"
    config = json.loads(file.read_text(encoding="utf-8"))
    config["chat_template"] = [{"name": "tools", "template": "no"}, {"name": "default", "template": "yes"}]
    file.write_text(json.dumps(config), encoding="utf-8")
    chat = Tokenizer.load(tmp_path).chat
    assert chat is not None
    assert chat.source == "yes"


@pytest.mark.parametrize(
    ("source", "place"), [(b"{{ broken", "kept: the chat template"), (b"\xff", "chat_template.jinja: cannot be read")]
)
def test_a_broken_chat_template_is_told_where_it_lies(
    make: Callable[[str], Tokenizer], tmp_path: Path, source: bytes, place: str
) -> None:
    make("bytes").save(tmp_path / "kept")
    (tmp_path / "kept" / "chat_template.jinja").write_bytes(source)
    with pytest.raises(TokenizerError, match=place):
        Tokenizer.load(tmp_path / "kept")


def test_templates_without_a_name_are_none(make: Callable[[str], Tokenizer], tmp_path: Path) -> None:
    make("bytes").save(tmp_path)
    (tmp_path / "chat_template.jinja").unlink()
    (tmp_path / "tokenizer_config.json").write_text('{"chat_template": [{"template": "x"}]}', encoding="utf-8")
    assert Tokenizer.load(tmp_path).chat is None
