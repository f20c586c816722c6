"""The tokenizer of a run: loaded, found from an earlier start, or trained on the stages' own text."""

import contextlib
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from workbench import events
from workbench.config import Profile
from workbench.data.conversations import to_conversation, to_text
from workbench.data.rows import BadRow, Format, Row
from workbench.data.sources import read_rows
from workbench.errors import TokenizerError
from workbench.job_data import data_files, purpose
from workbench.job_sizes import tokenizer_origin
from workbench.runs.store import RunDirectory
from workbench.tokenizer.bpe import train_tokenizer
from workbench.tokenizer.tokenizer import Tokenizer


def make_tokenizer(
    profile: Profile, run: RunDirectory, emitter: events.Emitter, should_stop: Callable[[], bool]
) -> Tokenizer | None:
    """The run's tokenizer, saved in its folder; None when stopped on the way.

    Raises:
        TokenizerError: it cannot be loaded, or there is no text to train on.
    """
    start = time.monotonic()
    given = tokenizer_origin(profile)
    if (run.tokenizer_path / "tokenizer.json").is_file():
        tokenizer = Tokenizer.load(run.tokenizer_path)
    elif given is not None:
        tokenizer = Tokenizer.load(given)
        _keep(tokenizer, run.tokenizer_path)
    else:
        sources = tokenizer_sources(profile)
        stride = sample_stride(profile, sources)
        if stride > 1:
            message = f"the tokenizer looks at one row in {stride}: the text is larger than tokenizer.sample_bytes"
            emitter.emit(events.Warned(stage="", message=message))
        trained = train_tokenizer(
            profile.tokenizer,
            tokenizer_texts(sources, stride),
            on_progress=lambda task, done, total: emitter.emit(
                events.WorkProgressed(stage="", task=f"tokenizer: {task}", done=done, total=total, unit="")
            ),
            should_stop=should_stop,
        )
        if trained is None:
            return None
        tokenizer = trained
        _keep(tokenizer, run.tokenizer_path)
    sample = tokenizer.training_sample
    emitter.emit(
        events.TokenizerReady(
            kind=tokenizer.kind,
            vocab_size=tokenizer.vocab_size,
            bytes_per_token=sample.bytes_per_token if sample is not None else None,
            seconds=time.monotonic() - start,
        )
    )
    return tokenizer


@dataclass(frozen=True)
class Source:
    """A file that the tokenizer learns from; `kind` is that of its stage, empty for the tokenizer's own data."""

    file: Path
    format: Format | Literal["auto"]
    kind: str


def tokenizer_sources(profile: Profile) -> list[Source]:
    """The files that the tokenizer learns from: its own data, or that of every stage.

    Raises:
        TokenizerError: there are none.
    """
    own = [Source(file, "auto", "") for file in data_files(profile.tokenizer.data)]
    sources = own or [
        Source(file, stage.format, purpose(stage))
        for stage in profile.stage
        if stage.kind != "generate"  # what only asks is no text to learn from
        for file in data_files(stage.data_files)
    ]
    if not sources:
        raise TokenizerError("tokenizer.data", "there is no text to train on", "name files")
    return sources


def sample_stride(profile: Profile, sources: list[Source]) -> int:
    """Every how many rows one is looked at, so that larger text is sampled throughout and not at its head."""
    if profile.tokenizer.kind == "characters":
        return 1  # each character must be met
    return max(1, -(-sum(source.file.stat().st_size for source in sources) // profile.tokenizer.sample_bytes))


def tokenizer_texts(sources: list[Source], stride: int) -> Iterator[str]:
    """Every `stride`-th text of the sources; the rows that cannot be used are told of where a stage reads them.

    Raises:
        TokenizerError: there are rows, but none of them can be used; with the reason of the first.
    """
    found, problem = False, ""
    for source in sources:
        for number, row in enumerate(read_rows(source.file, source.format)):
            if number % stride:
                continue
            try:
                for text in _texts(row, source.kind):
                    found = True
                    yield text
            except ValueError as error:
                problem = problem or f"{source.file} line {row.line}: {error}"
    if problem and not found:
        remedy = "the README's section on data shows the formats"
        raise TokenizerError("tokenizer", f"no row can be used to train it; first, {problem}", remedy)


def _texts(row: Row | BadRow, kind: str) -> list[str]:
    """The texts of a row.

    Raises:
        ValueError: why it cannot be used.
    """
    if isinstance(row, BadRow):
        raise ValueError(row.reason)
    if kind == "sft":
        return [message["content"] for message in to_conversation(row.value).messages]
    try:
        return [to_text(row.value)]
    except ValueError:
        if kind == "":
            with contextlib.suppress(ValueError):
                return _texts(row, "sft")
        raise


def _keep(tokenizer: Tokenizer, directory: Path) -> None:
    """Save to a folder beside, then give it its name: a half-written tokenizer must never be found."""
    partial = directory.with_name(f".{directory.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    tokenizer.save(partial)
    shutil.rmtree(directory, ignore_errors=True)
    partial.rename(directory)
