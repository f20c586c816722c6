"""What is normal: curves of runs that went well, kept by their profile's name, for others to be held against.

Some come with the program (`profiles/curves`), and anybody's good runs can be kept beside them. A run is held against a
reference that learnt the same way up to the stage in question: same model, same tokenizer, same kinds of stages on the
same data. What else differs, a learning rate say, is told with it.
"""

import json
import math
import statistics
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomli

from workbench.atomic import write_atomically
from workbench.bundled import curves_folder
from workbench.errors import RunError
from workbench.language import mark
from workbench.locations import references_folder
from workbench.runs.compare import ABSENT, Difference, Point, curve, flat_settings
from workbench.runs.metrics import read_metrics
from workbench.runs.store import RunDirectory

Table = dict[str, Any]
NORMAL = mark("At step {step:,} the reference runs of {profile} had a loss of {low} to {high}: this is normal.")
HIGHER = mark("At step {step:,} the reference runs of {profile} had a loss of {low} to {high}: this one is higher.")
LOWER = mark("At step {step:,} the reference runs of {profile} had a loss of {low} to {high}: this one is lower.")
OTHERWISE = mark("They differ in {settings}.")
SAME_OF_STAGE = ("kind", "data", "format", "validation", "sequence_length", "model")
_NO_DIFFERENCE = ("name", "prompts", "sample_tokens", "log_every", "evaluate_every", "evaluate_batches", "sample_every")
_CADENCES = ("checkpoint_every", "keep_checkpoints", "micro_batch_size", "gradient_checkpointing")
_POINTS = 120  # a stage is kept in no more than these
_NEIGHBOURS = 4  # points to each side that a point's mean and spread are taken over
_LEAST_SPREAD = 0.02  # of a loss, as a share of it
_SIGMAS = 3.0  # how many spreads from the mean are normal
_LATEST = 3  # reports that a standing is made from


@dataclass(frozen=True)
class Band:
    """Where a loss should be at some step: about `mean`, between `low` and `high`, nats a token."""

    mean: float
    low: float
    high: float

    def standing(self, loss: float) -> str:
        """The sentence that says on which side of the band a loss lies."""
        return HIGHER if loss > self.high else LOWER if loss < self.low else NORMAL


@dataclass(frozen=True)
class ReferenceStage:
    """The curve of one stage.

    Args:
        profile: the name under which it is kept; runs: how many runs it was made from.
        points: (step, loss, spread), the spread of log(loss); differences: settings that this run has otherwise, with
            the reference's value first.
    """

    profile: str
    runs: int
    points: tuple[tuple[float, float, float], ...]
    differences: tuple[Difference, ...] = ()

    def band(self, step: float) -> Band | None:
        """Where the training loss should be at `step`; None beyond the reference's end."""
        steps = [point[0] for point in self.points]
        place = bisect_left(steps, step)
        if place == len(steps):
            return None
        before, after = self.points[max(0, place - 1)], self.points[place]
        share = (step - before[0]) / (after[0] - before[0]) if after[0] > before[0] else 1.0
        mean = before[1] + max(0.0, share) * (after[1] - before[1])
        factor = math.exp(_SIGMAS * max(before[2], after[2]))
        return Band(mean, mean / factor, mean * factor)

    def curve(self) -> list[Point]:
        """The means, by step."""
        return [(step, loss) for step, loss, _ in self.points]

    def standing(self, losses: Sequence[Point]) -> list[tuple[str, dict[str, Any]]]:
        """How the latest training losses stand, as sentences to be translated and their values; most of three decide.

        Args:
            losses: (step, loss), oldest first. Empty is answered where none can be held against the reference.
        """
        held = [(step, band.standing(loss), band) for step, loss in losses[-_LATEST:] if (band := self.band(step))]
        if not held:
            return []
        words = [word for _, word, _ in held]
        sentence = max((NORMAL, HIGHER, LOWER), key=words.count)
        step, _, band = held[-1]
        low, high = (f"{end:.3f}" for end in (band.low, band.high))
        told = [(sentence, {"step": int(step), "profile": self.profile, "low": low, "high": high})]
        if self.differences:
            listed = ", ".join(f"{each.key} ({each.values[0]} / {each.values[1]})" for each in self.differences)
            told.append((OTHERWISE, {"settings": listed}))
        return told


def keep_reference(name: str, runs: Sequence[RunDirectory], folder: Path | None = None) -> Path:
    """Keep the curves of finished runs of one profile as what is normal for it.

    Args:
        name: to keep them under. folder: where; the user's own when absent.
    Returns:
        The file.
    Raises:
        RunError: a run is not finished, or of another profile than the first.
    """
    profiles = [_profile_of(run) for run in runs]
    for run, profile in zip(runs, profiles, strict=True):
        if run.state().status != "done":
            raise RunError(run.name, "has not come to its end", "a reference is made from finished runs")
        odd = [key for key in _path_keys(profiles[0], len(_stages(profiles[0]))) if _differs(profiles[0], profile, key)]
        if odd or len(_stages(profile)) != len(_stages(profiles[0])):
            raise RunError(run.name, f"learnt otherwise than {runs[0].name}", f"see: {', '.join(odd) or 'its stages'}")
    stages = {
        stage["name"]: _points([curve(read_metrics(run.stage(stage["name"]).metrics), "loss") for run in runs])
        for stage in _stages(profiles[0])
    }
    settings = {key: profiles[0].get(key, {}) for key in ("tokenizer", "model", "stage")}
    settings["run"] = {"seed": _at(profiles[0], "run.seed")}  # where it lay and what it was called is nobody's business
    kept = {"runs": len(runs), "settings": settings, "stages": {name: each for name, each in stages.items() if each}}
    path = (folder or references_folder()) / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, json.dumps(kept, ensure_ascii=False, separators=(",", ":")) + "\n")
    return path


