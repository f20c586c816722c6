"""The project's kernels against those of Liger-Kernel and flash-linear-attention, by what can be known without a GPU.

    python -m tests.kernels.gate [--architecture sm_80,sm_90,sm_100] [--filter REGEX] [--json FILE] [--markdown]

For every operation that a peer has, the launch our table picks stands against the launch the peer makes, or, where the
peer times several, against the best of them by this model. Compared are the modelled time, spilled bytes, the share of
128-bit accesses and the bytes in flight. Bytes are counted by running the kernels (`traffic.py`). The exit code is 1 if
anything fails to build, if an operation lacks its counterpart, if a figure is worse without an excuse in
`gate_excuses.py`, or if an excuse is no longer needed.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path

from tests.kernels.cards import CARDS, Card
from tests.kernels.gate_excuses import EXCUSES, Excuse
from tests.kernels.static_report import report
from tests.kernels.traffic import count

ARCHITECTURES = ("sm_80", "sm_90", "sm_100")
TORCH = "torch"
_LIBRARY_RATE = 0.8  # of the peak that matrix products of the vendor's library reach; the same for both sides
_EQUAL = 1.005  # two counts of the same bytes differ by what rounding and a few statistics add


@dataclass(frozen=True)
class Summary:
    """One pass of one library on one architecture.

    Args:
        wide: of the kernel that moves most bytes; `in_flight` likewise.
    """

    operation: str
    library: str
    architecture: str
    microseconds: float
    megabytes: float
    launches: int
    spilled_bytes: int
    wide: float
    in_flight: float | None
    family: str


@dataclass(frozen=True)
class Finding:
    """A figure in which ours stays behind a peer's."""

    operation: str
    library: str
    architecture: str
    figure: str
    ours: float
    theirs: float
    excuse: str = ""


def summaries(rows: Sequence[dict], counts: Sequence[dict]) -> list[Summary]:
    """The figures of every pass, from the compiled launches and the counted bytes."""
    counted = {(*_key(each), each["kernel"]): each for each in counts}
    result = []
    for key, group in groupby(sorted(rows, key=_key), _key):
        kernels = {}
        passed = list(group)
        for name in dict.fromkeys(row["kernel"] for row in passed):
            launches = [row for row in passed if row["kernel"] == name]
            kernels[name] = _kernel(launches, counted.get((*key, name)), CARDS[key[2]])
        result.append(_summary(key, kernels))
    return result


def compare(ours: Summary, theirs: Summary) -> list[Finding]:
    """The figures in which `ours` is worse."""
    pairs = {
        "time": (ours.microseconds, theirs.microseconds, ours.microseconds > theirs.microseconds * _EQUAL),
        "spill": (ours.spilled_bytes, theirs.spilled_bytes, ours.spilled_bytes > theirs.spilled_bytes),
        "width": (ours.wide, theirs.wide, ours.wide < theirs.wide),
    }
    if ours.in_flight is not None and theirs.in_flight is not None:
        pairs["in flight"] = (ours.in_flight, theirs.in_flight, ours.in_flight < theirs.in_flight)
    key = (ours.operation, theirs.library, ours.architecture)
    return [Finding(*key, figure, own, other) for figure, (own, other, worse) in pairs.items() if worse]


def judge(
    table: Sequence[Summary], excuses: Sequence[Excuse], architectures: Sequence[str], filtered: bool = False
) -> tuple[list[Finding], list[str]]:
    """Every figure that is worse, and what fails the gate.

    Args:
        filtered: only some operations were looked at: excuses of the others may lie idle.
    """
    own = {(each.operation, each.architecture): each for each in table if each.library == "own"}
    peers = [each for each in table if each.library != "own"]
    failures = [] if peers else ["nothing was compared"]
    for architecture in architectures:
        if not any(each.architecture == architecture for each in peers):
            failures.append(f"{architecture}: nothing was compared")
    findings, used = [], set()
    for theirs in peers:
        ours = own.get((theirs.operation, theirs.architecture))
        if ours is None:
            failures.append(f"{theirs.operation} on {theirs.architecture}: {theirs.library} has it, we do not")
            continue
        for finding in compare(ours, theirs):
            excuse = next((each for each in excuses if each.covers(finding)), None)
            if excuse is None:
                failures.append(
                    f"{finding.operation} on {finding.architecture}: {finding.figure} {finding.ours:g}"
                    f" is worse than {finding.library}'s {finding.theirs:g}"
                )
            else:
                used.add((excuse, finding.architecture))
                finding = Finding(**{**asdict(finding), "excuse": excuse.reason})
            findings.append(finding)
    for excuse in () if filtered else excuses:
        for architecture in excuse.architectures:
            if architecture in architectures and (excuse, architecture) not in used:
                failures.append(f"the excuse for {excuse.figure} of {excuse.operation} on {architecture} is not needed")
    return findings, failures


def _key(row: dict) -> tuple[str, str, str]:
    return row["operation"], row["library"], row["architecture"]


@dataclass(frozen=True)
class _Kernel:
    seconds: float
    moved: float
    launches: int
    spilled_bytes: int
    wide: float
    in_flight: float | None
    family: str


