"""Benchmarks: how fast this machine is at the work, measured side by side."""

import argparse
import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

from workbench.cli.terminal import table
from workbench.errors import UsageError
from workbench.estimate import count_parameters, expected_vocab_size
from workbench.machine import machine_name
from workbench.profile import parse_profile, read_profile

if TYPE_CHECKING:
    from workbench.benchmarks.training import Contender, Speed
    from workbench.config import Profile


def train(arguments: argparse.Namespace) -> int:
    """`bench train`: tokens by second of a profile's first stage, in each precision, in turn.

    Raises:
        UsageError: transformers is to be compared with, and is not installed.
    """
    from workbench.benchmarks.training import REFERENCE, compare_training

    if arguments.bench_profile is None:
        profile = parse_profile(REFERENCE, "the 29M Llama", arguments.bench_overrides)
    else:
        profile = read_profile(arguments.bench_profile, arguments.bench_overrides)
    contenders: list[Contender] = ["auto", "fp32", "bf16"]
    if arguments.transformers:
        contenders.append("transformers")
    print(f"{len(contenders)} contenders, {arguments.rounds} rounds of {arguments.steps} steps each", file=sys.stderr)
    try:
        speeds = list(compare_training(profile, contenders, arguments.rounds, arguments.steps))
    except ImportError as error:
        missing = f"transformers is not installed ({error})"
        raise UsageError("bench train", missing, "pip install transformers") from error
    if arguments.json:
        print(json.dumps({"machine": machine_name(), "speeds": [asdict(speed) for speed in speeds]}, indent=1))
    else:
        print(f"{machine_name()}; {_described(profile)}\n\n{_rows(speeds)}")
    return 0


def _described(profile: "Profile") -> str:
    vocab_size = expected_vocab_size(profile.tokenizer)
    parameters = count_parameters(profile.model, vocab_size).total
    stage = profile.stage[0]
    return f"{parameters:,} parameters, {stage.batch_size} rows of {stage.sequence_length} tokens a step"


def _rows(speeds: "list[Speed]") -> str:
    """A table whose ratios are to the entry in fp32."""
    plain = next(speed.tokens_per_second for speed in speeds if speed.name == "fp32")
    rows = [("", "PRECISION", "THREADS", "TOKENS/S", "RANGE", "RATIO")]
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
