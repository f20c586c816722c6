"""Benchmarks: how fast this machine is at the work, measured side by side."""

import argparse
import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

from workbench.cli.terminal import table
from workbench.errors import UsageError
from workbench.estimate import count_parameters, expected_vocab_size
from workbench.language import retell, tr
from workbench.machine import machine_name
from workbench.profile import parse_profile, read_profile

if TYPE_CHECKING:
    from workbench.benchmarks.training import Contender, Speed
    from workbench.benchmarks.ui import Measured
    from workbench.config import Profile


def train(arguments: argparse.Namespace) -> int:
    """`bench train`: tokens by second of a profile's first stage, in each precision, in turn.

    Raises:
        UsageError: transformers is to be compared with, and is not installed.
    """
    from workbench.benchmarks.reference import REFERENCE
    from workbench.benchmarks.training import compare_training

    if arguments.bench_profile is None:
        profile = parse_profile(REFERENCE, "the 29M Llama", arguments.bench_overrides)
    else:
        profile = read_profile(arguments.bench_profile, arguments.bench_overrides)
    contenders: list[Contender] = ["auto", "fp32", "bf16"]
    if arguments.transformers:
        contenders.append("transformers")
    told = {"count": len(contenders), "rounds": arguments.rounds, "steps": arguments.steps}
    print(tr("{count} contenders, {rounds} rounds of {steps} steps each", **told), file=sys.stderr)
    try:
        speeds = list(compare_training(profile, contenders, arguments.rounds, arguments.steps))
    except ImportError as error:
        missing = f"transformers is not installed ({error})"
        raise UsageError("bench train", missing, "pip install transformers") from error
    if arguments.json:
        print(json.dumps({"machine": machine_name(), "speeds": [asdict(speed) for speed in speeds]}, indent=1))
    else:
        print(f"{retell(machine_name())}{tr('; ')}{_described(profile)}\n\n{_rows(speeds)}")
    return 0


def ui(arguments: argparse.Namespace) -> int:
    """`bench ui`: how quick and how light the screens are, beside what they should be.

    Raises:
        UsageError: this system has no pseudo-terminals, or the program could not be measured.
    """
    from workbench.benchmarks.ui import PARTS, Effort, measure_ui

    effort = Effort(arguments.starts, arguments.keys, arguments.pairs, arguments.seconds, arguments.steps)
    measured = []
    for figure in measure_ui(arguments.parts or PARTS, effort):
        measured.append(figure)
        print(_figure_words(figure), file=sys.stderr)
    if arguments.json:
        figures = [{**asdict(figure), "met": figure.met} for figure in measured]
        print(json.dumps({"machine": machine_name(), "figures": figures}, indent=1))
    else:
        print(f"{retell(machine_name())}\n\n{_figure_rows(measured)}")
    return 0


def _figure_words(figure: "Measured") -> str:
    return f"{figure.part}: {retell(figure.name)} {figure.value:.3g} {figure.unit}".rstrip()


def _figure_rows(figures: "list[Measured]") -> str:
    verdicts = {True: tr("met"), False: tr("not met"), None: ""}
    rows = [("", tr("MEASURED"), "", tr("TARGET"), "", tr("HOW"))]
    rows += [
        (
            retell(figure.name),
            f"{figure.value:.2f}" if figure.value % 1 else f"{figure.value:.0f}",
            figure.unit,
            "" if figure.target is None else f"{figure.target:g}",
            verdicts[figure.met],
            retell(figure.note),
        )
        for figure in figures
    ]
    return table(rows, right=(1, 3))


def _described(profile: "Profile") -> str:
    vocab_size = expected_vocab_size(profile.tokenizer)
    parameters = count_parameters(profile.model, vocab_size).total
    stage = profile.stage[0]
    told = {"parameters": parameters, "rows": stage.batch_size, "tokens": stage.sequence_length}
    return tr("{parameters:,} parameters, {rows} rows of {tokens} tokens a step", **told)


def _rows(speeds: "list[Speed]") -> str:
    """A table whose ratios are to the entry in fp32."""
    plain = next(speed.tokens_per_second for speed in speeds if speed.name == "fp32")
    rows = [("", tr("PRECISION"), tr("THREADS"), tr("TOKENS/S"), tr("RANGE"), tr("RATIO"))]
    rows += [
        (
            speed.name,
            speed.precision,
            str(speed.threads),
            f"{speed.tokens_per_second:,.0f}",
            f"{speed.slowest:,.0f} - {speed.fastest:,.0f}",
            f"{speed.tokens_per_second / plain:.2f}",
        )
        for speed in speeds
    ]
    return table(rows, right=(2, 3, 4, 5))
