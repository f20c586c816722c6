"""`bench kernels`: the kernels timed on a GPU, or what is known of them without one."""

import argparse
import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from workbench.cli.terminal import table
from workbench.language import mark, tr

if TYPE_CHECKING:
    from workbench_kernels.benchmark import Timing

_CONTENDERS = ("ours", "eager", "compiled", "liger")
_HEADS = (mark("OURS"), mark("EAGER"), mark("COMPILED"), mark("LIGER"))


def bench_kernels(arguments: argparse.Namespace) -> int:
    """Print one line an operation: timed where there is a GPU, else as compiled ahead of time."""
    import torch

    from workbench_kernels import benchmark

    if not torch.cuda.is_available():
        return _print_static(benchmark.static_table(), arguments.json)
    device = torch.device("cuda")
    # said one by one: some take a minute to compile
    timings = list(benchmark.timings(device, on_start=lambda name: print(name, file=sys.stderr, flush=True)))
    if arguments.json:
        print(json.dumps({"device": torch.cuda.get_device_name(device), "timings": [asdict(each) for each in timings]}))
    else:
        name = torch.cuda.get_device_name(device)
        print(tr("{device}; median microseconds with a cold L2 cache, bfloat16", device=name))
        print(timing_table(timings))
    return 0


def timing_table(timings: "list[Timing]") -> str:
    """Error, times of the contenders, what ours achieves."""
    names = map(tr, _HEADS)
    rows = [(tr("OPERATION"), tr("ERROR"), *names, tr("ACHIEVED"), tr("OF ROOFLINE"))]
    for each in timings:
        times = ("-" if (value := each.microseconds.get(name)) is None else f"{value:.1f}" for name in _CONTENDERS)
        ours = ("-", "-")
        if each.microseconds["ours"]:
            ours = each.achieved, f"{each.percent_of_roofline:.0f} %"
        rows.append((each.operation, f"{each.error:.1e}", *times, *ours))
    return table(rows, right=(1, 2, 3, 4, 5, 6, 7))


def _print_static(rows: list[dict[str, Any]], as_json: bool) -> int:
    told = tr("no GPU here: nothing was timed; this is what compiling ahead of time says of the kernels")
    print(told, file=sys.stderr)
    if as_json:
        print(json.dumps({"device": None, "static": rows}))
        return 0
    heads = (tr("BOUND us"), "MB", "GFLOP", tr("REGISTERS"), tr("SHARED B"), tr("SPILLED B"), tr("128 BIT"))
    lines = [(tr("OPERATION"), tr("ON"), *heads, tr("MATRIX UNITS"))]
    for row in rows:
        least = (f"{row['bound_microseconds']:.1f}", f"{row['megabytes']:.1f}")
        flops = f"{row['gflop']:.1f}" if row["gflop"] else "-"
        code = (str(row["registers"]), str(row["shared_bytes"]), str(row["spilled_bytes"]), f"{row['wide']:.0%}")
        lines.append((row["operation"], row["architecture"], *least, flops, *code, row["matrix_family"] or "-"))
    print(table(lines, right=(2, 3, 4, 5, 6, 7, 8)))
    return 0
