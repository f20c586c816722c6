"""Character and byte tokenizers, for the classic exercises.

Both are BPE models without merges, so they are stored as tokenizer.json like any other tokenizer.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence

import tokenizers
from tokenizers import decoders, models, pre_tokenizers

from workbench.tokenizer.pieces import byte_alphabet
from workbench.tokenizer.special_tokens import CONTROL_SPECIALS, UNKNOWN, added_token, added_tokens


def count_characters(texts: Iterable[str], should_stop: Callable[[], bool]) -> Counter[str] | None:
    """How often each character occurs; None when stopped."""
    counts: Counter[str] = Counter()
    for text in texts:
        if should_stop():
            return None
        counts.update(text)
    return counts


def character_tokenizer(characters: Iterable[str], further_tokens: Sequence[str] = ()) -> tokenizers.Tokenizer:
    """One token a character, in the order of their code points; every other character becomes `<unk>`.

    There are as few special tokens as chats need: thoughts and tool calls are spelled out.
    """
    specials = list(dict.fromkeys((*CONTROL_SPECIALS, UNKNOWN, *further_tokens)))
    backend = _without_merges([*specials, *sorted(set(characters))], unknown=UNKNOWN)
    backend.decoder = decoders.Fuse()
    backend.add_special_tokens([added_token(name) for name in specials])
    return backend


def byte_tokenizer(further_tokens: Sequence[str] = ()) -> tokenizers.Tokenizer:
    """One token a byte: after the special tokens, ids are in the order of the bytes' values."""
    specials = added_tokens(further_tokens)
    alphabet = byte_alphabet()
    backend = _without_merges([*(token.content for token in specials), *sorted(alphabet, key=alphabet.__getitem__)])
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens([token for token in specials if token.special])
    backend.add_tokens([token for token in specials if not token.special])
    return backend


def _without_merges(vocabulary: Sequence[str], unknown: str | None = None) -> tokenizers.Tokenizer:
    ids = {name: index for index, name in enumerate(vocabulary)}
    return tokenizers.Tokenizer(models.BPE(vocab=ids, merges=[], unk_token=unknown, fuse_unk=False))