def find_reference(run: RunDirectory, stage: str) -> ReferenceStage | None:
    """The reference for a stage of a run: of several the one with the fewest other differences, and of equal ones the
    user's own; None where there is none of its kind, or the run cannot be read."""
    try:
        profile = _profile_of(run)
    except RunError:
        return None
    found = [each for kept in _kept() if (each := _held_against(kept, profile, stage)) is not None]
    return min(found, key=lambda each: len(each.differences), default=None)


def _kept() -> Iterator[tuple[str, Table]]:
    for folder in (references_folder(), curves_folder()):
        for path in sorted(folder.glob("*.json")) if folder.is_dir() else ():
            try:
                kept = json.loads(path.read_text(encoding="utf-8"))
            except (OSError, ValueError):
                continue
            if isinstance(kept, dict) and isinstance(kept.get("settings"), dict):
                yield path.stem, kept


def _held_against(kept: tuple[str, Table], profile: Table, stage: str) -> ReferenceStage | None:
    name, values = kept
    settings = values["settings"]
    names = [each["name"] for each in _stages(profile)]
    place = names.index(stage) if stage in names else len(names)
    if place >= len(_stages(settings)):
        return None
    if any(_differs(settings, profile, key) for key in _path_keys(profile, place + 1)):
        return None
    stages = values.get("stages")
    points = stages.get(_stages(settings)[place]["name"]) if isinstance(stages, dict) else None
    try:
        whole = tuple((float(step), float(loss), float(spread)) for step, loss, spread in points or ())
        runs = int(values.get("runs", 1))
    except (TypeError, ValueError):
        return None
    if not whole:
        return None
    return ReferenceStage(name, runs, whole, tuple(_differences(settings, profile, place)))


def _profile_of(run: RunDirectory) -> Table:
    try:
        values = tomli.loads(run.profile_path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(run.name, "its profile.toml cannot be read", str(error)) from error
    stages = values.get("stage")
    named = (
        [each for each in stages if isinstance(each, dict) and isinstance(each.get("name"), str)]
        if isinstance(stages, list)
        else []
    )
    values["stage"] = named
    return values


def _stages(profile: Table) -> list[Table]:
    stages: list[Table] = profile.get("stage", [])
    return stages


def _path_keys(profile: Table, stages: int) -> list[str]:
    """The settings that must be the same for a run's stage to be comparable."""
    return ["model", "tokenizer", *(f"stage.{place}.{key}" for place in range(stages) for key in SAME_OF_STAGE)]


def _differs(one: Table, other: Table, key: str) -> bool:
    different: bool = _at(one, key) != _at(other, key)
    return different


def _at(profile: Table, key: str) -> Any:
    value: Any = profile
    for part in key.split("."):
        if isinstance(value, list):
            value = value[int(part)] if int(part) < len(value) else None
        else:
            value = value.get(part) if isinstance(value, dict) else None
    return value


def _differences(settings: Table, profile: Table, place: int) -> Iterator[Difference]:
    """What a stage has otherwise, the reference's value first; settings that are newer than the reference left out."""
    one, other = (
        dict(flat_settings({**_stages(each)[place], "seed": _at(each, "run.seed")}, "")) for each in (settings, profile)
    )
    for key in dict.fromkeys([*one, *other]):
        values = one.get(key, ABSENT), other.get(key, ABSENT)
        newer = key not in one and ("." not in key or any(each.startswith(key.split(".")[0] + ".") for each in one))
        if values[0] != values[1] and not newer and key not in (*_NO_DIFFERENCE, *_CADENCES):
            yield Difference(key, values)


def _points(curves: Sequence[Sequence[Point]]) -> list[tuple[int, float, float]]:
    """(step, mean loss, spread of its logarithm) over runs and neighbouring reports."""
    by_step: dict[float, list[float]] = {}
    for points in curves:
        for step, loss in points:
            if loss > 0 and math.isfinite(loss):
                by_step.setdefault(step, []).append(math.log(loss))
    steps = sorted(by_step)
    levels = [statistics.fmean(by_step[step]) for step in steps]
    trend = [_trend(levels, place) for place in range(len(steps))]
    residuals = [[value - level for value in by_step[step]] for step, level in zip(steps, trend, strict=True)]
    stride = max(1, math.ceil(len(steps) / _POINTS))
    kept = sorted({*range(0, len(steps), stride), *range(max(0, len(steps) - 1), len(steps))})
    made = []
    for place in kept:
        near = [value for each in residuals[max(0, place - _NEIGHBOURS) : place + _NEIGHBOURS + 1] for value in each]
        spread = math.sqrt(statistics.fmean(value * value for value in near))
        made.append((round(steps[place]), round(math.exp(trend[place]), 4), round(max(spread, _LEAST_SPREAD), 4)))
    return made


def _trend(levels: Sequence[float], place: int) -> float:
    """The level at a place, smoothed over its neighbours; fewer towards the ends, where curves are steep."""
    reach = min(_NEIGHBOURS // 2, place, len(levels) - 1 - place)
    return statistics.fmean(levels[place - reach : place + reach + 1])
