"""A tokenizer: text to ids and back, whatever file it came from.

Wraps one `tokenizers.Tokenizer`. On disk it is a Hugging Face directory, which transformers loads as it is.
"""

import codecs
import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers

from workbench.errors import TokenizerError
from workbench.tokenizer.chat_template import ChatTemplate, Span
from workbench.tokenizer.compression import TrainingSample
from workbench.tokenizer.files import read_parts, write_parts
from workbench.tokenizer.pieces import PieceReader, printable
from workbench.tokenizer.special_tokens import END_OF_TEXT, NAMED_TOKENS, control_tokens_of

# What well-known tokenizers call the end of a text, looked up when tokenizer_config.json names none.
_ENDS_OF_TEXT = (END_OF_TEXT, "<|end_of_text|>", "</s>", "<eos>", "<|eos|>", "[SEP]")


class Tokenizer:
    """Text to ids and back; any number of threads may use one at the same time.

    Args:
        backend: the library's tokenizer; limits and padding in it are switched off.
        config: what tokenizer_config.json says, the chat template apart.
        template: the chat template's Jinja text, or None for a tokenizer that knows no chats.
        where: the file it came from, for error messages.

    Attributes:
        backend: the library's tokenizer, for exports; encode with the methods here.
        chat: the chat template.
        vocabulary: ids by token, added tokens included.
        controls: the control tokens, and how text is kept apart from them.
        training_sample: what it was trained on; None for one that was loaded.

    Raises:
        TokenizerError: it has no token that ends a text, or its template is broken.
    """

    def __init__(
        self, backend: tokenizers.Tokenizer, config: dict[str, Any], template: str | None, where: str = "tokenizer"
    ) -> None:
        # The library would otherwise warn about, and switch off, its threads in programs that fork.
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
        backend.no_truncation()  # published files often carry a limit that would cut documents in silence
        backend.no_padding()
        self.backend, self._config = backend, config
        self.controls = control_tokens_of(backend)
        self._plain = self.controls.twin(backend)
        self._description: dict[str, Any] = json.loads(backend.to_str())
        self.vocabulary: dict[str, int] = backend.get_vocab(with_added_tokens=True)
        self.vocab_size = max(self.vocabulary.values()) + 1
        self._pieces = PieceReader(self._description)
        self.kind = _kind(self._description["model"], self._pieces.byte_level)
        named = self._named_tokens()
        self.chat = None if template is None else ChatTemplate(template, named, self.controls, _folder(where))
        self.eos_token_id = self._end_of_text(named, where)
        self.pad_token_id = self.vocabulary.get(named.get("pad_token", ""), self.eos_token_id)
        self.bos_token_id: int | None = self.vocabulary.get(named.get("bos_token", ""))
        self.stop_token_ids = self._stop_tokens(named)
        self.training_sample: TrainingSample | None = None
        self._control_ids = {token_id: name for name, token_id in self.controls.ids.items()}
        added = backend.get_added_tokens_decoder()
        self._skipped = frozenset(token_id for token_id, token in added.items() if token.special)
        self._bytes = [self._bytes_of(token_id) for token_id in range(self.vocab_size)]
        self._byte_lengths = np.array([len(piece) for piece in self._bytes], dtype=np.int32)
        self._byte_lengths.setflags(write=False)

    @classmethod
    def load(cls, path: Path) -> "Tokenizer":
        """Read a directory with a tokenizer.json, or such a file (with `..._config.json` beside it, if any).

        Raises:
            TokenizerError: there is no such file, or it holds no tokenizer.
        """
        return cls(*read_parts(path))

    def save(self, directory: Path) -> None:
        """Write tokenizer.json and the files beside it that transformers wants."""
        named = self._named_tokens()
        named.setdefault("eos_token", self._name(self.eos_token_id))
        named.setdefault("pad_token", self._name(self.pad_token_id))
        write_parts(directory, self.backend, {**self._config, **named}, self.chat.source if self.chat else None)

    @property
    def fingerprint(self) -> str:
        """SHA-256 over everything that decides ids, template included; equal after `save` and `load`."""
        parts = [self._description, self.chat.source if self.chat else None, self.eos_token_id, self.pad_token_id]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    @property
    def byte_level(self) -> bool:
        """True if tokens are byte sequences that may end inside a character."""
        return self._pieces.byte_level

    def encode(self, text: str) -> list[int]:
        """Ids of plain text; special tokens written in it are text like any other."""
        ids: list[int] = self._plain.encode(_valid(text), add_special_tokens=False).ids
        return ids

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """`encode` for many texts at once, on all cores."""
        encodings = self._plain.encode_batch_fast([_valid(text) for text in texts], add_special_tokens=False)
        return [encoding.ids for encoding in encodings]

    def encode_with_specials(self, text: str) -> list[int]:
        """Ids of text in which special tokens stand for themselves, as a rendered chat template has them."""
        return self.encode_with_offsets(text)[0]

    def encode_with_offsets(self, text: str) -> tuple[list[int], list[Span]]:
        """`encode_with_specials`, and the characters each token stands for as (start, end)."""
        encoding = self.backend.encode(_valid(text), add_special_tokens=False)
        return encoding.ids, encoding.offsets

    def encode_private(self, text: str) -> tuple[list[int], list[Span]]:
        """`encode_with_offsets` of a text whose control tokens bear their private names (`ControlTokens.reveal`)."""
        encoding = self._plain.encode(_valid(text), add_special_tokens=False)
        return encoding.ids, encoding.offsets

    def decode(self, ids: Iterable[int], skip_special_tokens: bool = False) -> str:
        """The text the ids stand for; broken UTF-8 becomes U+FFFD."""
        text: str = self.backend.decode([int(token) for token in ids], skip_special_tokens=skip_special_tokens)
        return text

    def token_bytes(self, token_id: int) -> bytes:
        """The bytes a token stands for; nothing for control tokens and ids without a token."""
        return self._bytes[token_id] if 0 <= token_id < self.vocab_size else b""

    def byte_lengths(self) -> np.ndarray:
        """Length in bytes of what each id stands for, int32 of (vocab_size,), 0 for control tokens."""
        return self._byte_lengths

    def token_label(self, token_id: int) -> str:
        """The token for people: spaces as `·`, line breaks and broken UTF-8 escaped, control tokens by name."""
        name = self._control_ids.get(token_id)
        if name is not None:
            return name
        return printable(self.token_bytes(token_id)) or f"[{token_id}]"

    def control_name(self, token_id: int) -> str | None:
        """The text of a control token; None for every other id."""
        return self._control_ids.get(token_id)

    def skipped_when_decoding(self, token_id: int) -> bool:
        """True if `decode(skip_special_tokens=True)` leaves this token out."""
        return token_id in self._skipped

    def _name(self, token_id: int) -> str:
        return str(self.backend.id_to_token(token_id))

    def _bytes_of(self, token_id: int) -> bytes:
        name = self.backend.id_to_token(token_id)
        return b"" if name is None or token_id in self._control_ids else self._pieces.bytes_of(name)

    def _named_tokens(self) -> dict[str, str]:
        """The tokens that tokenizer_config.json names; it writes them as text or as a table with `content`."""
        named = {}
        for key in NAMED_TOKENS:
            value = self._config.get(key)
            text = value.get("content") if isinstance(value, dict) else value
            if isinstance(text, str) and text in self.vocabulary:
                named[key] = text
        return named

    def _end_of_text(self, named: dict[str, str], where: str) -> int:
        """What stands between documents: `<|endoftext|>` where it exists, as chat models end *turns* with eos."""
        candidates = (END_OF_TEXT, named.get("eos_token", ""), *_ENDS_OF_TEXT)
        for name in candidates:
            if name in self.vocabulary:
                return self.vocabulary[name]
        raise TokenizerError(
            where, "no token that ends a text is known", "name one as eos_token in tokenizer_config.json"
        )

    def _stop_tokens(self, named: dict[str, str]) -> frozenset[int]:
        stops = {self.eos_token_id, self.vocabulary.get(named.get("eos_token", ""), self.eos_token_id)}
        if self.chat and self.chat.end_of_turn:
            stops.add(self.vocabulary[self.chat.end_of_turn])
        return frozenset(stops)


