"""Files become tokens once; what is rejected is told; the split leaks nothing."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from workbench.data.shards import PreparedData
from workbench.data.stores import TokenStore
from workbench.errors import DataError, TokenizerError
from workbench.tokenizer.tokenizer import Tokenizer


def jsonl(path: Path, rows: Iterable[object]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def chat(question: str, answer: str) -> dict[str, object]:
    return {"conversations": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]}


def documents(store: TokenStore | None, tokenizer: Tokenizer) -> list[str]:
    """The texts of a store, end-of-text tokens left out."""
    if store is None:
        return []
    pairs = zip(store.offsets[:-1].tolist(), store.offsets[1:].tolist(), strict=True)
    return [tokenizer.decode(store.ids[a:b].tolist(), skip_special_tokens=True) for a, b in pairs]


def files_of(data: PreparedData | None) -> dict[str, bytes]:
    """The bytes of everything that was kept."""
    assert data is not None
    assert data.train.folder is not None
    return {path.name: path.read_bytes() for path in data.train.folder.iterdir()}


def test_documents_are_kept_in_order_with_their_end(tmp_path: Path, preparing, byte_tokenizer: Tokenizer) -> None:
    data = preparing([jsonl(tmp_path / "a.jsonl", [{"text": "one"}, {"text": "two!"}])])
    assert documents(data.train, byte_tokenizer) == ["one", "two!"]
    ends = data.train.ids[data.train.offsets[1:] - 1]
    assert ends.tolist() == [byte_tokenizer.eos_token_id] * 2
    assert (data.documents, data.tokens, data.tokens_trained, data.rows_read) == (2, 9, 7, 2)
    assert data.train.ids.dtype == np.uint16
    assert data.train.trained is None
    assert data.validation is None


def test_tokens_past_sixteen_bits_are_kept(tmp_path: Path, preparing, byte_tokenizer: Tokenizer) -> None:
    class Wide:
        """A byte tokenizer whose ids are large."""

        vocab_size, fingerprint, eos_token_id, pad_token_id, chat = 70_000, "wide", 69_999, 0, None

        def encode_batch(self, texts: list[str]) -> list[list[int]]:
            return [[69_000 + byte for byte in text.encode()] for text in texts]

    preparing.tokenizer = Wide()
    data = preparing([jsonl(tmp_path / "a.jsonl", [{"text": "ab"}])])
    assert data.train.ids.tolist() == [69_097, 69_098, 69_999]


def test_a_single_text_gives_its_tail_to_validation(tmp_path: Path, preparing, byte_tokenizer: Tokenizer) -> None:
    text = "".join(f"line {number}\n" for number in range(1000))
    (tmp_path / "a.txt").write_text(text, encoding="utf-8")
    data = preparing([tmp_path / "a.txt"], validation_fraction=0.1)
    border = int(len(text) * 0.9)
    assert documents(data.train, byte_tokenizer) == [text[:border]]
    assert documents(data.validation, byte_tokenizer) == [text[border:]]
    assert byte_tokenizer.eos_token_id not in data.train.ids
    assert data.tokens_trained == border - 1


def test_a_text_read_in_pieces_is_one_document(tmp_path: Path, preparing, byte_tokenizer: Tokenizer) -> None:
    text = "".join(f"line {number}\n" for number in range(20_000))  # four pieces
    (tmp_path / "a.txt").write_text(text, encoding="utf-8")
    (tmp_path / "b.txt").write_text("short", encoding="utf-8")
    data = preparing([tmp_path / "a.txt", tmp_path / "b.txt"])
    assert documents(data.train, byte_tokenizer) == [text, "short"]
    assert data.train.ids[data.train.offsets[1:] - 1].tolist() == [byte_tokenizer.eos_token_id] * 2


@given(
    texts=st.lists(st.sampled_from("abcdefghij"), min_size=1, max_size=30),
    fraction=st.floats(0.01, 0.9),
    seed=st.integers(0, 5),
)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_split_leaks_nothing_and_leaves_both_sides_something(
    tmp_path: Path, preparing, byte_tokenizer: Tokenizer, texts: list[str], fraction: float, seed: int
) -> None:
    rows = [{"text": text * 3} for text in texts]
    data = preparing([jsonl(tmp_path / "a.jsonl", rows)], validation_fraction=fraction, seed=seed)
    train, held = documents(data.train, byte_tokenizer), documents(data.validation, byte_tokenizer)
    assert sorted(train + held) == sorted(text * 3 for text in texts)
    assert not set(train) & set(held)
    assert train
    assert bool(held) == (len(set(texts)) >= 2)


def test_a_large_corpus_is_split_by_about_the_fraction(tmp_path: Path, preparing, monkeypatch) -> None:
    monkeypatch.setattr("workbench.data.documents.HEAD_DOCUMENTS", 100)
    path = jsonl(tmp_path / "a.jsonl", [{"text": str(number)} for number in range(4000)])
    data = preparing([path], validation_fraction=0.1)
    assert data.validation is not None
    assert abs(data.validation.documents - 400) < 95  # five standard deviations of a binomial: 5 * 19


def test_seeds_set_other_documents_apart(tmp_path: Path, preparing, byte_tokenizer: Tokenizer) -> None:
    path = jsonl(tmp_path / "a.jsonl", [{"text": str(number)} for number in range(100)])
    held = [
        documents(preparing([path], validation_fraction=0.1, seed=seed).validation, byte_tokenizer)
        for seed in (1, 1, 2)
    ]
    assert held[0] == held[1] != held[2]


def test_documents_of_a_validation_file_are_not_trained_on(tmp_path: Path, preparing, byte_tokenizer) -> None:
    train = jsonl(tmp_path / "a.jsonl", [{"text": "secret"}, {"text": "open"}])
    held = jsonl(tmp_path / "b.jsonl", [{"text": "secret"}])
    data = preparing([train], validation_files=[held], validation_fraction=0.5)
    assert documents(data.train, byte_tokenizer) == ["open"]
    assert documents(data.validation, byte_tokenizer) == ["secret"]
    assert data.reasons == {"also in the validation data": 1}


def test_conversations_keep_their_mask_and_are_cut_with_a_count(tmp_path: Path, preparing, byte_tokenizer) -> None:
    rows = [chat("short", "yes"), chat("long answer", "x" * 500), chat("q" * 500, "never reached")]
    data = preparing([jsonl(tmp_path / "a.jsonl", rows)], "sft", sequence_length=128)
    assert (data.documents, data.truncated, data.rows_read, data.rows_rejected) == (2, 1, 3, 1)
    assert data.reasons == {"no target": 1}
    assert preparing.bad_rows[0].line == 3
    assert np.diff(data.train.offsets).max() == 129  # 128 inputs, and the target of the last
    first = slice(*data.train.offsets[:2].tolist())
    answer = data.train.ids[first][data.train.trained[first] == 1].tolist()
    assert "yes" in byte_tokenizer.decode(answer)
    assert "short" not in byte_tokenizer.decode(answer)
    assert data.tokens_trained == int(data.train.trained.sum())


def test_bad_rows_are_told_counted_and_told_again_from_the_cache(tmp_path: Path, preparing) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"text": "good"}\n{"text": ""}\n{"txt": "x"}\n{"text": \nplain\n{"text": "\xff"}\n{"text": 5}\n')
    for from_cache in (False, True):
        data = preparing([path])
        assert data.from_cache is from_cache
        assert [row.line for row in preparing.bad_rows] == [2, 3, 4, 5, 6, 7]
        assert (data.rows_read, data.rows_rejected, data.documents) == (7, 6, 1)
        assert data.reasons == {"empty text": 1, "unknown keys": 1, "broken JSON": 2, "not UTF-8": 1, "wrong type": 1}


def test_nothing_usable_is_one_clear_error_and_leaves_nothing(tmp_path: Path, preparing) -> None:
    path = jsonl(tmp_path / "a.jsonl", [{"txt": "x"}, {"txt": "y"}])
    with pytest.raises(DataError, match=r"a\.jsonl: none of 2 rows .* line 1: unknown keys: found txt"):
        preparing([path])
    left = [found.name for found in preparing.cache.rglob("*") if found.is_file()]
    assert set(left) <= {"lock", "hashes.json"}


@pytest.mark.parametrize("name", ["empty.txt", "empty.jsonl", "empty.json", "empty.csv"])
def test_an_empty_file_is_an_error(tmp_path: Path, preparing, name: str) -> None:
    (tmp_path / name).touch()
    with pytest.raises(DataError, match=name.replace(".", r"\.")):
        preparing([tmp_path / name], validation_fraction=0.1)


def test_a_missing_file_is_named(tmp_path: Path, preparing) -> None:
    with pytest.raises(DataError, match=r"absent\.jsonl: no such file"):
        preparing([tmp_path / "absent.jsonl"])
    assert not preparing.cache.exists()


def test_plain_text_cannot_be_fine_tuned_on(tmp_path: Path, preparing) -> None:
    (tmp_path / "a.txt").write_text("words", encoding="utf-8")
    with pytest.raises(DataError, match="no conversations"):
        preparing([tmp_path / "a.txt"], "sft")


def test_conversations_need_a_chat_template(tmp_path: Path, preparing) -> None:
    class Plain:
        chat = None

    preparing.tokenizer = Plain()
    with pytest.raises(TokenizerError, match="no chat template"):
        preparing([jsonl(tmp_path / "a.jsonl", [chat("a", "b")])], "sft")


def test_the_same_again_comes_from_the_cache(tmp_path: Path, preparing, monkeypatch) -> None:
    path = jsonl(tmp_path / "a.jsonl", [{"text": str(number)} for number in range(50)])
    first = preparing([path], validation_fraction=0.1)
    moved = path.rename(tmp_path / "b.jsonl")
    monkeypatch.setattr(Tokenizer, "encode_batch", lambda *_: pytest.fail("tokenised again"))
    again = preparing([moved], validation_fraction=0.1)
    assert (first.from_cache, again.from_cache) == (False, True)
    assert first.fingerprint == again.fingerprint
    assert (first.train.ids == again.train.ids).all()


def test_whatever_changes_the_tokens_changes_the_fingerprint(tmp_path: Path, preparing) -> None:
    rows = [chat(str(number), "yes") for number in range(20)]
    path, other = jsonl(tmp_path / "a.jsonl", rows), jsonl(tmp_path / "b.jsonl", rows[1:])
    base = {"validation_fraction": 0.1, "seed": 1, "sequence_length": 200}
    found = {
        preparing([files], "sft", **{**base, **change}).fingerprint
        for files, change in [
            (path, {}),
            (other, {}),
            (path, {"validation_fraction": 0.2}),
            (path, {"seed": 2}),
            (path, {"sequence_length": 201}),
            (path, {"validation_files": [other]}),
        ]
    }
    assert len(found) == 6


def test_a_damaged_cache_is_made_anew(tmp_path: Path, preparing) -> None:
    path = jsonl(tmp_path / "a.jsonl", [{"text": "one"}, {"text": "two"}])
    data = preparing([path])
    expected = files_of(data)
    (data.train.folder / "train.ids").write_bytes(b"\0\0")
    again = preparing([path])
    assert not again.from_cache
    assert files_of(again) == expected


def test_a_file_that_grows_while_it_is_read_is_refused(tmp_path: Path, preparing, monkeypatch) -> None:
    path = jsonl(tmp_path / "a.jsonl", [{"text": "one"}])
    encode = Tokenizer.encode_batch

    def grow(self: Tokenizer, texts: list[str]) -> list[list[int]]:
        jsonl(path, [{"text": "one"}, {"text": "two"}])
        return encode(self, texts)

    monkeypatch.setattr(Tokenizer, "encode_batch", grow)
    with pytest.raises(DataError, match="changed while it was read"):
        preparing([path])


def test_progress_rises_to_the_size_of_all_files(tmp_path: Path, preparing, monkeypatch) -> None:
    monkeypatch.setattr("workbench.data.tokenising.BATCH_DOCUMENTS", 3)
    files = [jsonl(tmp_path / name, [{"text": str(number)} for number in range(10)]) for name in ("a.jsonl", "b.jsonl")]
    preparing(files)
    total = sum(path.stat().st_size for path in files)
    done = [done for done, _ in preparing.progress]
    assert done == sorted(done)
    assert len(set(done)) > 4
    assert preparing.progress[-1] == (total, total)


@pytest.mark.parametrize(
    "index", ["", "{", "[]", "{}", '{"stores": 5, "tally": {}}', '{"stores": {}, "tally": {"x": 1}}']
)
def test_a_damaged_index_is_made_anew(tmp_path: Path, preparing, index: str) -> None:
    path = jsonl(tmp_path / "a.jsonl", ["first", "second", "third"])
    made = preparing([path])
    file = preparing.cache / made.fingerprint / "index.json"
    whole = file.read_text(encoding="utf-8")
    file.write_text(index, encoding="utf-8")
    again = preparing([path])
    assert (again.from_cache, again.tokens) == (False, made.tokens)
    assert json.loads(file.read_text(encoding="utf-8")) == json.loads(whole)


def test_validation_files_without_anything_to_measure_on_are_refused(tmp_path: Path, preparing) -> None:
    data = jsonl(tmp_path / "a.jsonl", ["first", "second"])
    empty, wrong = tmp_path / "empty.jsonl", tmp_path / "wrong.jsonl"
    empty.write_text("", encoding="utf-8")
    wrong.write_text('{"question": "q"}\n', encoding="utf-8")
    for file, told in ((empty, "measure on; give other"), (wrong, "measure on; line 1: unknown keys: found question")):
        with pytest.raises(DataError) as caught:
            preparing([data], validation_files=[file])
        assert told in str(caught.value)
        assert str(caught.value).startswith(str(file))
    assert preparing([data], validation_files=[jsonl(tmp_path / "b.jsonl", ["other"])]).validation is not None


def test_what_is_cut_is_counted_and_its_first_place_told(tmp_path: Path, preparing: Any) -> None:
    def talk(question: str, answer: str) -> dict[str, object]:
        return {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]}

    path = tmp_path / "talk.jsonl"
    rows = [talk("Hi", "Ho"), talk("Hi", "a" * 40), talk("Hi", "b" * 50)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    whole = preparing([path], "sft", sequence_length=256, validation_fraction=0.0)
    cut = preparing([path], "sft", sequence_length=40, validation_fraction=0.0)
    again = preparing([path], "sft", sequence_length=40, validation_fraction=0.0)
    assert whole is not None and cut is not None and again is not None
    assert (whole.truncated, whole.tokens_cut, whole.targets_cut, whole.first_cut) == (0, 0, 0, None)
    assert (cut.truncated, cut.first_cut) == (2, (str(path), 2))
    assert cut.tokens_cut == whole.tokens - cut.tokens > 0
    assert cut.targets_cut == whole.tokens_trained - cut.tokens_trained > 0
    assert again.from_cache and again.first_cut == cut.first_cut and again.tokens_cut == cut.tokens_cut
