"""Thoughts, tool calls and text of an answer are told apart, also while they are written."""

import pytest

from workbench.inference.parts import Part, parts_of


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("plain", [Part("text", "plain")]),
        ("", []),
        ("<think>\nhm\n</think>\n\nyes", [Part("thought", "hm"), Part("text", "yes")]),
        ("<think>\nhm", [Part("thought", "hm", closed=False)]),
        ("<think>", [Part("thought", "", closed=False)]),
        ("it was opened before\n</think>\nyes", [Part("thought", "it was opened before"), Part("text", "yes")]),
        (
            'look\n<tool_call>\n{"name": "add", "arguments": {}}\n</tool_call>\n<tool_call>\n{"nam',
            [
                Part("text", "look"),
                Part("tool call", '{"name": "add", "arguments": {}}', name="add"),
                Part("tool call", '{"nam', closed=False),
            ],
        ),
        ("<tool_response>\n3\n</tool_response>", [Part("tool result", "3")]),
        ("write <think> to think", [Part("text", "write <think> to think")]),
        ("<tool_call>[1]</tool_call>", [Part("tool call", "[1]")]),
    ],
)
def test_parts(text: str, parts: list[Part]) -> None:
    assert parts_of(text) == parts


def test_a_call_nested_without_end_is_no_crash() -> None:
    text = "<tool_call>" + "[" * 100_000 + "</tool_call>"
    assert parts_of(text)[0].kind == "tool call" and parts_of(text)[0].name == ""
