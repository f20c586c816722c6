"""Prompts in the shapes that data comes in."""

import json
from pathlib import Path
from typing import Any

import pytest

from workbench.data.prompts import Prompt, read_prompts, to_prompt
from workbench.data.rows import BadRow


def said(role: str, text: str) -> dict[str, str]:
    return {"role": role, "content": text}


@pytest.mark.parametrize(
    ("row", "prompt"),
    [
        ("Who?", Prompt(None, ("Who?",))),
        ({"prompt": "Who?"}, Prompt(None, ("Who?",))),
        ({"question": "Who?", "answer": "You."}, Prompt(None, ("Who?",))),
        ({"instruction": "Add", "input": "1 and 2", "output": "3"}, Prompt(None, ("Add\n1 and 2",))),
        ({"system": "Be short.", "prompt": "Who?"}, Prompt("Be short.", ("Who?",))),
        (
            {"messages": [said("system", "Be short."), said("user", "Who?"), said("assistant", "You.")]},
            Prompt("Be short.", ("Who?",)),
        ),
        (
            {
                "conversations": [
                    {"from": "human", "value": "Who?"},
                    {"from": "gpt", "value": "You."},
                    {"from": "human", "value": "Why?"},
                    {"from": "gpt", "value": ""},
                ]
            },
            Prompt(None, ("Who?", "Why?")),
        ),
        ({"prompt": [said("user", "Who?")]}, Prompt(None, ("Who?",))),
    ],
)
def test_what_a_user_says_is_found(row: Any, prompt: Prompt) -> None:
    assert to_prompt(row) == prompt


@pytest.mark.parametrize(
    ("row", "told"),
    [
        (" ", "empty prompt"),
        ({"answer": "You."}, "unknown keys: found answer; expected turns or one of prompt, question"),
        ({"prompt": 7}, "wrong type: the prompt is a number"),
        ({"messages": [said("assistant", "You.")]}, "no question"),
        ({"messages": [said("user", "")]}, "no question"),
        ({"messages": [said("user", "Who?"), said("tool", "7")]}, "tools: nobody is here"),
        ({"messages": [said("user", "Who?")], "tools": [{"name": "look"}]}, "tools: nobody is here"),
    ],
)
def test_what_is_no_prompt_says_why(row: Any, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        to_prompt(row)


def test_each_line_of_a_text_is_a_prompt(tmp_path: Path) -> None:
    path = tmp_path / "prompts.txt"
    path.write_text("Who are you?\n\n  \nWhere?\n", encoding="utf-8")
    found = list(read_prompts(path))
    assert [(each.line, each.prompt.turns) for each in found if not isinstance(each, BadRow)] == [
        (1, ("Who are you?",)),
        (4, ("Where?",)),
    ]


def test_rows_without_one_come_with_their_place(tmp_path: Path) -> None:
    path = tmp_path / "prompts.jsonl"
    path.write_text(json.dumps({"prompt": "Who?"}) + "\n{\n" + json.dumps({"x": 1}) + "\n", encoding="utf-8")
    good, broken, odd = read_prompts(path)
    assert not isinstance(good, BadRow) and good.prompt.turns == ("Who?",)
    assert isinstance(broken, BadRow) and broken.line == 2 and broken.reason.startswith("broken JSON")
    assert isinstance(odd, BadRow) and odd.line == 3 and odd.reason.startswith("unknown keys")
