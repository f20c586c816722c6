import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

import psutil
import pytest

from workbench.config import TokenizerSettings
from workbench.errors import TokenizerError, WorkbenchError
from workbench.tokenizer.bpe import train_tokenizer
from workbench.tokenizer.bpe_process import learn_in_child_process
from workbench.tokenizer.bpe_worker import Request
from workbench.tokenizer.text_sample import read_sample, write_sample
from workbench.tokenizer.tokenizer import Tokenizer

needs_endless_file = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no file that never ends")
Reports = list[tuple[str, int, int | None]]


def train(texts: list[str], reports: Reports | None = None, **settings: object) -> Tokenizer:
    def on_progress(task: str, done: int, total: int | None) -> None:
        if reports is not None:
            reports.append((task, done, total))

    trained = train_tokenizer(
        TokenizerSettings.model_validate({"vocab_size": 400, **settings}),
        texts,
        on_progress=on_progress,
        should_stop=lambda: False,
    )
    assert trained is not None
    return trained


@pytest.mark.parametrize("kind", ["bpe", "characters", "bytes"])
def test_same_texts_and_settings_give_the_same_file(kind: str, texts: list[str], tmp_path: Path) -> None:
    for name in ("first", "second"):
        train(texts, kind=kind).save(tmp_path / name)
    first, second = ((tmp_path / name / "tokenizer.json").read_bytes() for name in ("first", "second"))
    assert first == second


def test_the_vocabulary_is_as_large_as_asked_where_the_texts_allow(texts: list[str]) -> None:
    assert train(texts, vocab_size=320).vocab_size == 320


def test_the_vocabulary_is_smaller_where_the_texts_hold_no_more_pairs() -> None:
    assert train(["ababab"], vocab_size=5000).vocab_size < 275


def test_training_makes_texts_shorter(texts: list[str]) -> None:
    trained = train(texts)
    assert trained.training_sample is not None
    assert trained.training_sample.bytes_per_token is not None
    assert trained.training_sample.bytes_per_token > 1.3
    assert trained.training_sample.size_bytes == sum(len(text.encode()) for text in texts)
    assert trained.training_sample.complete


@pytest.mark.parametrize(
    ("pre_tokenizer", "split_digits", "longest"),
    [("gpt-2", False, 6), ("gpt-2", True, 1), ("smollm", False, 1), ("qwen2", False, 1), ("llama-bpe", False, 3)],
)
def test_digits_are_cut_as_the_settings_say(pre_tokenizer: str, split_digits: bool, longest: int) -> None:
    trained = train(["x 123456 y"] * 20, pre_tokenizer=pre_tokenizer, split_digits=split_digits)
    pieces = [trained.token_bytes(token).strip() for token in trained.encode("x 123456 y")]
    assert max(len(piece) for piece in pieces) == longest


def test_further_special_tokens_come_after_those_of_the_template(texts: list[str]) -> None:
    trained = train(texts, special_tokens=["<|seasick|>"])
    assert trained.encode_with_specials("<|seasick|>") == [9]
    assert len(trained.encode("<|seasick|>")) > 1


def test_text_beyond_the_limit_is_not_looked_at(texts: list[str]) -> None:
    limit = len(texts[0].encode()) + 10
    trained = train([texts[0], texts[1]], sample_bytes=limit)
    assert trained.training_sample is not None
    assert trained.training_sample.size_bytes == limit
    assert not trained.training_sample.complete
    short = texts[1].encode()[:10].decode("utf-8", "ignore")
    assert trained.fingerprint == train([texts[0], short]).fingerprint


def test_texts_after_the_limit_are_not_even_asked_for(texts: list[str]) -> None:
    def endless() -> Iterator[str]:
        while True:
            yield texts[0]

    trained = train_tokenizer(
        TokenizerSettings(vocab_size=300, sample_bytes=10_000),
        endless(),
        on_progress=lambda *_: None,
        should_stop=lambda: False,
    )
    assert trained is not None


