"""What a run has already done, what of it still stands, and why a profile may not go on in an existing run."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench.atomic import write_atomically
from workbench.config import Profile, StageSettings
from workbench.errors import ProfileError, RunError
from workbench.profile import parse_profile
from workbench.runs.store import RunDirectory, StageDirectory, suggest

# what may change between two starts of a run without changing what it learns
_HARMLESS_TABLES = ("description", "measured", "evaluate")
_HARMLESS_RUN_KEYS = ("name", "workspace", "parallel")
_HARMLESS_STAGE_KEYS = (
    "log_every",
    "evaluate_every",
    "evaluate_batches",
    "sample_every",
    "sample_tokens",
    "prompts",
    "checkpoint_every",
    "keep",
    "micro_batch_size",
    "gradient_checkpointing",
)
# ... but where the validations decide which weights stay
_DECIDING_STAGE_KEYS = ("evaluate_every", "evaluate_batches")


@dataclass(frozen=True)
class StageResult:
    """A finished stage: STAGE/result.json.

    Args:
        fingerprint: of all that the stage was made from.
        before: measures at its first step; after: at its last, scores included.
        evaluation: fingerprint of what the scores were measured with.
    """

    fingerprint: str
    steps: int
    tokens: int
    seconds: float
    before: dict[str, float]
    after: dict[str, float]
    evaluation: str


def read_result(stage: StageDirectory) -> StageResult | None:
    """The result of a finished stage, or None while it has none."""
    try:
        result = StageResult(**json.loads((stage.path / "result.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
    return result if stage.result is not None else None


def write_result(stage: StageDirectory, result: StageResult) -> None:
    """Put a stage on record as finished."""
    write_atomically(stage.path / "result.json", json.dumps(result.__dict__, indent=1, ensure_ascii=False) + "\n")


def fingerprint(*parts: Any) -> str:
    """A short hash of plain values: the same values give the same hash, on every machine."""
    text = json.dumps(parts, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()[:32]


def learning_settings(stage: StageSettings) -> dict[str, Any]:
    """The settings of a stage that decide what it learns; its length is told apart, as a stage may go on longer."""
    harmless = _harmless_keys(stage.patience, stage.result)
    left_out = {*harmless, "steps", "epochs", "tokens", "name", "data", "validation", "from_", "teacher", "model"}
    values = stage.model_dump(mode="json", exclude=left_out)
    _drop_harmless_tables(values)
    return values


def _harmless_keys(patience: int, result: str) -> set[str]:
    """The keys of a stage that may change without changing what it learns."""
    return set(_HARMLESS_STAGE_KEYS) - set(_DECIDING_STAGE_KEYS if patience or result == "best" else ())


def _drop_harmless_tables(stage: dict[str, Any]) -> None:
    """Take out what a distill stage may be compared with: it learns the same."""
    if stage.get("distill"):
        stage["distill"] = {key: value for key, value in stage["distill"].items() if key != "baseline"}


def stored_profile(run: RunDirectory) -> Profile:
    """The profile that a run was started with.

    Raises:
        RunError: it is missing or was damaged.
    """
    try:
        return parse_profile(run.profile_path.read_text(encoding="utf-8"), str(run.profile_path))
    except (OSError, UnicodeDecodeError, ProfileError) as error:
        raise RunError(run.name, f"its profile cannot be read: {error}", "choose another --name") from error


def check_stage_name(profile: Profile, name: str | None, option: str = "--from") -> None:
    """Refuse a stage that the profile does not have; `option` is what named it.

    Raises:
        RunError: with the nearest name.
    """
    names = [stage.name for stage in profile.stage]
    if name is not None and name not in names:
        raise RunError(f"{option} {name}", "there is no such stage", suggest(name, names))


def refuse_differences(run: RunDirectory, profile: Profile, from_stage: str | None) -> None:
    """Refuse to go on in `run` with settings that it was not made with.

    Args:
        from_stage: this stage and those after it are run again, so that they may differ.
    Raises:
        RunError: the differences, and what can be done.
    """
    earlier = stored_profile(run)
    names = [stage.name for stage in profile.stage]
    again = set(names[names.index(from_stage) :]) if from_stage is not None else set[str]()
    found = [(key, old, new) for key, old, new in differences(earlier, profile) if _stage_of(key) not in again]
    if not found:
        return
    listed = "".join(f"\n  - {key}: was {old}, is now {new}" for key, old, new in found)
    choices = _choices(run, profile, [key for key, _, _ in found])
    raise RunError(f"run {run.name}", "was made with other settings", f"{choices}. The differences:{listed}")


def differences(earlier: Profile, later: Profile) -> list[tuple[str, str, str]]:
    """What differs between two profiles and matters: (key, earlier value, later value)."""
    old, new = dict(_flat(_essential(earlier))), dict(_flat(_essential(later)))
    keys = [*old, *(key for key in new if key not in old)]
    return [(key, _shown(old.get(key)), _shown(new.get(key))) for key in keys if old.get(key, "") != new.get(key, "")]


def check_lineage(checkpoint: Path, inputs: str, run: RunDirectory, stage: str) -> None:
    """Refuse to go on from a checkpoint that was made from other data, settings or parents.

    Raises:
        RunError: with what can be done.
    """
    try:
        lineage = json.loads((checkpoint / "lineage.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        lineage = {}
    if lineage.get("inputs") != inputs:
        raise RunError(
            f"run {run.name}, stage {stage}",
            "its data, or what it started from, has changed since",
            f"run it again with --from {stage}, or start anew with --name NEW",
        )


def _choices(run: RunDirectory, profile: Profile, keys: list[str]) -> str:
    names = [stage.name for stage in profile.stage]
    choices = ["start a new run with --name NEW"]
    touched = [_stage_of(key) for key in keys]
    if all(name in names for name in touched):
        first = min(touched, key=names.index)
        choices.append(f"run again from there with --from {first}")
    length = {f"stage.{names[-1]}.{key}" for key in ("steps", "epochs", "tokens")}
    newest = run.stage(names[-1]).newest_checkpoint()
    steps, taken = profile.stage[-1].steps, newest.step if newest is not None else 0
    if set(keys) <= length and steps is not None and steps > taken:
        choices.append(f"go on for more steps with: llm-workbench resume {run.name} --steps {steps}")
    return "; or ".join(choices)


def _essential(profile: Profile) -> dict[str, Any]:
    values = profile.model_dump(mode="json", by_alias=True, exclude_none=True)
    for table in _HARMLESS_TABLES:
        values.pop(table)
    for key in _HARMLESS_RUN_KEYS:
        values["run"].pop(key, None)
    stages = {stage["name"]: stage for stage in values.pop("stage")}
    for stage in stages.values():
        for key in _harmless_keys(stage["patience"], stage["result"]):
            stage.pop(key)
        _drop_harmless_tables(stage)
    return {**values, "stage": stages}


def _flat(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _flat(inner, f"{key}.{name}" if key else name)
    else:
        yield key, value


def _stage_of(key: str) -> str:
    parts = key.split(".")
    return parts[1] if parts[0] == "stage" and len(parts) > 1 else ""


def _shown(value: Any) -> str:
    return "absent" if value is None else json.dumps(value, ensure_ascii=False)
