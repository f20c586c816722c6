"""Training data as token ids on the disk: tokenised once, found again by a fingerprint of all that made it."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from workbench.data.documents import Kind, Side, Source, choose_split
from workbench.data.file_hashes import content_hash, file_signature, replace_text
from workbench.data.folder_lock import folder_lock
from workbench.data.rows import BadRow
from workbench.data.sources import resolve_format
from workbench.data.stores import TokenStore
from workbench.data.tables import open_parquet
from workbench.data.tokenising import PROGRESS_FILE, SIDES, DataTokenizer, Tally, Tokenising, token_dtype
from workbench.errors import DataError, TokenizerError

__all__ = ["BadRow", "DataSettings", "PreparedData", "prepare"]

LAYOUT = 3  # raise it when the same inputs give other files
INDEX_FILE = "index.json"


@dataclass(frozen=True)
class DataSettings:
    """What the tokens depend on, beside the files and the tokenizer.

    Args:
        format: how the files are read; "auto" goes by name and content.
        sequence_length: conversations are cut to fit a row of it; other text is cut later.
        validation_fraction: share set apart to measure on, where there are no `validation_files`.
        seed: chooses which documents are set apart.
    """

    sequence_length: int
    format: str = "auto"
    validation_fraction: float = 0.0
    validation_files: Sequence[Path] = ()
    seed: int = 0


@dataclass(frozen=True)
class PreparedData:
    """Tokenised data; the counts of documents and tokens are those of the training side.

    Args:
        documents: of preferences, pairs of them; validation_documents: those set apart to measure on.
        tokens_trained: tokens that are targets.
        truncated: conversations cut at the end to fit a row, by `tokens_cut` tokens, `targets_cut` of them targets.
        first_cut: file and line of the first.
        reasons: how many rows were rejected for what.
        from_cache: nothing had to be tokenised.
    """

    train: TokenStore
    validation: TokenStore | None
    documents: int
    validation_documents: int
    tokens: int
    tokens_trained: int
    rows_read: int
    rows_rejected: int
    truncated: int
    tokens_cut: int
    targets_cut: int
    first_cut: tuple[str, int] | None
    reasons: dict[str, int]
    from_cache: bool
    fingerprint: str


def prepare(
    files: Sequence[Path],
    kind: Kind,
    tokenizer: DataTokenizer,
    settings: DataSettings,
    cache: Path,
    *,
    on_progress: Callable[[int, int | None], None],
    on_bad_row: Callable[[BadRow], None],
    should_stop: Callable[[], bool],
) -> PreparedData | None:
    """The files as tokens: from the cache if they were tokenised before, from where that ended if it was interrupted.

    Args:
        cache: the folder that keeps all tokenised data.
        on_progress: called with bytes done and bytes in all.
        on_bad_row: called for each rejected row; from the cache for the first of them.
    Returns:
        None when stopped between two batches.
    Raises:
        DataError: a file is missing or unusable, or nothing in them is usable.
    """
    if kind != "pretrain" and tokenizer.chat is None:
        raise TokenizerError("tokenizer", "has no chat template, which conversations need", "add chat_template.jinja")
    sources = _find_sources(files, kind, settings, cache, should_stop)
    if sources is None:
        return None
    fingerprint = _fingerprint(sources, kind, tokenizer, settings)
    folder = cache / fingerprint
    try:
        with folder_lock(folder, should_stop) as held:
            if not held:
                return None
            from_cache = _complete(folder, kind, tokenizer)
            if from_cache:
                _tell_again(folder, on_bad_row)
            elif not _tokenise(folder, sources, kind, tokenizer, settings, on_progress, on_bad_row, should_stop):
                return None
    except OSError as error:
        if error.filename is not None and Path(error.filename) in files:
            raise DataError(str(error.filename), f"cannot be read: {error.strerror}", "check the file") from error
        problem = f"tokens cannot be kept: {error.strerror or error}"
        raise DataError(str(cache), problem, "make room, or set LLM_WORKBENCH_HOME to a folder that has it") from error
    return _open(folder, kind, tokenizer, from_cache)


def _find_sources(
    files: Sequence[Path], kind: Kind, settings: DataSettings, cache: Path, should_stop: Callable[[], bool]
) -> list[Source] | None:
    """The files with their formats and hashes; None when stopped."""
    if not files:
        raise DataError("data", "no files are given", "name at least one")
    sides: list[tuple[Path, Side | None]] = [(path, None) for path in files]
    if settings.validation_files:
        sides += [(path, "validation") for path in settings.validation_files]
    formats = [resolve_format(path, settings.format) for path, _ in sides]
    sources = []
    for (path, side), format_name in zip(sides, formats, strict=True):
        if format_name == "text" and kind != "pretrain":
            raise DataError(str(path), "is plain text, which holds no conversations", "fine-tune on JSONL")
        if format_name == "parquet":
            open_parquet(path).close()  # a missing package is told of before anything is written
        sha256 = content_hash(path, cache / "hashes.json", should_stop)
        if sha256 is None:
            return None
        sources.append(Source(path, format_name, path.stat().st_size, sha256, side))
    return sources


def _fingerprint(sources: list[Source], kind: Kind, tokenizer: DataTokenizer, settings: DataSettings) -> str:
    made_of = {
        "layout": LAYOUT,
        "kind": kind,
        "files": [[source.sha256, source.format, source.path.suffix == ".tsv", source.side] for source in sources],
        "tokenizer": tokenizer.fingerprint,
        "sequence_length": settings.sequence_length if kind != "pretrain" else None,
        "validation_fraction": None if settings.validation_files else settings.validation_fraction,
        "seed": settings.seed,
    }
    return hashlib.sha256(json.dumps(made_of, sort_keys=True).encode("utf-8")).hexdigest()[:32]


def _tokenise(
    folder: Path,
    sources: list[Source],
    kind: Kind,
    tokenizer: DataTokenizer,
    settings: DataSettings,
    on_progress: Callable[[int, int | None], None],
    on_bad_row: Callable[[BadRow], None],
    should_stop: Callable[[], bool],
) -> bool:
    """Fill the folder; False when stopped. It is emptied again if nothing can come of it."""
    signatures = [file_signature(source.path) for source in sources]
    split = choose_split(sources, kind, settings.validation_fraction, settings.seed)
    single_text = len(sources) == 1 and sources[0].format == "text"
    work = Tokenising(
        folder,
        sources,
        kind,
        split,
        tokenizer,
        settings.sequence_length,
        end_of_text=not single_text,
        on_bad_row=on_bad_row,
    )
    finished = work.run(on_progress, should_stop)
    problem = _problem(work, sources, signatures, finished)
    if problem is not None:
        _clear(folder)
        raise problem
    if finished:
        sizes = {side: [writer.documents, writer.tokens] for side, writer in work.writers.items()}
        replace_text(folder / INDEX_FILE, json.dumps({"stores": sizes, "tally": asdict(work.tally)}, indent=1))
        (folder / PROGRESS_FILE).unlink()
    return finished


def _problem(
    work: Tokenising, sources: list[Source], signatures: list[tuple[int, int]], finished: bool
) -> DataError | None:
    """Why what was written is of no use."""
    for source, signature in zip(sources, signatures, strict=True):
        if file_signature(source.path) != signature:
            return DataError(str(source.path), "changed while it was read", "start again when it is complete")
    if not finished:
        return None
    if work.writers["train"].tokens < 2:  # one token has nothing to predict
        return _nothing_to_train_on(work, sources)
    measured = [str(source.path) for source in sources if source.side == "validation"]
    if measured and work.writers["validation"].tokens < 2:
        bad = (f"; line {line}: {reason}" for file, line, reason in work.tally.bad_rows if file in measured)
        problem = f"there is nothing to measure on{next(bad, '')}"
        return DataError(", ".join(measured), problem, "give other validation files, or none to set some data apart")
    return None


def _nothing_to_train_on(work: Tokenising, sources: list[Source]) -> DataError:
    files = ", ".join(str(source.path) for source in sources if source.side is None)
    if not work.tally.rows_rejected:
        return DataError(files, "there is nothing to train on", "give more data, or set less of it apart")
    file, line, reason = work.tally.bad_rows[0]
    listed = ", ".join(f"{count} x {kind}" for kind, count in work.tally.reasons.items())
    first = f"first, {Path(file).name} line {line}: {reason}"
    problem = f"none of {work.tally.rows_read} rows can be used ({listed}); {first}"
    too_short = max(work.tally.reasons, key=work.tally.reasons.__getitem__) == "no target"
    remedy = "raise sequence_length" if too_short else "the README's section on data shows the formats"
    return DataError(files, problem, remedy)


def _clear(folder: Path) -> None:
    for path in folder.iterdir():
        if path.name != "lock":  # another process may be waiting for it
            path.unlink()


def _complete(folder: Path, kind: Kind, tokenizer: DataTokenizer) -> bool:
    """Whether the folder holds everything its index speaks of; what is damaged is made anew."""
    try:
        index = _read_index(folder)
        stores = [_open_store(folder, side, kind, tokenizer) for side in SIDES]
        Tally(**index["tally"])
        return [[store.documents, store.tokens] for store in stores] == list(index["stores"].values())
    except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
        return False


def _tell_again(folder: Path, on_bad_row: Callable[[BadRow], None]) -> None:
    for file, line, reason in _read_index(folder)["tally"]["bad_rows"]:
        on_bad_row(BadRow(file, line, reason))


def _read_index(folder: Path) -> dict[str, Any]:
    index: dict[str, Any] = json.loads((folder / INDEX_FILE).read_text(encoding="utf-8"))
    return index


def _open_store(folder: Path, side: Side, kind: Kind, tokenizer: DataTokenizer) -> TokenStore:
    dtype, masked = token_dtype(tokenizer), kind != "pretrain"
    return TokenStore.open(folder, side, dtype=dtype, masked=masked, pad_token_id=tokenizer.pad_token_id)


def _open(folder: Path, kind: Kind, tokenizer: DataTokenizer, from_cache: bool) -> PreparedData:
    tally = Tally(**_read_index(folder)["tally"])
    train, validation = (_open_store(folder, side, kind, tokenizer) for side in SIDES)
    together, measurable = 2 if kind == "dpo" else 1, validation.tokens >= 2
    return PreparedData(
        train=train,
        validation=validation if measurable else None,
        documents=train.documents // together,
        validation_documents=validation.documents // together if measurable else 0,
        tokens=train.tokens,
        tokens_trained=tally.tokens_trained,
        rows_read=tally.rows_read,
        rows_rejected=tally.rows_rejected,
        truncated=tally.truncated,
        tokens_cut=tally.tokens_cut,
        targets_cut=tally.targets_cut,
        first_cut=None if tally.first_cut is None else (tally.first_cut[0], tally.first_cut[1]),
        reasons=tally.reasons,
        from_cache=from_cache,
        fingerprint=folder.name,
    )
