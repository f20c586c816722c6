"""Tokenising that was stopped or killed goes on, and its result has the same bytes."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from itertools import count
from pathlib import Path

import pytest

from workbench.data.folder_lock import folder_lock
from workbench.data.text_pieces import text_pieces
from workbench.tokenizer.tokenizer import Tokenizer

SLOW = """
import sys, time
from pathlib import Path
from workbench.data import tokenising
from workbench.data.shards import DataSettings, prepare
from workbench.data.folder_lock import folder_lock
from workbench.data.text_pieces import text_pieces
from workbench.tokenizer.tokenizer import Tokenizer

tokenising.BATCH_DOCUMENTS, tokenising.COMMIT_SECONDS = 5, 0.0
encode = Tokenizer.encode_batch
def slowly(self, texts):
    time.sleep(0.02)
    print(len(texts), flush=True)
    return encode(self, texts)
Tokenizer.encode_batch = slowly
prepare([Path(name) for name in sys.argv[3:]], "pretrain", Tokenizer.load(Path(sys.argv[1])),
        DataSettings(sequence_length=8, validation_fraction=0.2), Path(sys.argv[2]),
        on_progress=lambda *_: None, on_bad_row=lambda row: None, should_stop=lambda: False)
"""


@pytest.fixture
def corpus(tmp_path: Path) -> list[Path]:
    """JSON lines with a bad row among them, a text of several pieces, and a JSON array."""
    lines, text, array = tmp_path / "a.jsonl", tmp_path / "b.txt", tmp_path / "c.json"
    rows = [json.dumps({"text": f"document {number} " * (number % 7 + 1)}) for number in range(60)]
    lines.write_text("\n".join([*rows[:31], "{broken", *rows[31:]]), encoding="utf-8")
    text.write_text("".join(f"Zeile {number}: äöü\n" for number in range(12_000)), encoding="utf-8")
    array.write_text(json.dumps([{"text": str(number)} for number in range(40)]), encoding="utf-8")
    return [lines, text, array]


def contents(cache: Path) -> dict[str, bytes]:
    """Every kept file of the one prepared set, by name."""
    (folder,) = [path for path in cache.iterdir() if path.is_dir()]
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def documents_of(corpus: list[Path]) -> int:
    """How many texts the tokenizer is given for it."""
    return 60 + len(list(text_pieces(corpus[1]))) + 40


@pytest.fixture
def expected(corpus: list[Path], preparing) -> dict[str, bytes]:
    """What an undisturbed run keeps."""
    preparing(corpus, sequence_length=8, validation_fraction=0.2)
    return contents(preparing.cache)


@pytest.mark.parametrize("kind", ["pretrain", "sft"])
def test_stopped_after_every_batch_the_result_has_the_same_bytes(
    tmp_path: Path, corpus: list[Path], preparing, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    if kind == "sft":
        turns = [{"role": "user", "content": "a?"}, {"role": "assistant", "content": "b"}]
        rows = [json.dumps({"messages": [*turns, {"role": "user", "content": str(n)}]}) for n in range(40)]
        corpus[0].write_text("\n".join([*rows, "{", *rows]), encoding="utf-8")
        corpus = corpus[:1]
    undisturbed = preparing(corpus, kind, validation_fraction=0.2)
    whole = contents(preparing.cache)
    monkeypatch.setattr("workbench.data.tokenising.BATCH_DOCUMENTS", 4)
    preparing.cache = tmp_path / "other"
    data, attempts = None, 0
    while data is None:
        calls = count()
        data = preparing(corpus, kind, validation_fraction=0.2, should_stop=lambda calls=calls: next(calls) > 6)
        attempts += 1
        assert attempts < 50
    assert attempts > 3
    assert contents(preparing.cache) == whole
    assert (data.rows_read, data.rows_rejected) == (undisturbed.rows_read, undisturbed.rows_rejected)
    assert len(preparing.bad_rows) == undisturbed.rows_rejected == 1


def test_killed_and_started_again_the_result_has_the_same_bytes(
    tmp_path: Path, corpus: list[Path], expected: dict[str, bytes], byte_tokenizer: Tokenizer
) -> None:
    byte_tokenizer.save(tmp_path / "tokenizer")
    cache = tmp_path / "killed"
    command = [sys.executable, "-c", SLOW, str(tmp_path / "tokenizer"), str(cache), *map(str, corpus)]
    tokenised = 0
    for kill_after in (4, 7, None):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2])
        assert process.stdout is not None
        for number, documents in enumerate(process.stdout, 1):
            tokenised += int(documents)
            if number == kill_after:
                os.kill(process.pid, signal.SIGKILL)
        assert process.wait() == (0 if kill_after is None else -signal.SIGKILL)
    assert contents(cache) == expected
    assert tokenised <= documents_of(corpus) + 2 * 5  # each kill cost the batch it fell into


def test_a_torn_tail_behind_the_last_commit_is_cut_off(
    corpus: list[Path], preparing, expected: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder,) = [path for path in preparing.cache.iterdir() if path.is_dir()]
    for path in folder.iterdir():
        path.unlink()
    monkeypatch.setattr("workbench.data.tokenising.BATCH_DOCUMENTS", 5)
    calls = count()
    assert preparing(corpus, sequence_length=8, validation_fraction=0.2, should_stop=lambda: next(calls) > 5) is None
    for name in ("train.ids", "train.offsets", "validation.ids"):
        with (folder / name).open("ab") as file:
            file.write(b"torn")
    preparing(corpus, sequence_length=8, validation_fraction=0.2)
    assert contents(preparing.cache) == expected


def test_two_at_once_tokenise_once(corpus: list[Path], preparing, monkeypatch: pytest.MonkeyPatch) -> None:
    encode, calls, found = Tokenizer.encode_batch, [], []

    def slowly(self: Tokenizer, texts: list[str]) -> list[list[int]]:
        calls.append(len(texts))
        time.sleep(0.05)
        return encode(self, texts)

    monkeypatch.setattr(Tokenizer, "encode_batch", slowly)
    other = type(preparing)(preparing.cache, preparing.tokenizer)
    threads = [threading.Thread(target=lambda each=each: found.append(each(corpus))) for each in (preparing, other)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(data.from_cache for data in found) == [False, True]
    assert sum(calls) == documents_of(corpus)


def test_waiting_for_another_process_can_be_stopped(corpus: list[Path], preparing) -> None:
    data = preparing(corpus)
    with folder_lock(data.train.folder, lambda: False) as held:
        assert held
        assert preparing(corpus, should_stop=lambda: True) is None
