"""Each published shape of a preference pair is read."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from workbench.data.packing import IGNORED, PairPacking
from workbench.data.preferences import encode_preference, to_preference
from workbench.data.stores import TokenStore
from workbench.tokenizer.tokenizer import Tokenizer

ASK = {"role": "user", "content": "Hello"}
GOOD = {"role": "assistant", "content": "Hi"}
BAD = {"role": "assistant", "content": "What?"}


@pytest.mark.parametrize(
    "value",
    [
        {"chosen": [ASK, GOOD], "rejected": [ASK, BAD]},
        {"prompt": "Hello", "chosen": "Hi", "rejected": "What?"},
        {"prompt": [ASK], "chosen": [GOOD], "rejected": [BAD]},
        {"prompt": [ASK], "chosen": [ASK, GOOD], "rejected": [ASK, BAD]},
        {"prompt": "Hello", "chosen": [ASK, GOOD], "rejected": [ASK, BAD]},
        {"instruction": "Hello", "input": "", "chosen": "Hi", "rejected": "What?"},
        {
            "conversations": [{"from": "human", "value": "Hello"}],
            "chosen": {"from": "gpt", "value": "Hi"},
            "rejected": {"from": "gpt", "value": "What?"},
        },
    ],
)
def test_every_shape_gives_the_same_pair(value: dict[str, object]) -> None:
    pair = to_preference(value)
    assert (pair.prompt, pair.chosen, pair.rejected) == ([ASK], [GOOD], [BAD])


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("text", "wrong type"),
        ({"chosen": "x", "worse": "y"}, "unknown keys: found chosen, worse"),
        ({"chosen": [ASK, GOOD], "rejected": [ASK, GOOD]}, "no difference"),
        ({"prompt": "a", "chosen": "x", "rejected": "x"}, "no difference"),
        ({"chosen": [GOOD], "rejected": [BAD]}, "no prompt"),
        ({"chosen": [ASK, GOOD], "rejected": [ASK, GOOD, ASK]}, "no answer: chosen"),
        ({"chosen": [ASK, GOOD], "rejected": [ASK, {"role": "assistant", "content": ""}]}, "empty answer"),
        ({"prompt": 5, "chosen": "x", "rejected": "y"}, "wrong type"),
    ],
)
def test_a_pair_that_cannot_be_used_says_why(value: object, reason: str) -> None:
    with pytest.raises(ValueError, match="^" + reason):
        to_preference(value)


def test_the_prompt_carries_no_loss_whoever_speaks_in_it(byte_tokenizer: Tokenizer) -> None:
    earlier = [ASK, GOOD, {"role": "user", "content": "And?"}]
    pair = to_preference({"chosen": [*earlier, GOOD], "rejected": [*earlier, BAD]})
    for (ids, trained), answer in zip(encode_preference(byte_tokenizer, pair), ("Hi", "What?"), strict=True):
        learnt = [token for token, flag in zip(ids, trained, strict=True) if flag]
        assert byte_tokenizer.decode(learnt) == f"{answer}<|im_end|>"
        assert byte_tokenizer.decode(ids).count("<|im_start|>assistant") == 2


def test_both_rows_of_a_pair_stand_together_and_are_as_long_as_they_must_be(byte_tokenizer: Tokenizer) -> None:
    documents = [[1, 2, 3, 4], [1, 2, 5], [6, 7, 8], [6, 9, 9, 9, 9]]
    masks = [[False, False, True, True], [False, False, True], [False, True, True], [False, True, True, True, True]]
    store = TokenStore.from_documents(documents, masks, pad_token_id=0)
    store.reference = -np.arange(15, dtype=np.float32)
    batch = PairPacking(store, 64).assemble(np.array([1, 0]), np.zeros(2, np.int64))
    assert batch.input_ids.shape == (4, 16) and batch.units == 2 and batch.rows_per_unit == 2
    assert batch.input_ids[:, :4].tolist() == [[6, 7, 0, 0], [6, 9, 9, 9], [1, 2, 3, 0], [1, 2, 0, 0]]
    no = IGNORED
    assert batch.labels[:, :4].tolist() == [[7, 8, no, no], [9, 9, 9, 9], [no, 3, 4, no], [no, 5, no, no]]
    assert batch.reference is not None
    assert batch.reference[:, :4].tolist() == [[-8, -9, 0, 0], [-11, -12, -13, -14], [-1, -2, -3, 0], [-5, -6, 0, 0]]
    part = batch.part(1, 2)
    assert part.units == 1 and part.input_ids.tolist() == batch.input_ids[2:].tolist()
    short = PairPacking(store, 2).assemble(np.array([1]), np.zeros(1, np.int64))
    assert short.labels.tolist() == [[7, 8], [9, 9]], "a row is never longer than the stage allows"


def test_pairs_about_one_question_stand_on_one_side(tmp_path: Path, preparing: Any) -> None:
    rows = [{"prompt": f"Who is {n % 10}?", "chosen": f"{n}.", "rejected": "Go."} for n in range(60)]
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    data = preparing([path], "dpo", validation_fraction=0.3)

    def asked(store: TokenStore) -> set[str]:
        texts = [
            preparing.tokenizer.decode(store.read_ids(*store.offsets[n : n + 2]).tolist())
            for n in range(store.documents)
        ]
        return {text.partition("?")[0] for text in texts}

    assert len(asked(data.train)) + len(asked(data.validation)) == 10
    assert data.documents + data.validation.documents // 2 == 60
