"""Each published shape of a conversation is read; roles come from roles."""

import json

import pytest

from workbench.data.conversations import to_conversation, to_text

HELLO = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi"}]
CALL = {"type": "function", "function": {"name": "add", "arguments": {"a": 1}}}
TOOLS = [{"type": "function", "function": {"name": "add", "parameters": {}}}]


@pytest.mark.parametrize(
    "value",
    [
        {"conversations": HELLO},
        {"messages": HELLO},
        {"conversations": [{"from": "human", "value": "Hello"}, {"from": "gpt", "value": "Hi"}]},
        {"conversations": json.dumps(HELLO)},
        {"conversations": None, "messages": HELLO},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "Hello"}]}, HELLO[1]]},
        {"instruction": "Hello", "input": "", "output": "Hi"},
        {"question": "Hello", "answer": "Hi", "language": "en"},
        {"prompt": "Hello", "response": "Hi"},
        {"prompt": "Hello", "completion": "Hi"},
        {"input": "Hello", "output": "Hi"},
        {"id": 7, "conversations": [{**turn, "reasoning_content": "", "tools": None} for turn in HELLO]},
    ],
)
def test_every_shape_gives_the_same_conversation(value: dict[str, object]) -> None:
    found = to_conversation(value)
    assert found.messages == HELLO
    assert found.tools is None


def test_roles_are_read_and_not_counted() -> None:
    turns = [
        {"role": "assistant", "content": "I begin"},
        {"role": "user", "content": "a"},
        {"role": "user", "content": "b"},
    ]
    assert to_conversation({"conversations": turns}).messages == turns


def test_alpaca_brings_input_history_and_system() -> None:
    value = {"instruction": "Add", "input": "1 2", "output": "3", "history": [["Hello", "Hi"]], "system": "Be brief"}
    assert to_conversation(value).messages == [
        {"role": "system", "content": "Be brief"},
        *HELLO,
        {"role": "user", "content": "Add\n1 2"},
        {"role": "assistant", "content": "3"},
    ]


@pytest.mark.parametrize(
    "turns",
    [
        # minimind: everything is a string
        [
            {"role": "system", "content": "", "tools": json.dumps(TOOLS)},
            {"role": "user", "content": "1 + 1?"},
            {"role": "assistant", "content": "", "tool_calls": json.dumps([{"name": "add", "arguments": {"a": 1}}])},
            {"role": "tool", "content": "2"},
            {"role": "assistant", "content": "2", "reasoning_content": "easy"},
        ],
        # sharegpt: calls and observations are turns, tools stand beside
        [
            {"from": "system", "value": ""},
            {"from": "human", "value": "1 + 1?"},
            {"from": "function_call", "value": '{"name": "add", "arguments": {"a": 1}}'},
            {"from": "observation", "value": "2"},
            {"from": "gpt", "value": "2", "reasoning_content": "easy"},
        ],
        # openai: arguments are a string inside an object
        [
            {"role": "developer", "content": ""},
            {"role": "user", "content": "1 + 1?"},
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [{"id": "x", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}],
            },
            {"role": "function", "content": "2"},
            {"role": "assistant", "content": "2", "reasoning_content": "easy"},
        ],
    ],
)
def test_tools_and_calls_come_out_alike(turns: list[dict[str, object]]) -> None:
    found = to_conversation({"conversations": turns, "tools": json.dumps(TOOLS)})
    assert found.tools == TOOLS
    assert found.messages == [
        {"role": "system", "content": ""},
        {"role": "user", "content": "1 + 1?"},
        {"role": "assistant", "content": "", "tool_calls": [CALL]},
        {"role": "tool", "content": "2"},
        {"role": "assistant", "content": "2", "reasoning_content": "easy"},
    ]


def test_tools_in_a_system_turn_are_the_conversations() -> None:
    turns = [{"role": "system", "content": "", "tools": json.dumps(TOOLS)}, *HELLO]
    assert to_conversation({"conversations": turns}).tools == TOOLS


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("plain", "wrong type: found a string"),
        ({"a": 1, "b": 2}, "unknown keys: found a, b"),
        ({"conversations": []}, "empty conversation"),
        ({"conversations": 5}, 'wrong type: "conversations" is a number'),
        ({"conversations": "[broken"}, "broken JSON"),
        ({"conversations": ["Hello"]}, "wrong type: turn 1 is a string"),
        ({"conversations": [{"speaker": "me", "content": "x"}]}, "unknown keys: turn 1 has speaker, content"),
        ({"conversations": [{"role": "user", "text": "x"}]}, "unknown keys: turn 1 has role, text"),
        ({"conversations": [{"role": "narrator", "content": "x"}]}, "unknown role: turn 1 is by 'narrator'"),
        ({"conversations": [{"role": "user", "content": 5}]}, "wrong type: the content of turn 1 is a number"),
        ({"conversations": HELLO[:1]}, "no assistant turn"),
        ({"conversations": [HELLO[0], {"role": "assistant", "content": " "}]}, "empty answer: turn 2"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}, HELLO[1]]}, "not text: turn 1"),
        ({"conversations": None}, 'wrong type: "conversations" is null'),
        ({"prompt": "a\0b", "response": "x"}, "NUL character"),
        ({"prompt": "a", "response": "\ud83d"}, "half a character"),
        ({"conversations": HELLO, "tools": '[{"name": "\\ud83d"}]'}, "half a character"),
        ({"conversations": [HELLO[0], {"from": "function_call", "value": "5"}]}, "broken tool call: turn 2"),
    ],
)
def test_a_row_that_cannot_be_used_says_why(value: object, reason: str) -> None:
    with pytest.raises(ValueError, match="^" + reason.replace("[", r"\[")):
        to_conversation(value)


@pytest.mark.parametrize("value", ["a text", {"text": "a text"}, {"content": "a text", "id": 1}])
def test_texts_are_found(value: object) -> None:
    assert to_text(value) == "a text"


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ({"text": ""}, "empty text"),
        ({"text": " \n"}, "empty text"),
        ({"text": None}, "wrong type: the text is null"),
        ({"txt": "x"}, "unknown keys: found txt"),
        ({}, "unknown keys: found none"),
        ({"text": "\udc80"}, "half a character"),
    ],
)
def test_a_text_that_cannot_be_used_says_why(value: object, reason: str) -> None:
    with pytest.raises(ValueError, match="^" + reason):
        to_text(value)
