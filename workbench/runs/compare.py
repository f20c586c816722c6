"""Runs, stages and checkpoints side by side, from the files of their directories alone.

A side is written RUN, RUN:STAGE or RUN:STAGE@STEP: a whole run stands for its last stage that has figures, and a step
cuts a side back to what it was then.
"""

import json
import math
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import tomli

from workbench.errors import RunError
from workbench.runs.metrics import Record, read_metrics
from workbench.runs.store import RunDirectory, StageDirectory, open_run, suggest

Axis = Literal["step", "tokens", "seconds"]
Point = tuple[float, float]
ABSENT = "-"
_LOWER_IS_BETTER = ("loss", "val_loss", "best_val_loss", "val_perplexity", "val_bits_per_byte", "perplexity")
_NEITHER = ("step", "tokens", "seconds")
_IDENTITY = {"run.name", "run.workspace", "description", "measured"}
"""Settings that differ between any two runs and change nothing."""


@dataclass(frozen=True)
class Side:
    """One of the things compared.

    Args:
        label: as the person wrote it; directory: of the run.
        stage: whose figures are shown; stage_given says whether the person chose it.
        step: figures, samples and checkpoint are those of this step or the last before it; None takes all.
    """

    label: str
    directory: Path
    stage: str
    stage_given: bool = False
    step: int | None = None

    @property
    def files(self) -> StageDirectory:
        """The stage's directory."""
        return RunDirectory(self.directory).stage(self.stage)

    @property
    def model(self) -> Path | None:
        """The model or checkpoint to talk to; None where none is kept."""
        if self.step is None:
            return self.files.newest_model()
        path = self.files.checkpoint_path(self.step)
        return path if path.is_dir() else None


@dataclass(frozen=True)
class Difference:
    """A setting that is not the same on all sides: its dotted key, and its value on each."""

    key: str
    values: tuple[str, ...]


@dataclass(frozen=True)
class Saying:
    """One prompt and the newest answer of each side to it, None where a side was not asked.

    Args:
        steps: at which each side answered; seeds: with which random numbers.
    """

    prompt: str
    texts: tuple[str | None, ...]
    steps: tuple[int | None, ...]
    seeds: tuple[int | None, ...]


@dataclass(frozen=True)
class Comparison:
    """All that can be told of several sides.

    Args:
        scores: measure to its value on each side, the last of the side; None where it was not measured.
        records: the lines of metrics.jsonl of each side.
    """

    sides: tuple[Side, ...]
    differences: tuple[Difference, ...]
    scores: dict[str, tuple[float | None, ...]]
    sayings: tuple[Saying, ...]
    records: tuple[list[Record], ...] = field(repr=False)

    def curve(self, side: int, metric: str, axis: Axis = "step") -> list[Point]:
        """The points of one side's curve, oldest first; values that are not finite are left out."""
        return curve(self.records[side], metric, axis)

    def metrics(self) -> list[str]:
        """The metrics that some side has a curve of, losses first."""
        known = dict.fromkeys(key for records in self.records for record in records[-200:] for key in record)
        order = dict.fromkeys(("loss", "val_loss", "val_bits_per_byte", "learning_rate", "grad_norm", *known))
        drawn = [name for name in order if name in known and name not in _NEITHER]
        return [name for name in drawn if any(curve(records, name) for records in self.records)]

    def at_common_point(self, metric: str, axis: Axis) -> tuple[float, tuple[float | None, ...]] | None:
        """The largest x that every side has reached, and each side's value there, between its points by proportion."""
        curves = [self.curve(index, metric, axis) for index in range(len(self.sides))]
        ends = [points[-1][0] for points in curves if points]
        if len(ends) < 2:
            return None
        x = min(ends)
        return x, tuple(value_at(points, x) for points in curves)

    def best(self, measure: str) -> int | None:
        """The side with the best score in `measure`; None where it is not told or all are the same."""
        values = [(value, index) for index, value in enumerate(self.scores.get(measure, ())) if value is not None]
        if measure in _NEITHER or len(values) < 2 or len({value for value, _ in values}) == 1:
            return None
        lower = measure in _LOWER_IS_BETTER
        return (min if lower else max)(values, key=lambda pair: (pair[0], pair[1] if lower else -pair[1]))[1]