class TextStream:
    """Decodes ids one at a time, and never gives out half a character.

    What it gives out in all is what `tokenizer.decode` makes of all ids at once.

    Args:
        skip_special_tokens: leave special tokens out, as `Tokenizer.decode` does.
    """

    def __init__(self, tokenizer: Tokenizer, skip_special_tokens: bool = False) -> None:
        self._tokenizer, self._skip = tokenizer, skip_special_tokens
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._ids: list[int] = []  # those since the last text given out, after the ones that give it its context
        self._context = 0

    def push(self, token_id: int) -> str:
        """The text that is complete now that `token_id` has come; may be empty."""
        if self._skip and self._tokenizer.skipped_when_decoding(token_id):
            return ""
        if self._tokenizer.byte_level:
            name = self._tokenizer.control_name(token_id)
            return self._decoder.decode(self._tokenizer.token_bytes(token_id) if name is None else name.encode())
        self._ids.append(token_id)
        return self._new_text(last=False)

    def finish(self) -> str:
        """What was held back; half a character becomes U+FFFD."""
        return self._decoder.decode(b"", final=True) if self._tokenizer.byte_level else self._new_text(last=True)

    def _new_text(self, last: bool) -> str:
        """Text of the ids since last time, decoded after their predecessors: many decoders look at what came before."""
        known = self._tokenizer.decode(self._ids[: self._context])
        text = self._tokenizer.decode(self._ids)
        if not last and (text.endswith("\ufffd") or len(text) <= len(known)):
            return ""
        self._ids = self._ids[self._context :]
        self._context = len(self._ids)
        return text[len(known) :]


def _folder(where: str) -> str:
    """Where the chat template lies, in one file or another, beside the tokenizer.json at `where`."""
    return str(Path(where).parent) if where.endswith(".json") else where


def _kind(model: dict[str, Any], byte_level: bool) -> str:
    """ "bpe", "characters" or "bytes"; the library's name of the model for foreign kinds."""
    if model["type"] != "BPE":
        return str(model["type"]).lower()
    if model["merges"]:
        return "bpe"
    return "bytes" if byte_level else "characters"


def _valid(text: str) -> str:
    """`text` with half surrogate pairs, which JSON can smuggle in and UTF-8 cannot hold, joined or replaced."""
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text
