"""The mask X-ray says what the trainer's own batches hold: the same targets, cuts and padding."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from workbench.config import TokenizerSettings
from workbench.data.packing import IGNORED, Batch, PairPacking, StreamPacking, WholePacking
from workbench.data.rows import Row
from workbench.data.sources import read_rows
from workbench.data.stores import TokenStore
from workbench.tokenizer.bpe import train_tokenizer
from workbench.tokenizer.tokenizer import Tokenizer
from workbench.tui.mask_xray import MaskedRow, masked_rows, token_view
from workbench.tui.row_views import Decoded, problem_of

LENGTH = 96


@pytest.fixture(scope="module")
def chat_tokenizer() -> Tokenizer:
    """One token a byte, with a chat template."""
    settings = TokenizerSettings(kind="bytes")
    tokenizer = train_tokenizer(settings, [], on_progress=lambda *_: None, should_stop=lambda: False)
    assert tokenizer is not None
    return tokenizer


def decoded_row(folder: Path, value: object) -> tuple[Row, Decoded]:
    """A row as its file gives it, and as training reads it."""
    path = folder / "row.jsonl"
    path.write_text(json.dumps(value) + "\n", encoding="utf-8")
    row = next(iter(read_rows(path)))
    decoded = problem_of(row)
    assert isinstance(row, Row) and isinstance(decoded, Decoded)
    return row, decoded


def chat(*answers: int) -> dict[str, Any]:
    """A conversation whose answers have so many words."""
    turns = [
        [{"role": "user", "content": "ask"}, {"role": "assistant", "content": "yes " * words}] for words in answers
    ]
    return {"messages": [message for pair in turns for message in pair]}


def store(rows: list[MaskedRow], tokenizer: Tokenizer) -> TokenStore:
    """The rows as the tokenising writes them: cut to what fits."""
    ids = [row.ids[: row.limit] for row in rows]
    trained = [row.targets[: row.limit] for row in rows]
    return TokenStore.from_documents(ids, trained, tokenizer.pad_token_id)


def agrees(batch: Batch, number: int, row: MaskedRow, tokenizer: Tokenizer) -> None:
    """A row of a batch holds what the X-ray says of it."""
    inputs, labels = batch.input_ids[number], batch.labels[number]
    fitting = min(len(row.ids), row.limit)
    assert (labels != IGNORED).sum() == row.trained
    assert [label for label in labels.tolist() if label != IGNORED] == [
        token for token, target in zip(row.ids[: row.limit], row.targets, strict=False) if target
    ]
    assert len(inputs) - (fitting - 1) == row.padding
    assert np.all(inputs[fitting - 1 :] == tokenizer.pad_token_id) and np.all(labels[fitting - 1 :] == IGNORED)
    assert row.trained + row.masked + row.cut == len(row.ids)


@pytest.mark.parametrize("answers", [(1,), (3, 2), (200,), (1, 400), (37,), (38,)])
def test_of_a_conversation(chat_tokenizer: Tokenizer, tmp_path: Path, answers: tuple[int, ...]) -> None:
    _, decoded = decoded_row(tmp_path, chat(*answers))
    (row,) = masked_rows(decoded, chat_tokenizer, LENGTH)
    packing = WholePacking(store([row], chat_tokenizer), LENGTH, isolate_documents=True)
    agrees(packing.assemble(np.array([0]), np.array([0])), 0, row, chat_tokenizer)


@pytest.mark.parametrize("words", [(1, 2), (2, 90), (90, 2), (20, 21)])
def test_of_a_pair(chat_tokenizer: Tokenizer, tmp_path: Path, words: tuple[int, int]) -> None:
    chosen, rejected = ("good " * words[0], "bad " * words[1])
    _, decoded = decoded_row(tmp_path, {"prompt": "ask", "chosen": chosen, "rejected": rejected})
    rows = masked_rows(decoded, chat_tokenizer, LENGTH)
    batch = PairPacking(store(rows, chat_tokenizer), LENGTH).assemble(np.array([0]), np.array([0]))
    for number, row in enumerate(rows):
        agrees(batch, number, row, chat_tokenizer)


def test_of_a_text_every_token_but_the_first_is_trained_and_none_is_cut(
    chat_tokenizer: Tokenizer, tmp_path: Path
) -> None:
    _, decoded = decoded_row(tmp_path, {"text": "once upon a time " * 40})
    (row,) = masked_rows(decoded, chat_tokenizer, LENGTH)
    plain = TokenStore.from_documents([row.ids], None, chat_tokenizer.pad_token_id)
    packing = StreamPacking(plain, LENGTH, isolate_documents=True)
    batch = packing.assemble(np.arange(packing.rows), np.zeros(packing.rows, np.int64))
    assert (batch.labels != IGNORED).sum() == row.trained == len(row.ids) - 1
    assert (row.cut, row.padding) == (0, 0)


def test_it_is_written_beside_the_tokens(chat_tokenizer: Tokenizer, tmp_path: Path) -> None:
    row, decoded = decoded_row(tmp_path, chat(2))
    (masked,) = masked_rows(decoded, chat_tokenizer, LENGTH)
    text = token_view(row, chat_tokenizer, LENGTH, ids_shown=False).plain
    assert masked.padding and f"┄padding┄ {masked.padding}" in text
    assert text.endswith(f"┄{chat_tokenizer.token_label(chat_tokenizer.pad_token_id)}┄ x {masked.padding}")
    assert "padding" not in token_view(row, chat_tokenizer, None, ids_shown=False).plain


def test_a_row_that_training_leaves_out_is_told(chat_tokenizer: Tokenizer, tmp_path: Path) -> None:
    asked = {"messages": [{"role": "user", "content": "ask " * 300}, {"role": "assistant", "content": "yes"}]}
    row, _ = decoded_row(tmp_path, asked)
    assert token_view(row, chat_tokenizer, LENGTH, False).plain.startswith("✗ training leaves this row out")
    assert "leaves" not in token_view(row, chat_tokenizer, 4000, False).plain
    same = {"prompt": "ask", "chosen": "so " * 90 + "a", "rejected": "so " * 90 + "b"}
    row, _ = decoded_row(tmp_path, same)
    assert "both answers are the same" in token_view(row, chat_tokenizer, LENGTH, False).plain