def test_a_long_text_is_cut_without_losing_anything(tmp_path: Path) -> None:
    text = "鱼" * 300_000 + "\n" + "fish\n" * 200_000
    size = write_sample(tmp_path / "sample", [text], 10**8, lambda *_: None, lambda: False)
    assert size is not None
    assert size.size_bytes == len(text.encode())
    pieces = read_sample(tmp_path / "sample", 10**8)
    assert "".join(pieces) == text
    assert max(len(piece) for piece in pieces) <= 1 << 18


def test_progress_reaches_its_end_and_never_passes_it(texts: list[str]) -> None:
    reports: Reports = []
    train(texts, reports, vocab_size=350)
    assert reports[-1][0] == "learning merges"
    assert all(total is None or 0 <= done <= total for _, done, total in reports)
    assert reports[-1][1] == reports[-1][2]


@pytest.mark.parametrize("looks", [0, 3, 12])
def test_a_stop_ends_training_and_leaves_no_process(texts: list[str], looks: int) -> None:
    seen = 0

    def should_stop() -> bool:
        nonlocal seen
        seen += 1
        return seen > looks

    before = {child.pid for child in psutil.Process().children()}
    stopped = train_tokenizer(TokenizerSettings(), texts, on_progress=lambda *_: None, should_stop=should_stop)
    assert stopped is None
    assert {child.pid for child in psutil.Process().children()} <= before


@pytest.mark.parametrize("kind", ["bpe", "characters"])
def test_no_text_is_refused(kind: str) -> None:
    with pytest.raises(TokenizerError, match="no text"):
        train(["", ""], kind=kind)


def test_a_vocabulary_without_room_for_the_special_tokens_is_refused(texts: list[str]) -> None:
    further = [f"<|{number}|>" for number in range(100)]
    with pytest.raises(TokenizerError, match="at least 365"):
        train(texts, vocab_size=300, special_tokens=further)


def test_a_failing_child_says_why(tmp_path: Path) -> None:
    request = Request(str(tmp_path / "absent.jsonl"), 1, str(tmp_path / "out.json"), 300, "gpt-2", [])
    with pytest.raises(WorkbenchError, match=r"absent\.jsonl"):
        learn_in_child_process(request, lambda *_: None, lambda: False)


@needs_endless_file
def test_a_stop_ends_a_child_in_the_middle_of_its_work(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "sample")
    request = Request(str(tmp_path / "sample"), 1, str(tmp_path / "out.json"), 300, "gpt-2", [])
    looks = iter([False] * 5)
    before = {child.pid for child in psutil.Process().children()}
    assert not learn_in_child_process(request, lambda *_: None, lambda: next(looks, True))
    assert {child.pid for child in psutil.Process().children()} <= before


@needs_endless_file
def test_the_child_does_not_outlive_its_parent(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "sample")
    request = Request(str(tmp_path / "sample"), 1, str(tmp_path / "out.json"), 300, "gpt-2", [])
    command = [sys.executable, "-m", "workbench.tokenizer.bpe_worker"]
    root = str(Path(__file__).resolve().parents[2])
    environment = {**os.environ, "PYTHONPATH": root}
    with subprocess.Popen(command, stdin=subprocess.PIPE, env=environment) as child:
        assert child.stdin is not None
        try:
            child.stdin.write(json.dumps(asdict(request)).encode() + b"\n")
            child.stdin.flush()
            with pytest.raises(subprocess.TimeoutExpired):
                child.wait(timeout=1)
            child.stdin.close()
            assert child.wait(timeout=120) == 1
        finally:
            child.kill()


def test_trained_files_name_a_pre_tokenizer_of_llama_cpp(make: Callable[[str], Tokenizer], tmp_path: Path) -> None:
    expressions = {}
    for name in ("gpt-2", "smollm", "qwen2", "llama-bpe"):
        make(name).save(tmp_path / name)
        description = json.loads((tmp_path / name / "tokenizer.json").read_text(encoding="utf-8"))
        assert description["normalizer"] is None  # llama.cpp applies none
        expressions[name] = json.dumps(description["pre_tokenizer"])
    assert len(set(expressions.values())) == 4