def parse_side(workspace: Path, text: str) -> Side:
    """The side that RUN, RUN:STAGE, RUN@STEP or RUN:STAGE@STEP means.

    Raises:
        RunError: no such run, stage or step; the message names the nearest.
    """
    named, at, step_text = text.rpartition("@") if "@" in text else (text, "", "")
    if at and not step_text.isdecimal():
        raise RunError(f"side {text!r}", f"{step_text!r} is no step", "write RUN:STAGE@STEP")
    run_text, colon, stage = named.rpartition(":") if ":" in named else (named, "", "")
    run = open_run(workspace, run_text)
    stages = [each.name for each in run.stages()]
    if colon and stage not in stages:
        raise RunError(f"run {run.name}", f"no stage {stage!r}", suggest(stage, stages))
    if not stages:
        raise RunError(f"run {run.name}", "has no figures yet", "wait for its first step")
    chosen = stage or next((name for name in reversed(stages) if read_metrics(run.stage(name).metrics)), stages[-1])
    return Side(text, run.path, chosen, bool(colon), int(step_text) if at else None)


def compare(sides: Sequence[Side]) -> Comparison:
    """Everything about these sides.

    Raises:
        RunError: fewer than two.
    """
    if len(sides) < 2:
        raise RunError("compare", f"{len(sides)} side is not enough", "name two runs, stages or checkpoints at least")
    records = tuple(_records(side) for side in sides)
    return Comparison(
        sides=tuple(sides),
        differences=tuple(_differences(sides)),
        scores=_scores(sides, records),
        sayings=tuple(_sayings(sides)),
        records=records,
    )


def curve(records: Sequence[Record], metric: str, axis: Axis = "step") -> list[Point]:
    """The (x, value) pairs of a metric.

    A validation stands in a record of its own where its step was not reported: its tokens and seconds are then those
    between the reports about it, by proportion.
    """
    known = [(r["step"], r[axis]) for r in records if _number(r.get(axis)) is not None] if axis != "step" else []
    known = [(0, 0.0), *known] if known else []
    points = []
    for record in records:
        value = _number(record.get(metric))
        x = record["step"] if axis == "step" else _number(record.get(axis))
        if value is not None:
            x = value_at(known, record["step"]) if x is None else x
            if x is not None:
                points.append((float(x), value))
    return points


def value_at(points: Sequence[Point], x: float) -> float | None:
    """The value at `x` of a curve, between two points by proportion; None before its first and behind its last."""
    place = bisect_left(points, x, key=lambda point: point[0])
    if place == len(points):
        return None
    right_x, right = points[place]
    if right_x == x:
        return right
    if place == 0:
        return None
    left_x, left = points[place - 1]
    return left + (right - left) * (x - left_x) / (right_x - left_x)


def comparison_data(comparison: Comparison, axis: Axis) -> dict[str, Any]:
    """The comparison as plain data, for programs."""
    count = range(len(comparison.sides))
    return {
        "sides": [
            {"label": side.label, "run": side.directory.name, "stage": side.stage, "step": side.step}
            for side in comparison.sides
        ],
        "differences": {each.key: list(each.values) for each in comparison.differences},
        "scores": {name: list(values) for name, values in comparison.scores.items()},
        "axis": axis,
        "curves": {
            metric: [[list(point) for point in comparison.curve(index, metric, axis)] for index in count]
            for metric in ("loss", "val_loss")
        },
        "samples": [
            {"prompt": each.prompt, "texts": list(each.texts), "steps": list(each.steps), "seeds": list(each.seeds)}
            for each in comparison.sayings
        ],
    }


def _records(side: Side) -> list[Record]:
    records = [record for record in read_metrics(side.files.metrics) if isinstance(record.get("step"), int)]
    return records if side.step is None else [record for record in records if record["step"] <= side.step]


