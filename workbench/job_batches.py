"""The data of a stage: tokenised, told of, and cut into batches."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from workbench import events
from workbench.config import StageSettings
from workbench.data.loader import Loader
from workbench.data.mixture import MixedData, MixedLoader
from workbench.data.order import mix
from workbench.data.shards import BadRow, DataSettings, PreparedData, prepare
from workbench.data.stores import TokenStore
from workbench.job_data import data_files, purpose
from workbench.job_setting import Setting
from workbench.locations import tokenised_folder

StageData = PreparedData | MixedData
_PACKING: dict[str, Literal["stream", "whole", "pairs"]] = {"pretrain": "stream", "sft": "whole", "dpo": "pairs"}
ROWS_ANNOUNCED = 5  # bad rows told one by one; the rest are counted


def prepare_data(setting: Setting, stage: StageSettings) -> StageData | None:
    """The stage's data as tokens, from the cache when it is there; None when stopped on the way."""
    start = time.monotonic()
    data: StageData | None = None
    if not stage.data_sources:
        data = _prepare(setting, stage, stage.data_files)
    else:
        parts = []
        for source in stage.data_sources:
            part = _prepare(setting, stage, source.path)
            if part is None:
                return None
            parts.append(part)
        weights = [source.weight for source in stage.data_sources]
        shares = tuple(weight / sum(weights) for weight in weights)
        names = unique_names([source.path for source in stage.data_sources])
        data = MixedData(tuple(parts), names, shares) if len(parts) > 1 else parts[0]
    if data is not None:
        _announce_data(setting, stage, data, time.monotonic() - start)
    return data


def unique_names(sources: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """A short name for each data set: its first file's, with a number where several have that."""
    short = [Path(files[0].rpartition(":")[2]).name or files[0] for files in sources]
    return tuple(name if short.count(name) == 1 else f"{name} {place}" for place, name in enumerate(short, 1))


def _prepare(setting: Setting, stage: StageSettings, references: list[str]) -> PreparedData | None:
    announced = 0

    def on_progress(done: int, total: int | None) -> None:
        setting.emitter.emit(
            events.WorkProgressed(stage=stage.name, task="reading the data", done=done, total=total, unit="bytes")
        )

    def on_bad_row(row: BadRow) -> None:
        nonlocal announced
        announced += 1
        if announced <= ROWS_ANNOUNCED:
            setting.emitter.emit(
                events.RowRejected(stage=stage.name, file=str(row.file), line=row.line, reason=row.reason)
            )

    return prepare(
        data_files(references, setting.run.path),
        purpose(stage),
        setting.tokenizer,
        DataSettings(
            format=stage.format,
            sequence_length=stage.sequence_length,
            validation_fraction=stage.validation_fraction,
            validation_files=data_files(stage.validation),
            seed=setting.profile.run.seed,
        ),
        tokenised_folder(),
        on_progress=on_progress,
        on_bad_row=on_bad_row,
        should_stop=setting.should_stop,
    )


def training_loader(data: StageData, stage: StageSettings, seed: int) -> Loader | MixedLoader:
    """Batches to train on, of one data set or of several by their shares."""
    if isinstance(data, MixedData):
        loaders = [make_loader(part.train, stage, seed=mix(seed, place)) for place, part in enumerate(data.parts)]
        return MixedLoader(loaders, data.shares, stage.batch_size)
    return make_loader(data.train, stage, seed=seed)


def validation_loader(data: StageData, stage: StageSettings) -> Loader | MixedLoader | None:
    """Rows to measure on, of every data set that has some; None where none has."""
    parts = data.parts if isinstance(data, MixedData) else (data,)
    shares = data.shares if isinstance(data, MixedData) else (1.0,)
    found = [
        (make_loader(part.validation, stage, seed=0, shuffle=False), share)
        for part, share in zip(parts, shares, strict=True)
        if part.validation is not None and part.validation.tokens > 1
    ]
    if len(found) < 2 or stage.validation:  # files to measure on are the same for every data set
        return found[0][0] if found else None
    return MixedLoader([loader for loader, _ in found], [share for _, share in found], stage.batch_size)


def make_loader(store: TokenStore, stage: StageSettings, seed: int, shuffle: bool = True) -> Loader:
    """Batches of a stage: pretraining cuts documents as they come, fine-tuning keeps them whole, dpo goes by pairs."""
    return Loader(
        store,
        sequence_length=stage.sequence_length,
        batch_size=stage.batch_size,
        seed=seed,
        shuffle=shuffle,
        packing=_PACKING[purpose(stage)],
        isolate_documents=stage.isolate_documents,
        same_cuts=stage.distill is not None and stage.distill.cache_top_k > 0,
    )


def _announce_data(setting: Setting, stage: StageSettings, data: StageData, seconds: float) -> None:
    setting.emitter.emit(
        events.DataReady(
            stage=stage.name,
            documents=data.documents,
            validation_documents=data.validation_documents,
            tokens=data.tokens,
            tokens_trained=data.tokens_trained,
            rows_read=data.rows_read,
            rows_rejected=data.rows_rejected,
            documents_truncated=data.truncated,
            from_cache=data.from_cache,
            seconds=seconds,
        )
    )
    if data.rows_rejected:
        reasons = ", ".join(f"{count} x {reason}" for reason, count in data.reasons.items())
        message = f"{data.rows_rejected} of {data.rows_read} rows cannot be used: {reasons}"
        setting.emitter.emit(events.Warned(stage=stage.name, message=message))
    if stage.validation_fraction and not data.validation_documents:
        message = "there are too few documents to set some apart: nothing is measured on text it was not trained on"
        setting.emitter.emit(events.Warned(stage=stage.name, message=message))
    if data.truncated:
        setting.emitter.emit(events.Warned(stage=stage.name, message=_cut_words(data, stage)))


def _cut_words(data: StageData, stage: StageSettings) -> str:
    """What was lost because rows are shorter than what stands in them."""
    what = "pairs" if stage.kind == "dpo" else "conversations"
    first = f"; the first is line {data.first_cut[1]} of {data.first_cut[0]}" if data.first_cut is not None else ""
    return (
        f"{data.truncated:,} {what} are longer than sequence_length {stage.sequence_length} and cut there: "
        f"{data.tokens_cut:,} tokens are lost, {data.targets_cut:,} of them of answers{first}"
    )
