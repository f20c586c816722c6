"""Each published shape of a preference pair is read."""

import pytest

from workbench.data.preferences import to_preference

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
