"""What is known of a run, or of a profile that is not run yet: the numbers that formulas are filled with."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from workbench.config import Profile, StageSettings
from workbench.errors import ModelError, ProfileError, WorkbenchError
from workbench.estimate import expected_vocab_size
from workbench.events import (
    DataReady,
    Event,
    LearningRateChanged,
    StageStarted,
    TokenizerReady,
    WeightsAdapted,
    from_json,
)
from workbench.model.configuration import ModelConfig, load_config, model_config
from workbench.profile import parse_profile
from workbench.runs.metrics import read_recent
from workbench.runs.store import RunDirectory, StageDirectory, suggest

_LATEST_BYTES = 1 << 18  # of metrics.jsonl: some hundred reports, in which every figure stood once
_TOLD = (StageStarted, DataReady, TokenizerReady, LearningRateChanged, WeightsAdapted)


@dataclass(frozen=True)
class Facts:
    """What is known; everything may be missing.

    Args:
        stage: the settings of the stage that is meant.
        config: the model's sizes, its vocabulary included.
        figures: metric to its latest value, as in metrics.jsonl; `first_loss` is the first one.
        started, data, tokenizer: as the engine announced them.
        peak: the peak learning rate, where a person changed it.
        updates: by adapted layer the size of LoRA's update, as a share of its matrix.
        resolved: what `auto` became on this machine.
        context: what else the screen knows, by name: a setting of chat, the chance of a token.
    """

    run: str = ""
    profile: Profile | None = None
    stage: StageSettings | None = None
    config: ModelConfig | None = None
    figures: Mapping[str, Any] = field(default_factory=dict)
    started: StageStarted | None = None
    data: DataReady | None = None
    tokenizer: TokenizerReady | None = None
    peak: float | None = None
    updates: Mapping[str, float] = field(default_factory=dict)
    resolved: Mapping[str, Any] = field(default_factory=dict)
    context: Mapping[str, Any] = field(default_factory=dict)

    def with_figures(self, figures: Mapping[str, Any], **context: Any) -> "Facts":
        """The same with newer figures, and with what a screen knows."""
        newer = {name: value for name, value in figures.items() if value is not None}
        return replace(self, figures={**self.figures, **newer}, context={**self.context, **context})


def facts_of_profile(profile: Profile, stage: str | None = None, name: str = "") -> Facts:
    """What a profile says by itself, about one of its stages: the first where none is named.

    Formulas over steps take the middle of the stage.
    """
    chosen = next((each for each in profile.stage if each.name == stage), profile.stage[0])
    middle = {"step": max(1, chosen.steps // 2)} if chosen.steps is not None else {}
    return Facts(run=name, profile=profile, stage=chosen, config=_config_of(profile), context=middle)


def facts_of_run(directory: Path, stage: str | None = None) -> Facts:
    """What the files of a run tell about one of its stages; the one at work, or the last, where none is named.

    Raises:
        WorkbenchError: the run has no stage of that name.
    """
    run = RunDirectory(directory)
    profile = _profile_of(run)
    name = _stage_name(run, profile, stage)
    files = run.stage(name)
    told = _events(run, name)
    records = read_recent(files.metrics, _LATEST_BYTES)
    figures: dict[str, Any] = {}
    for record in records:
        figures.update({key: value for key, value in record.items() if value is not None and key != "nonfinite"})
    first = _first_loss(files)
    if first is not None:
        figures["first_loss"] = first
    measured = [record["val_loss"] for record in records if record.get("val_loss") is not None]
    if measured:
        figures["best_val_loss"] = min(measured)
    started = told.get(StageStarted)
    settings = next((each for each in profile.stage if each.name == name), None) if profile is not None else None
    rate = told.get(LearningRateChanged)
    adapted = told.get(WeightsAdapted)
    return Facts(
        run=run.name,
        profile=profile,
        stage=settings,
        config=_config(files, profile, started.vocab_size if isinstance(started, StageStarted) else None),
        figures=figures,
        started=started if isinstance(started, StageStarted) else None,
        data=data if isinstance(data := told.get(DataReady), DataReady) else None,
        tokenizer=made if isinstance(made := told.get(TokenizerReady), TokenizerReady) else None,
        peak=rate.learning_rate if isinstance(rate, LearningRateChanged) else None,
        updates=adapted.updates if isinstance(adapted, WeightsAdapted) else {},
        resolved=run.resolved(),
    )


def _profile_of(run: RunDirectory) -> Profile | None:
    try:
        return parse_profile(run.profile_path.read_text(encoding="utf-8"), str(run.profile_path))
    except (OSError, UnicodeDecodeError, ProfileError):
        return None  # of another version, perhaps: the figures are still worth showing


def _stage_name(run: RunDirectory, profile: Profile | None, wanted: str | None) -> str:
    planned = [each.name for each in profile.stage] if profile is not None else []
    names = list(dict.fromkeys([*run.state().stages, *planned, *(each.name for each in run.stages())]))
    if wanted is not None and wanted not in names:
        raise WorkbenchError(f"run {run.name}", f"has no stage {wanted!r}", suggest(wanted, names))
    if wanted is not None:
        return wanted
    return run.state().stage or (names[0] if names else "")


def _events(run: RunDirectory, stage: str) -> dict[type[Event], Event]:
    """The last event of each kind that matters here; the many others of the file are not even parsed."""
    marks = {f'"{kind.__name__}"'.encode(): kind for kind in _TOLD}
    found: dict[type[Event], Event] = {}
    try:
        with run.events_path.open("rb") as file:
            for line in file:
                if any(mark in line[:80] for mark in marks):
                    event = _event(line)
                    if event is not None and getattr(event, "stage", stage) == stage:
                        if isinstance(event, StageStarted) and event.step == 0:
                            found.pop(LearningRateChanged, None)  # it begins again with its own rate
                        found[type(event)] = event
    except OSError:
        return {}
    return found


def _event(line: bytes) -> Event | None:
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return from_json(record) if isinstance(record, dict) else None


def _first_loss(stage: StageDirectory) -> float | None:
    try:
        with stage.metrics.open("rb") as file:
            for _, line in zip(range(20), file, strict=False):
                record = json.loads(line)
                if isinstance(record, dict) and isinstance(record.get("loss"), int | float):
                    return float(record["loss"])
    except (OSError, ValueError):
        return None
    return None


def _config(stage: StageDirectory, profile: Profile | None, vocab_size: int | None) -> ModelConfig | None:
    """The sizes of the stage's model: those of its files, else what the profile makes."""
    model = stage.newest_model()
    if model is not None:
        try:
            return load_config(model)
        except ModelError:
            pass  # an adapter alone, say
    return None if profile is None else _config_of(profile, vocab_size)


def _config_of(profile: Profile, vocab_size: int | None = None) -> ModelConfig | None:
    try:
        if profile.model.path is not None:
            return load_config(Path(profile.model.path))
        return model_config(profile.model, vocab_size or expected_vocab_size(profile.tokenizer))
    except ModelError:
        return None
