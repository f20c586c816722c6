"""Preference pairs in the shapes that data sets come in, made into one: a prompt, a better and a worse answer."""

from collections.abc import Mapping
from dataclasses import dataclass

from workbench.data.conversations import alpaca_prompt, to_messages
from workbench.data.rows import check_text, type_name
from workbench.tokenizer.chat_template import ChatTokenizer, Message, encode_conversation, encode_prompt

Encoded = tuple[list[int], list[bool]]
LENGTH_STEP = 16  # rows of pairs are of few different lengths, which compiled code and memory like
EXPECTED = 'expected "chosen" and "rejected", with a "prompt" unless both hold the whole conversation'


@dataclass(frozen=True)
class Preference:
    """What was asked, and two ways to go on: `chosen` is the better."""

    prompt: list[Message]
    chosen: list[Message]
    rejected: list[Message]


def to_preference(value: object) -> Preference:
    """The preference pair of a row.

    Raises:
        ValueError: why the row cannot be used.
    """
    if not isinstance(value, Mapping):
        raise ValueError(f"wrong type: found {type_name(value)}, expected an object")
    if "chosen" not in value or "rejected" not in value:
        raise ValueError(f"unknown keys: found {', '.join(map(str, value))}; {EXPECTED}")
    prompt = _prompt(value)
    chosen, rejected = _answer(value["chosen"], "chosen"), _answer(value["rejected"], "rejected")
    shared = _shared(chosen, rejected)
    if prompt and chosen[: len(prompt)] == prompt == rejected[: len(prompt)]:
        prompt = []  # written in front of both answers as well
    pair = Preference([*prompt, *chosen[:shared]], chosen[shared:], rejected[shared:])
    _check(pair)
    return pair


def encode_preference(tokenizer: ChatTokenizer, pair: Preference) -> tuple[Encoded, Encoded]:
    """Both ways to go on as token ids, each with the prompt before it and, for each token, whether it carries loss.

    The prompt carries none, whoever spoke in it.

    Raises:
        TokenizerError: there is no chat template, or it refuses these messages.
    """
    prompt = encode_prompt(tokenizer, pair.prompt)
    return _encoded(tokenizer, prompt, pair.prompt, pair.chosen), _encoded(
        tokenizer, prompt, pair.prompt, pair.rejected
    )


def _encoded(tokenizer: ChatTokenizer, asked: list[int], prompt: list[Message], answer: list[Message]) -> Encoded:
    ids, trained = encode_conversation(tokenizer, [*prompt, *answer])
    pairs = enumerate(zip(asked, ids, strict=False))
    shared = next((place for place, (one, other) in pairs if one != other), min(len(asked), len(ids)))
    return ids, [flag and place >= shared for place, flag in enumerate(trained)]


def _prompt(value: Mapping[str, object]) -> list[Message]:
    if "conversations" in value:
        prompt = to_messages(value["conversations"])
    elif "instruction" in value:
        prompt = [Message(role="user", content=alpaca_prompt(value))]
    elif isinstance(value.get("prompt"), str):
        prompt = [Message(role="user", content=_text(value["prompt"], "the prompt"))]
    else:
        prompt = to_messages(value["prompt"]) if value.get("prompt") else []
    system = value.get("system")
    if system and not (prompt and prompt[0]["role"] == "system"):
        prompt.insert(0, Message(role="system", content=_text(system, "the system prompt")))
    return prompt


def pair_row_length(longest_tokens: int, sequence_length: int) -> int:
    """The cells that both rows of a pair get, in a batch whose longest document has so many tokens.

    A document's last token is only a target, and needs no cell.
    """
    return min(sequence_length, -(-(longest_tokens - 1) // LENGTH_STEP) * LENGTH_STEP)


def _answer(answer: object, side: str) -> list[Message]:
    if isinstance(answer, str) and not answer.lstrip().startswith("[{"):
        return to_messages([{"role": "assistant", "content": _text(answer, f'"{side}"')}])
    return to_messages([answer] if isinstance(answer, Mapping) else answer)


def _text(text: object, what: str) -> str:
    if not isinstance(text, str):
        raise ValueError(f"wrong type: {what} is {type_name(text)}, expected text")
    check_text(text, what)
    return text


def _shared(chosen: list[Message], rejected: list[Message]) -> int:
    """How many messages both begin with."""
    shared = 0
    for ours, theirs in zip(chosen, rejected, strict=False):
        if ours != theirs:
            break
        shared += 1
    return shared


def _check(pair: Preference) -> None:
    if not pair.chosen and not pair.rejected:
        raise ValueError("no difference: chosen and rejected are the same")
    for side, messages in (("chosen", pair.chosen), ("rejected", pair.rejected)):
        if not messages or messages[-1]["role"] != "assistant":
            raise ValueError(f"no answer: {side} does not end with the assistant")
    if not any(message["role"] == "user" for message in pair.prompt):
        raise ValueError("no prompt: nothing was asked before the answers")
