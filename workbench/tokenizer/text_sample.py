"""A file of bounded size with the text that a tokenizer is trained on: one JSON string a line."""

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

_PIECE_CHARACTERS = 1 << 18  # the library keeps many bytes for each byte of a text while it cuts it into words


@dataclass(frozen=True)
class SampleSize:
    """How much text was written.

    Args:
        size_bytes: UTF-8 bytes of text.
        complete: False if there was more text.
    """

    size_bytes: int
    complete: bool


def write_sample(
    target: Path,
    texts: Iterable[str],
    limit_bytes: int,
    on_progress: Callable[[str, int, int | None], None],
    should_stop: Callable[[], bool],
) -> SampleSize | None:
    """Write texts to `target` until there are `limit_bytes` of them; None when stopped."""
    written, reported = 0, 0
    with target.open("w", encoding="utf-8") as file:
        for piece in _pieces(texts):
            if should_stop():
                return None
            encoded = piece.encode("utf-8", "replace")
            kept = encoded[: limit_bytes - written]
            file.write(json.dumps(kept.decode("utf-8", "ignore"), ensure_ascii=False) + "\n")
            written += len(kept)
            if len(kept) < len(encoded):
                return SampleSize(written, complete=False)
            if written - reported >= limit_bytes // 100:
                reported = written
                on_progress("reading text", written, limit_bytes)
    return SampleSize(written, complete=True)


def read_sample(path: Path, limit_bytes: int) -> list[str]:
    """Texts from the beginning of a sample, about `limit_bytes` of them."""
    texts, size = [], 0
    with path.open(encoding="utf-8") as file:
        for line in file:
            texts.append(json.loads(line))
            size += len(line.encode())
            if size >= limit_bytes:
                break
    return texts


def _pieces(texts: Iterable[str]) -> Iterator[str]:
    """The texts, long ones cut, after a line where possible."""
    for text in texts:
        start = 0
        while len(text) - start > _PIECE_CHARACTERS:
            line_end = text.rfind("\n", start, start + _PIECE_CHARACTERS) + 1
            end = line_end or start + _PIECE_CHARACTERS
            yield text[start:end]
            start = end
        if start < len(text):
            yield text[start:]
