"""`compare`: runs, stages and checkpoints side by side."""

import argparse
import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from workbench.cli.arguments import DEFAULT_WORKSPACE
from workbench.cli.terminal import clipped, one_line, table
from workbench.language import tr
from workbench.narration import count, duration, figure, measure_label, run_figure
from workbench.runs.compare import Axis, Comparison, Saying, compare, comparison_data, parse_side, value_at

CURVE_LINES = 10
_NARROWEST = 24  # columns of a side's answers


def compare_sides(arguments: argparse.Namespace) -> int:
    """`compare SIDE SIDE ...`: what differs, and what came of it."""
    workspace = Path(arguments.workspace or DEFAULT_WORKSPACE)
    comparison = compare([parse_side(workspace, text) for text in arguments.sides])
    asked = [_ask(comparison, prompt, arguments.seed) for prompt in arguments.prompt]
    if arguments.json:
        data = {**comparison_data(comparison, arguments.by), "asked": [asdict(each) for each in asked]}
        print(json.dumps(data, indent=1, ensure_ascii=False))
    else:
        print("\n\n".join([*_parts(comparison, arguments.by), *_sayings(comparison, asked)]))
    return 0


def _ask(comparison: Comparison, prompt: str, seed: int) -> Saying:
    """Say `prompt` to all sides with the same random numbers; where a side keeps no model, that is an error."""
    from workbench.evaluation.side_by_side import Asking, ask

    texts = tuple("".join(ask(side, Asking(prompt, seed))) for side in comparison.sides)
    count = len(texts)
    return Saying(prompt, texts, (None,) * count, (seed,) * count)


def _parts(comparison: Comparison, axis: Axis) -> Iterator[str]:
    labels = [one_line(side.label) for side in comparison.sides]
    if comparison.differences:
        rows = [(each.key, *(clipped(one_line(value), 40) for value in each.values)) for each in comparison.differences]
        yield tr("settings that differ") + "\n" + table([("", *labels), *rows])
    else:
        yield tr("settings: no difference")
    rows = []
    for measure, values in comparison.scores.items():
        best = comparison.best(measure)
        shown = [run_figure(measure, value) + (" *" if index == best else "  ") for index, value in enumerate(values)]
        rows.append((measure_label(measure), *shown))
    yield tr("at the end of each (* is better)") + "\n" + table([("", *labels), *rows], right=range(1, len(labels) + 1))
    for metric in ("val_loss", "loss"):
        lines = list(_curve_lines(comparison, metric, axis))
        if lines:
            named = tr("{metric} by {axis}", metric=measure_label(metric), axis=measure_label(axis))
            yield f"{named}\n" + table([(measure_label(axis), *labels), *lines], right=range(len(labels) + 1))
            break
    yield from _sayings(comparison, comparison.sayings)


def _sayings(comparison: Comparison, sayings: Sequence[Saying]) -> Iterator[str]:
    """Each prompt, and below it a line for each side."""
    columns = shutil.get_terminal_size().columns
    labels = [one_line(side.label) for side in comparison.sides]
    for saying in sayings:
        room = max(_NARROWEST, columns - max(map(len, labels)) - 12)
        answers = [
            (f"  {label}", "" if step is None else f"@{step:,}", clipped(one_line("-" if text is None else text), room))
            for label, step, text in zip(labels, saying.steps, saying.texts, strict=True)
        ]
        yield f"{clipped(one_line(saying.prompt), columns)}\n" + table(answers)


def _curve_lines(comparison: Comparison, metric: str, axis: Axis) -> Iterator[Sequence[str]]:
    """The curves at up to so many places of the one that has most points, as far as two of them go."""
    curves = [comparison.curve(index, metric, axis) for index in range(len(comparison.sides))]
    if sum(bool(points) for points in curves) < 2:
        return
    second = sorted((points[-1][0] for points in curves if points), reverse=True)[1]
    places = [x for x, _ in max(curves, key=len) if x <= second] or [second]
    chosen = [places[index * (len(places) - 1) // max(CURVE_LINES - 1, 1)] for index in range(CURVE_LINES)]
    for x in dict.fromkeys([*chosen, second]):
        values = [value_at(points, x) for points in curves]
        where = duration(x) if axis == "seconds" else count(x) if axis == "tokens" else f"{x:,.0f}"
        yield (where, *("-" if value is None else figure(value) for value in values))