def _differences(sides: Sequence[Side]) -> Iterator[Difference]:
    """Settings whose values differ; where every side names a stage, the stages' settings stand against each other."""
    of_stages = all(side.stage_given for side in sides)
    tables = [dict(_settings(side, of_stages)) for side in sides]
    for key in dict.fromkeys(key for table in tables for key in table):
        values = tuple(table.get(key, ABSENT) for table in tables)
        if len(set(values)) > 1 and key not in _IDENTITY:
            yield Difference(key, values)


def _settings(side: Side, of_stage: bool) -> Iterator[tuple[str, str]]:
    try:
        profile = tomli.loads((side.directory / "profile.toml").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        profile = {}
    stages = profile.pop("stage", [])
    for stage in stages if isinstance(stages, list) else []:
        name = (stage.get("name") or stage.get("kind", "")) if isinstance(stage, dict) else ""
        if of_stage and name == side.stage:
            yield from flat_settings({key: value for key, value in stage.items() if key != "name"}, "stage")
        elif not of_stage:
            yield from flat_settings(stage, f"stage.{name}")
    yield from flat_settings(profile, "")
    resolved = RunDirectory(side.directory).resolved()
    for key in ("device", "precision", "compile", "threads"):
        if key in resolved:
            yield f"resolved.{key}", _shown(resolved[key])


def flat_settings(value: Any, key: str) -> Iterator[tuple[str, str]]:
    """Each setting of nested tables: its dotted key, beginning with `key`, and its value as text."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from flat_settings(inner, f"{key}.{name}" if key else name)
    else:
        yield key, _shown(value)


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _scores(sides: Sequence[Side], records: Sequence[list[Record]]) -> dict[str, tuple[float | None, ...]]:
    """The last value of each measure on each side, what a finished stage was scored with included."""
    tables = [_final(side, own) for side, own in zip(sides, records, strict=True)]
    names = dict.fromkeys(name for table in tables for name in table)
    return {name: tuple(table.get(name) for table in tables) for name in names}


def _final(side: Side, records: Sequence[Record]) -> dict[str, float]:
    wanted = (*_NEITHER, "tokens_per_second", "loss", "val_loss", "val_bits_per_byte", "val_perplexity")
    found: dict[str, float] = {}
    for record in records:
        found.update({key: value for key in wanted if (value := _number(record.get(key))) is not None})
    losses = [value for record in records if (value := _number(record.get("val_loss"))) is not None]
    ordered = {key: found[key] for key in wanted if key in found}
    if losses:
        ordered["best_val_loss"] = min(losses)
    if side.step is None:
        ordered |= {key: value for key, value in _result(side).items() if key not in ordered}
    return ordered


def _result(side: Side) -> dict[str, float]:
    """The scores of a finished stage."""
    try:
        after = json.loads((side.files.path / "result.json").read_text(encoding="utf-8"))["after"]
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    scores = after.items() if isinstance(after, dict) else ()
    return {name: number for name, value in scores if (number := _number(value)) is not None}


def _sayings(sides: Sequence[Side]) -> Iterator[Saying]:
    """The prompts in the order of the first side that has them."""
    tables = [_newest_samples(side) for side in sides]
    for prompt in dict.fromkeys(prompt for table in tables for prompt in table):
        found = [table.get(prompt, {}) for table in tables]
        yield Saying(
            prompt,
            tuple(record.get("text") for record in found),
            tuple(record.get("step") for record in found),
            tuple(record.get("seed") for record in found),
        )


def _newest_samples(side: Side) -> dict[str, Record]:
    newest: dict[str, Record] = {}
    for record in read_metrics(side.files.samples):
        step = record.get("step")
        if isinstance(record.get("prompt"), str) and isinstance(step, int) and (side.step is None or step <= side.step):
            newest[record["prompt"]] = record
    return newest


def _number(value: object) -> float | None:
    usable = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if usable else None  # type: ignore[arg-type]
