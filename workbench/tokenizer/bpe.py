"""Training a tokenizer: byte-level BPE, or the characters or bytes of the text."""

import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

import tokenizers

from workbench.config import TokenizerSettings
from workbench.errors import TokenizerError
from workbench.tokenizer.bpe_process import learn_in_child_process
from workbench.tokenizer.bpe_worker import Request
from workbench.tokenizer.characters import byte_tokenizer, character_tokenizer, count_characters
from workbench.tokenizer.chatml import DEFAULT_TEMPLATE
from workbench.tokenizer.compression import TrainingSample, measure_compression
from workbench.tokenizer.pre_tokenizers import pre_tokenizer_name
from workbench.tokenizer.special_tokens import END_OF_TEXT, UNKNOWN, added_tokens
from workbench.tokenizer.text_sample import read_sample, write_sample
from workbench.tokenizer.tokenizer import Tokenizer

_BYTE_VALUES = 256
_MEASURED_BYTES = 1 << 20


def train_tokenizer(
    settings: TokenizerSettings,
    texts: Iterable[str],
    *,
    on_progress: Callable[[str, int, int | None], None],
    should_stop: Callable[[], bool],
) -> Tokenizer | None:
    """A new tokenizer for `texts`; None when stopped.

    The same texts and settings give the same tokenizer. A BPE tokenizer has fewer tokens than asked for where the
    texts hold no further pair that occurs twice: `vocab_size` of the result is the true one.

    Args:
        texts: documents, in an order that makes the beginning a fair sample of the whole.
        on_progress: called with what is being done, how much of it is done, and the whole amount if known.

    Raises:
        TokenizerError: there is no text, or `settings` ask for what cannot be.
        WorkbenchError: the training process failed.
    """
    if settings.kind == "bytes":
        trained = _finished(byte_tokenizer(settings.special_tokens))
        trained.training_sample = TrainingSample(size_bytes=0, complete=True, bytes_per_token=1.0)
        return trained
    if settings.kind == "characters":
        return _train_characters(settings, texts, should_stop)
    return _train_bpe(settings, texts, on_progress, should_stop)


def _train_characters(
    settings: TokenizerSettings, texts: Iterable[str], should_stop: Callable[[], bool]
) -> Tokenizer | None:
    counts = count_characters(texts, should_stop)
    if counts is None:
        return None
    if not counts:
        raise _no_text()
    trained = _finished(character_tokenizer(counts, settings.special_tokens), unk_token=UNKNOWN)
    size_bytes = sum(len(character.encode("utf-8", "replace")) * count for character, count in counts.items())
    trained.training_sample = TrainingSample(size_bytes, complete=True, bytes_per_token=size_bytes / counts.total())
    return trained


def _train_bpe(
    settings: TokenizerSettings,
    texts: Iterable[str],
    on_progress: Callable[[str, int, int | None], None],
    should_stop: Callable[[], bool],
) -> Tokenizer | None:
    special_tokens = [token.content for token in added_tokens(settings.special_tokens)]
    smallest = len(special_tokens) + _BYTE_VALUES
    if settings.vocab_size < smallest:
        raise TokenizerError(
            "tokenizer.vocab_size",
            f"{settings.vocab_size} does not hold {_BYTE_VALUES} bytes and {len(special_tokens)} special tokens",
            f"give at least {smallest}, or choose kind = 'bytes'",
        )
    pre_tokenizer = pre_tokenizer_name(settings.pre_tokenizer, settings.split_digits)
    with tempfile.TemporaryDirectory(prefix="workbench-bpe-") as folder:
        sample, output = Path(folder, "sample.jsonl"), Path(folder, "tokenizer.json")
        size = write_sample(sample, texts, settings.sample_bytes, on_progress, should_stop)
        if size is None:
            return None
        if size.size_bytes == 0:
            raise _no_text()
        request = Request(str(sample), size.size_bytes, str(output), settings.vocab_size, pre_tokenizer, special_tokens)
        if not learn_in_child_process(request, on_progress, should_stop):
            return None
        trained = _finished(tokenizers.Tokenizer.from_file(str(output)))
        measured = measure_compression(trained, read_sample(sample, _MEASURED_BYTES))
    trained.training_sample = TrainingSample(size.size_bytes, size.complete, measured.bytes_per_token)
    return trained


def _finished(backend: tokenizers.Tokenizer, **named: str) -> Tokenizer:
    return Tokenizer(backend, {"eos_token": END_OF_TEXT, "pad_token": END_OF_TEXT, **named}, DEFAULT_TEMPLATE)


def _no_text() -> TokenizerError:
    return TokenizerError("tokenizer.data", "there is no text to train a tokenizer on", "give files that hold text")
