"""The data of a stage as tokens, told of as it is read, and as batches."""

import time
from typing import TYPE_CHECKING, Literal

from workbench import events
from workbench.config import StageSettings
from workbench.data.loader import Loader
from workbench.data.shards import BadRow, DataSettings, PreparedData, prepare
from workbench.data.stores import TokenStore
from workbench.estimate import rows_per_unit
from workbench.job_data import data_files
from workbench.locations import tokenised_folder

if TYPE_CHECKING:
    from workbench.job_stage import Setting

_PACKING: dict[str, Literal["stream", "whole", "pairs"]] = {"pretrain": "stream", "sft": "whole", "dpo": "pairs"}
ROWS_ANNOUNCED = 5  # bad rows told one by one; the rest are counted


def prepare_data(setting: "Setting", stage: StageSettings) -> PreparedData | None:
    """The stage's data as tokens, from the cache when it is there; None when stopped on the way."""
    start, announced = time.monotonic(), 0

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

    data = prepare(
        data_files(stage.data),
        stage.kind,
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
    if data is not None:
        _announce_data(setting, stage, data, time.monotonic() - start)
    return data


def make_loader(store: TokenStore, stage: StageSettings, seed: int, shuffle: bool = True) -> Loader:
    """Batches of a stage: pretraining cuts documents as they come, fine-tuning keeps conversations whole."""
    return Loader(
        store,
        sequence_length=stage.sequence_length,
        batch_size=stage.batch_size,
        seed=seed,
        shuffle=shuffle,
        packing=_PACKING[stage.kind],
        isolate_documents=stage.isolate_documents,
    )


def _documents(store: TokenStore | None, stage: StageSettings) -> int:
    return 0 if store is None else store.documents // rows_per_unit(stage)


def _announce_data(setting: "Setting", stage: StageSettings, data: PreparedData, seconds: float) -> None:
    setting.emitter.emit(
        events.DataReady(
            stage=stage.name,
            documents=data.documents,
            validation_documents=_documents(data.validation, stage),
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
    if stage.validation_fraction and data.validation is None:
        message = "there are too few documents to set some apart: nothing is measured on text it was not trained on"
        setting.emitter.emit(events.Warned(stage=stage.name, message=message))
    if data.truncated:
        setting.emitter.emit(events.Warned(stage=stage.name, message=_cut_words(data, stage)))


def _cut_words(data: PreparedData, stage: StageSettings) -> str:
    """What was lost because rows are shorter than what stands in them."""
    what = "pairs" if stage.kind == "dpo" else "conversations"
    first = f"; the first is line {data.first_cut[1]} of {data.first_cut[0]}" if data.first_cut is not None else ""
    return (
        f"{data.truncated:,} {what} are longer than sequence_length {stage.sequence_length} and cut there: "
        f"{data.tokens_cut:,} tokens are lost, {data.targets_cut:,} of them of answers{first}"
    )
