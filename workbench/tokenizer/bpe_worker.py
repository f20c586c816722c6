"""The child process of `bpe_process`: reads a request, learns the merges, writes a tokenizer.json.

Run as `python -m workbench.tokenizer.bpe_worker`. The request is one line of JSON on standard input, progress is
lines of JSON on standard output (our own) and standard error (the library's).
"""

import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import decoders, models, trainers
from tokenizers.pre_tokenizers import ByteLevel

from workbench.tokenizer.pre_tokenizers import build_pre_tokenizer
from workbench.tokenizer.special_tokens import added_token

_REPORT_BYTES = 1 << 20


@dataclass(frozen=True)
class Request:
    """What to learn from what.

    Args:
        sample: a file with one JSON string a line.
        sample_bytes: UTF-8 bytes of text in it.
        output: where to write the tokenizer.json.
        pre_tokenizer: a name that `build_pre_tokenizer` knows.
        special_tokens: the tokens with the first ids.
    """

    sample: str
    sample_bytes: int
    output: str
    vocab_size: int
    pre_tokenizer: str
    special_tokens: list[str]


def main() -> None:
    """Carry out the request on standard input."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl+C reaches the whole group; the parent decides
    request = Request(**json.loads(sys.stdin.readline()))
    threading.Thread(target=_end_with_parent, daemon=True).start()
    learned = learn(request, _report)
    Path(request.output).write_text(learned.to_str(), encoding="utf-8")


def learn(request: Request, report: Callable[[int, int], None]) -> tokenizers.Tokenizer:
    """A byte-level BPE tokenizer; `report` is called with the bytes read and their total."""
    # llama.cpp takes whole words from the vocabulary first under this name, and so do the published Llama 3 files.
    whole_words_first = request.pre_tokenizer == "llama-bpe"
    backend = tokenizers.Tokenizer(models.BPE(ignore_merges=whole_words_first))
    backend.pre_tokenizer = build_pre_tokenizer(request.pre_tokenizer)
    backend.decoder = decoders.ByteLevel()
    backend.train_from_iterator(_texts(request, report), _trainer(request))
    return _with_flags(backend, request.special_tokens)


def _trainer(request: Request) -> trainers.BpeTrainer:
    settings: dict[str, Any] = {
        "vocab_size": request.vocab_size,
        "min_frequency": 2,  # a pair that occurs once teaches nothing
        "special_tokens": request.special_tokens,
        "initial_alphabet": sorted(ByteLevel.alphabet()),  # all 256 bytes: no text is unknown
    }
    try:
        return trainers.BpeTrainer(**settings, progress_format="json")
    except TypeError:  # an older library, which can only draw bars
        return trainers.BpeTrainer(**settings, show_progress=False)


def _with_flags(backend: tokenizers.Tokenizer, special_tokens: list[str]) -> tokenizers.Tokenizer:
    """`backend` with the flags of `added_token`: the trainer makes every token it is given a special one."""
    description = json.loads(backend.to_str())
    for token in description["added_tokens"]:
        token["special"] = added_token(token["content"]).special
    return tokenizers.Tokenizer.from_str(json.dumps(description))


def _texts(request: Request, report: Callable[[int, int], None]) -> Iterator[str]:
    done = reported = 0
    with Path(request.sample).open(encoding="utf-8") as file:
        for line in file:
            text = json.loads(line)
            yield text
            done += len(text.encode())
            if done - reported >= _REPORT_BYTES:
                reported = done
                report(done, request.sample_bytes)


def _report(done: int, total: int) -> None:
    sys.stdout.write(json.dumps({"stage": "cutting into words", "current": done, "total": total}) + "\n")
    sys.stdout.flush()


def _end_with_parent() -> None:
    """Wait until the parent closes our standard input, by intent or by dying; then end at once."""
    sys.stdin.read()
    os._exit(1)


if __name__ == "__main__":
    main()
