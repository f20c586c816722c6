"""The special tokens of our own tokenizers, and how control tokens are told from text that only looks like them.

A control token steers the model (a turn begins, a document ends). The same characters typed by a person or found in a
dataset are text and must never become that token. Two devices keep them apart:

- plain text is encoded by a twin of the tokenizer whose control tokens carry private names no text can hold, so the
  twin cannot find any, while all other ids and every word boundary stay as they are;
- for chats, `ControlTokens.quote` breaks the look-alikes inside messages with a mark before the template is rendered;
  afterwards every whole control token in the result was written by the template, and `reveal` gives it its private
  name and drops the marks. Most chats hold no look-alike, and are encoded as they are.
"""

import json
import re
import secrets
from collections.abc import Mapping, Sequence
from typing import Any

import tokenizers
from tokenizers import AddedToken

END_OF_TEXT = "<|endoftext|>"
TURN_START = "<|im_start|>"
TURN_END = "<|im_end|>"
UNKNOWN = "<unk>"
NAMED_TOKENS = ("bos_token", "eos_token", "pad_token", "unk_token")  # as tokenizer_config.json has them
CONTROL_SPECIALS = (END_OF_TEXT, TURN_START, TURN_END)
# Not "special" to the library: a decoder that leaves special tokens out still shows thoughts and tool calls.
VISIBLE_TAGS = ("<think>", "</think>", "<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>")


def added_tokens(further: Sequence[str] = ()) -> list[AddedToken]:
    """The tokens every BPE and byte tokenizer begins with, in the order of their ids, then `further` ones."""
    names = dict.fromkeys((*CONTROL_SPECIALS, *VISIBLE_TAGS, *further))
    return [added_token(name) for name in names]


def added_token(name: str) -> AddedToken:
    """`name` as the library wants it: never normalised, never swallowing spaces beside it."""
    return AddedToken(name, special=name not in VISIBLE_TAGS, normalized=False)


class ControlTokens:
    """The control tokens of one tokenizer.

    Args:
        ids: the id of each control token by its text.
    """

    def __init__(self, ids: Mapping[str, int]) -> None:
        self.ids = dict(ids)
        # A nonce: nobody can write a private name or a mark into a dataset. U+FDD0 is never a character.
        nonce = secrets.token_hex(8)
        while any(name in nonce for name in self.ids):  # a token such as "bc" must not come back with the mark
            nonce = secrets.token_hex(8)
        self.mark = f"\ufdd0{nonce}\ufdd1"
        self._private = {name: f"\ufdd0{nonce}:{token_id}\ufdd1" for name, token_id in self.ids.items()}
        longest_first = sorted(self.ids, key=len, reverse=True)
        choices = "|".join(re.escape(name) for name in longest_first) or "(?!)"
        self.pattern = re.compile(choices)
        # One character and a look ahead: control tokens that overlap in the text are all broken.
        self._first_character = re.compile(f"(?=(?:{choices}))(.)", re.DOTALL)

    def quote(self, value: Any) -> Any:
        """A copy of `value` (text, or lists and dicts of it) in which no text holds a whole control token."""
        if isinstance(value, str):
            return self._first_character.sub(lambda match: match[1] + self.mark, value)
        if isinstance(value, Mapping):
            return {self.quote(key): self.quote(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.quote(item) for item in value]
        return value

    def reveal(self, text: str) -> str:
        """A rendered chat for the twin: whole control tokens under their private names, marks dropped."""
        return self.pattern.sub(lambda match: self._private[match[0]], text).replace(self.mark, "")

    def twin(self, backend: tokenizers.Tokenizer) -> tokenizers.Tokenizer:
        """The same tokenizer, but its control tokens listen to their private names alone."""
        description = json.loads(backend.to_str())
        description["post_processor"] = None  # it would move offsets, and adds tokens only when asked to
        for token in description["added_tokens"]:
            if token["content"] in self._private:
                token.update(content=self._private[token["content"]], normalized=False)
        model = description["model"]
        if "merges" in model:  # in some published files merges can spell a control token: here they must not
            model["merges"] = [pair for pair in model["merges"] if not self._spells_control(pair)]
        model["vocab"] = self._renamed(model["vocab"])
        if model.get("unk_token") in self._private:
            model["unk_token"] = self._private[model["unk_token"]]
        return tokenizers.Tokenizer.from_str(json.dumps(description))

    def _spells_control(self, pair: str | list[str]) -> bool:
        left, right = pair.split(" ") if isinstance(pair, str) else pair
        return bool({left, right, left + right} & self.ids.keys())

    def _renamed(self, vocabulary: Any) -> Any:
        """The model's vocabulary with private names; unigram models list pairs, all others map to ids."""
        if isinstance(vocabulary, dict):
            return {self._private.get(name, name): token_id for name, token_id in vocabulary.items()}
        return [[self._private.get(name, name), score] for name, score in vocabulary]


def control_tokens_of(backend: tokenizers.Tokenizer) -> ControlTokens:
    """The control tokens of any tokenizer: all its added tokens, but those that are mere white space or one letter.

    Some tokenizers add runs of spaces or line breaks as tokens; these are text.
    """
    added = backend.get_added_tokens_decoder()
    return ControlTokens(
        {
            token.content: token_id
            for token_id, token in added.items()
            if len(token.content) > 1 and not token.content.isspace()
        }
    )