def _kernel(rows: list[dict], counted: dict | None, card: Card) -> _Kernel:
    """All launches of one kernel in a pass."""
    if rows[0]["kernel"] == TORCH:
        seconds = sum(_torch_seconds(part, card) for part in rows[0]["parts"])
        return _Kernel(seconds, sum(part[1] for part in rows[0]["parts"]), len(rows[0]["parts"]), 0, 1.0, None, "")
    if counted is None:
        raise ValueError(f"{_key(rows[0])}: no bytes were counted of {rows[0]['kernel']}")
    times = [(_seconds(row, counted, card), row) for row in rows]
    launches = len({row["choice"] for row in rows})
    timed_by_the_library = launches < len(rows)
    pick = min if timed_by_the_library else max
    seconds, row = pick(times, key=lambda pair: pair[0])
    moved = counted["unique_read_bytes"] + counted["unique_written_bytes"]
    wide = 1.0 if row["wide"] is None else row["wide"]
    return _Kernel(seconds, moved, launches, row["spilled_bytes"], wide, row["in_flight"], row["matrix_family"])


def _seconds(row: dict, counted: dict, card: Card) -> float:
    """The longest of what memory, matrix units and special functions need; they overlap in time."""
    moved = counted["unique_read_bytes"] + counted["unique_written_bytes"]
    hidden = min(1.0, row["in_flight"] if row["in_flight"] else 1.0)
    memory = moved / (card.memory_tb_per_second * 1e12 * hidden)
    matrix = counted["matrix_flops"] / (card.matrix_tflops * 1e12 * (row["use_of_matrix_units"] or 1.0))
    clock = card.matrix_tflops * 1e12 / (card.matrix_flops * card.multiprocessors)
    special = counted["exponentials"] / (card.special_functions * card.multiprocessors * clock)
    return max(memory, matrix, special)


def _torch_seconds(part: Sequence, card: Card) -> float:
    _, moved, flops = part
    return max(moved / (card.memory_tb_per_second * 1e12), flops / (card.matrix_tflops * 1e12 * _LIBRARY_RATE))


def _summary(key: tuple[str, str, str], kernels: dict[str, _Kernel]) -> Summary:
    largest = max((each for name, each in kernels.items() if name != TORCH), key=lambda each: each.moved)
    return Summary(
        *key,
        microseconds=round(sum(each.seconds for each in kernels.values()) * 1e6, 2),
        megabytes=round(sum(each.moved for each in kernels.values()) / 1e6, 2),
        launches=sum(each.launches for each in kernels.values()),
        spilled_bytes=sum(each.spilled_bytes for each in kernels.values()),
        wide=largest.wide,
        in_flight=largest.in_flight,
        family=max((each.family for each in kernels.values()), key=len),
    )


def markdown(table: Sequence[Summary], findings: Sequence[Finding]) -> str:
    """The comparison as a table, one line an operation, architecture and library."""
    lines = ["| operation | on | library | model us | MB | launches | spill B | wide | in flight | matrix |"]
    lines.append("|---|---|---|---|---|---|---|---|---|---|")
    order = sorted(table, key=lambda each: (each.operation, each.architecture, each.library != "own", each.library))
    compared = {each.operation for each in table if each.library != "own"}
    for each in order:
        if each.operation in compared:
            flight = "" if each.in_flight is None else f"{each.in_flight:.2f}"
            lines.append(
                f"| {each.operation} | {each.architecture} | {each.library} | {each.microseconds:.1f} |"
                f" {each.megabytes:.1f} | {each.launches} | {each.spilled_bytes} | {each.wide:.2f} | {flight} |"
                f" {each.family} |"
            )
    lines.append("\nWhere ours stays behind:\n\n| operation | on | peer | figure | ours | theirs | why |")
    lines.append("|---|---|---|---|---|---|---|")
    for found in findings:
        values = f"{found.ours:g} | {found.theirs:g} | {found.excuse}"
        lines.append(f"| {found.operation} | {found.architecture} | {found.library} | {found.figure} | {values} |")
    return "\n".join(lines)


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--architecture", default=",".join(ARCHITECTURES))
    parser.add_argument("--filter", default="")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    architectures = arguments.architecture.split(",")
    rows = report(["own", "peers"], architectures, arguments.filter)
    broken = [f"{_key(row)} {row['kernel']}: {row['error']}" for row in rows if row["error"]]
    table = [] if broken else summaries(rows, count(["own", "peers"], architectures, arguments.filter))
    findings, failures = judge(table, EXCUSES, architectures, filtered=bool(arguments.filter))
    if arguments.json:
        values = {"table": [asdict(each) for each in table], "findings": [asdict(each) for each in findings]}
        arguments.json.write_text(json.dumps(values, indent=1))
    print(markdown(table, findings))
    for failure in broken + failures:
        print("FAILED", failure)
    print(f"{sum(each.library != 'own' for each in table)} comparisons, {len(broken + failures)} failures")
    return int(bool(broken or failures))


if __name__ == "__main__":
    sys.exit(main())
