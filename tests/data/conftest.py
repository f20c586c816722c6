"""A byte tokenizer, and preparing data without listeners, for the tests of data."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from workbench.config import TokenizerSettings
from workbench.data.shards import BadRow, DataSettings, PreparedData, prepare
from workbench.tokenizer.bpe import train_tokenizer
from workbench.tokenizer.tokenizer import Tokenizer


@pytest.fixture(scope="session")
def byte_tokenizer() -> Tokenizer:
    """One token a byte, with the chat template of the project."""
    settings = TokenizerSettings(kind="bytes")
    tokenizer = train_tokenizer(settings, [], on_progress=lambda *_: None, should_stop=lambda: False)
    assert tokenizer is not None
    return tokenizer


@dataclass
class Preparing:
    """Prepares data into one cache, and keeps what was told on the way."""

    cache: Path
    tokenizer: Tokenizer
    bad_rows: list[BadRow] = field(default_factory=list)
    progress: list[tuple[int, int | None]] = field(default_factory=list)

    def __call__(
        self,
        files: Sequence[Path],
        kind: str = "pretrain",
        *,
        should_stop: Callable[[], bool] = lambda: False,
        sequence_length: int = 64,
        **settings: object,
    ) -> PreparedData | None:
        self.bad_rows.clear()
        self.progress.clear()
        return prepare(
            files,
            kind,
            self.tokenizer,
            DataSettings(sequence_length=sequence_length, **settings),
            self.cache,
            on_progress=lambda done, total: self.progress.append((done, total)),
            on_bad_row=self.bad_rows.append,
            should_stop=should_stop,
        )


@pytest.fixture
def preparing(tmp_path: Path, byte_tokenizer: Tokenizer) -> Preparing:
    """`prepare` with a cache of its own and the byte tokenizer."""
    return Preparing(tmp_path / "cache", byte_tokenizer)
