"""Conversations in the shapes that data sets come in, made into one: messages with roles.

Read are `conversations` (role and content, or sharegpt's from and value), openai's `messages`, alpaca's `instruction`,
`input`, `output`, and pairs such as `question` and `answer`. Who speaks is read from the role, never from the place.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from workbench.data.rows import check_text, type_name
from workbench.tokenizer.chat_template import Message

ROLES = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "prompter": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "bot": "assistant",
    "chatgpt": "assistant",
    "model": "assistant",
    "function_call": "assistant",
    "tool": "tool",
    "function": "tool",
    "ipython": "tool",
    "observation": "tool",
    "function_response": "tool",
}
PAIRS = (
    ("question", "answer"),
    ("prompt", "response"),
    ("prompt", "completion"),
    ("query", "response"),
    ("instruction", "response"),
    ("input", "output"),
)
TURN_KEYS = ("conversations", "messages", "conversation")
TEXT_KEYS = ("text", "content")
EXPECTED = 'expected "conversations", "messages", "instruction" and "output", or "question" and "answer"'


@dataclass(frozen=True)
class Conversation:
    """Messages in order, and the tools the assistant may call."""

    messages: list[Message]
    tools: list[Any] | None = None


def to_text(value: object) -> str:
    """The text of a row to pretrain on: a plain text, or an object's "text" or "content".

    Raises:
        ValueError: why the row cannot be used.
    """
    if isinstance(value, Mapping):
        key = next((key for key in TEXT_KEYS if key in value), None)
        if key is None:
            raise ValueError(f'unknown keys: found {_keys(value)}; expected "text"')
        value = value[key]
    text = _string(value, "the text")
    if not text.strip():
        raise ValueError("empty text")
    return text


def to_conversation(value: object) -> Conversation:
    """The conversation of a row to fine-tune on, with at least one answer of the assistant.

    Raises:
        ValueError: why the row cannot be used.
    """
    if not isinstance(value, Mapping):
        raise ValueError(f"wrong type: found {type_name(value)}, expected an object with a conversation")
    turns, tools = _turns(value)
    messages = [_message(turn, number) for number, turn in enumerate(turns, 1)]
    system = value.get("system")
    if system and messages and messages[0]["role"] != "system":
        messages.insert(0, Message(role="system", content=_string(system, "the system prompt")))
    if not any(message["role"] == "assistant" for message in messages):
        raise ValueError("no assistant turn: there is nothing to learn from")
    return Conversation(messages, tools)


def to_messages(turns: object) -> list[Message]:
    """The messages of a list of turns.

    Raises:
        ValueError: which turn cannot be used, and why.
    """
    return [_message(turn, number) for number, turn in enumerate(_turn_list(turns, "what should hold turns"), 1)]


def alpaca_prompt(value: Mapping[str, Any]) -> str:
    """The question of an alpaca row: its instruction, and its input on the next line if there is one."""
    parts = [_string(value["instruction"], "the instruction"), _string(value.get("input") or "", "the input")]
    return "\n".join(part for part in parts if part)


def _turns(value: Mapping[str, Any]) -> tuple[list[Any], list[Any] | None]:
    """The turns of a row in any shape, and the tools that go with them."""
    for key in TURN_KEYS:
        if value.get(key) is not None:  # in a table, the columns of other rows' shapes are null
            turns = _turn_list(value[key], f'"{key}"')
            return turns, _tools(value.get("tools")) or _tools_of_turns(turns)
    if "instruction" in value and "output" in value:
        turns = [*_history(value.get("history")), *_pair(alpaca_prompt(value), value["output"])]
        return turns, _tools(value.get("tools"))
    for question, answer in PAIRS:
        if question in value and answer in value:
            return _pair(value[question], value[answer]), None
    for key in TURN_KEYS:
        if key in value:
            raise ValueError(f'wrong type: "{key}" is null, expected a list of turns')
    raise ValueError(f"unknown keys: found {_keys(value)}; {EXPECTED}")


def _turn_list(turns: object, what: str) -> list[Any]:
    if isinstance(turns, str):  # a table's cell
        turns = _json(turns, what)
    if not isinstance(turns, list):
        raise ValueError(f"wrong type: {what} is {type_name(turns)}, expected a list of turns")
    if not turns:
        raise ValueError("empty conversation")
    return turns


def _history(history: object) -> list[Any]:
    if not history:
        return []
    if not isinstance(history, list) or not all(isinstance(pair, list) and len(pair) == 2 for pair in history):
        raise ValueError('wrong type: "history" is not a list of pairs')
    return [turn for question, answer in history for turn in _pair(question, answer)]


def _pair(question: object, answer: object) -> list[dict[str, object]]:
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


def _message(turn: object, number: int) -> Message:
    if not isinstance(turn, Mapping):
        raise ValueError(f"wrong type: turn {number} is {type_name(turn)}, expected an object")
    given = turn.get("role") or turn.get("from")
    if given is None:
        raise ValueError(f'unknown keys: turn {number} has {_keys(turn)}; expected "role" and "content"')
    role = ROLES.get(given) if isinstance(given, str) else None
    if role is None:
        raise ValueError(f"unknown role: turn {number} is by {given!r}")
    if "content" not in turn and "value" not in turn and not turn.get("tool_calls"):
        raise ValueError(f'unknown keys: turn {number} has {_keys(turn)}; expected "content"')
    content = _content(turn.get("value") if turn.get("content") is None else turn["content"], number)
    if given == "function_call":
        return Message(role=role, content="", tool_calls=_tool_calls(content, number))
    message = Message(role=role, content=content)
    if reasoning := turn.get("reasoning_content"):
        message["reasoning_content"] = _string(reasoning, f"the reasoning of turn {number}")
    if calls := turn.get("tool_calls"):
        message["tool_calls"] = _tool_calls(calls, number)
    if role == "assistant" and not content.strip() and len(message) == 2:
        raise ValueError(f"empty answer: turn {number} of the assistant says nothing")
    return message


def _content(content: object, number: int) -> str:
    """The text of a turn: a string, nothing, or openai's list of parts as long as all of them are text."""
    if content is None:
        return ""
    if not isinstance(content, list):
        return _string(content, f"the content of turn {number}")
    texts = [part.get("text") for part in content if isinstance(part, Mapping) and part.get("type") == "text"]
    if len(texts) != len(content):
        raise ValueError(f"not text: turn {number} holds images or other parts")
    return "".join(_string(text, f"the content of turn {number}") for text in texts)


