"""What an answer is made of: thoughts, tool calls and their results, and the text between them."""

import json
import re
from dataclasses import dataclass
from typing import Literal

Kind = Literal["text", "thought", "tool call", "tool result"]
_KINDS: dict[str, Kind] = {"think": "thought", "tool_call": "tool call", "tool_response": "tool result"}
# A tag counts where a line begins with it: in the midst of a sentence it is what the sentence is about.
_OPENING = re.compile(r"^[ \t]*<(think|tool_call|tool_response)>", re.MULTILINE)


@dataclass(frozen=True)
class Part:
    """A piece of an answer.

    Args:
        text: without its tags.
        closed: the model wrote the tag that ends it; True for plain text.
        name: of the tool that is called, where that can be read.
    """

    kind: Kind
    text: str
    closed: bool = True
    name: str = ""


def parts_of(text: str) -> list[Part]:
    """The parts of an answer in their order; plain text that is only white space is left out.

    A thought that only ends (the template opened it before the answer began) reaches back to the beginning.
    """
    parts: list[Part] = []
    before, ended, rest = text.partition("</think>")
    if ended and "<think>" not in before:
        parts.append(Part("thought", before.strip("\n")))
        text = rest
    while match := _OPENING.search(text):
        _add_text(parts, text[: match.start()].rstrip("\n"))
        kind = _KINDS[match[1]]
        inside, closing, text = text[match.end() :].partition(f"</{match[1]}>")
        parts.append(Part(kind, inside.strip("\n"), bool(closing), _name(inside) if kind == "tool call" else ""))
    _add_text(parts, text)
    return parts


def _add_text(parts: list[Part], text: str) -> None:
    if text.strip():
        parts.append(Part("text", text.strip("\n") if parts else text))


def _name(call: str) -> str:
    try:
        name = json.loads(call)["name"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return ""
    return name if isinstance(name, str) else ""