def _tool_calls(calls: object, number: int) -> list[Any]:
    """The calls of a turn as openai writes them, arguments as an object; also from strings of JSON."""
    if isinstance(calls, str):
        calls = _json(calls, f"the tool call of turn {number}")
    found = []
    for call in calls if isinstance(calls, list) else [calls]:
        function = call.get("function", call) if isinstance(call, Mapping) else None
        if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
            raise ValueError(f"broken tool call: turn {number} calls nothing by name")
        arguments = function.get("arguments", {})
        if isinstance(arguments, str):
            arguments = _json(arguments, f"the arguments of turn {number}") if arguments.strip() else {}
        found.append({"type": "function", "function": {"name": function["name"], "arguments": arguments}})
    check_text(json.dumps(found, ensure_ascii=False), f"the tool calls of turn {number}")
    return found


def _tools_of_turns(turns: list[Any]) -> list[Any] | None:
    """The tools that a system turn declares, as minimind writes them."""
    for turn in turns:
        if isinstance(turn, Mapping) and turn.get("tools"):
            return _tools(turn["tools"])
    return None


def _tools(tools: object) -> list[Any] | None:
    if isinstance(tools, str):
        tools = _json(tools, "the tools") if tools.strip() else None
    if not tools:
        return None
    if not isinstance(tools, list):
        raise ValueError(f"wrong type: the tools are {type_name(tools)}, expected a list")
    check_text(json.dumps(tools, ensure_ascii=False), "the tools")
    return tools


def _json(text: str, what: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError(f"broken JSON: in {what}") from None


def _string(value: object, what: str) -> str:
    if not isinstance(value, str):
        raise ValueError(f"wrong type: {what} is {type_name(value)}, expected text")
    check_text(value, what)
    return value


def _keys(value: Mapping[Any, Any]) -> str:
    names = [str(key) for key in value]
    return (", ".join(names[:8]) + (" ..." if len(names) > 8 else "")) or "none"
