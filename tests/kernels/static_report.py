"""Compile kernels ahead of time, without a GPU or a driver, and print what they became.

    python -m tests.kernels.static_report [own|table|peers ...] [--architecture sm_90,...] [--filter REGEX]
                                          [--json FILE] [--summary]

Each architecture is compiled in a process of its own, without TRITON_INTERPRET; what was compiled once is taken from
TRITON_CACHE_DIR. Columns are those of `figures.Figures`.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

from tests.kernels.cards import CARDS

ROOT = Path(__file__).resolve().parent.parent.parent
_AT_ONCE = 2
_COLUMNS = (
    "operation",
    "library",
    "kernel",
    "note",
    "architecture",
    "warps",
    "stages",
    "registers",
    "spilled_bytes",
    "shared_bytes",
    "resident_warps",
    "instructions",
    "matrix_family",
    "wide",
    "loop_instructions",
    "loop_limit",
    "use_of_matrix_units",
    "in_flight",
)


def report(sources: Sequence[str], architectures: Sequence[str], only: str = "") -> list[dict]:
    """The figures of all launches that `sources` make, by architecture.

    Args:
        sources: of `own` (the compared sizes), `table` (every configuration the tables can pick), `unusual` (sizes of
            one, far rows), `peers`.
        only: a regular expression on operation and library.
    """

    def in_child(architecture: str) -> list[dict]:
        with tempfile.TemporaryDirectory() as folder:
            result = Path(folder) / "rows.json"
            command = [sys.executable, "-W", "ignore", "-m", "tests.kernels.static_report", *sources]
            command += ["--architecture", architecture, "--filter", only, "--child", str(result)]
            done = subprocess.run(
                command, check=False, capture_output=True, text=True, cwd=ROOT, env=child_environment()
            )
            if not result.is_file():
                raise RuntimeError(f"{architecture}: {(done.stdout + done.stderr)[-3000:]}")
            rows: list[dict] = json.loads(result.read_text())
            return rows

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return [row for rows in pool.map(in_child, architectures) for row in rows]


def child_environment(**additions: str) -> dict[str, str]:
    """This environment for a process that compiles: the interpreter off, the project's packages found."""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    paths = [str(ROOT), str(ROOT / "kernels"), environment.get("PYTHONPATH", "")]
    environment["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
    environment.setdefault("OMP_NUM_THREADS", "1")
    return environment | additions


def compile_here(sources: Sequence[str], architecture: str, only: str) -> list[dict]:
    """The rows of one architecture, compiled in this process."""
    from tests.kernels.capture import capturing
    from tests.kernels.figures import Figures, figures
    from tests.kernels.torch_operations import CountTorch

    rows = []
    for source in sources:
        # Entered first: the peers ask for the device while they load.
        with capturing(architecture):
            cases = _cases(source, architecture)
        for case in cases:
            if not re.search(only, f"{case.op} {case.peer}"):
                continue
            work = CountTorch()
            with capturing(architecture) as launches:
                case.run(around=work)
            for launched in launches:
                if re.search(case.only, launched.kernel):
                    rows.append(asdict(figures(launched, case.op, case.peer, architecture, case.note)))
            if not case.only:
                own = Figures(case.op, case.peer, "torch", architecture, case.note, parts=work.parts)
                rows.append(asdict(own))
    return rows


def _cases(source: str, architecture: str) -> list:
    if source == "peers":
        from tests.kernels import peer_specs

        return peer_specs.cases()
    if source == "unusual":
        from tests.kernels import unusual_specs

        return unusual_specs.cases()
    from tests.kernels import static_specs

    return static_specs.table_cases(architecture) if source == "table" else static_specs.cases()


def table(rows: Sequence[dict]) -> str:
    """The rows in columns; an error stands in place of figures."""
    lines = [_COLUMNS]
    for row in rows:
        cells = ["" if row[name] is None else str(row[name]) for name in _COLUMNS]
        lines.append((*cells[:5], f"FAILED {row['error']}") if row["error"] else tuple(cells))
    widths = [max(len(line[at]) for line in lines if len(line) == len(_COLUMNS)) for at in range(len(_COLUMNS))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=False)) for line in lines)


def summary(rows: Sequence[dict]) -> str:
    """A line for each architecture: how many launches, the worst of each figure, the kinds of matrix instructions."""
    lines = ["| target | card | launches | registers | spilled B | shared KB, of | matrix instructions in |"]
    lines.append("|---|---|---|---|---|---|---|")
    for architecture in dict.fromkeys(row["architecture"] for row in rows):
        card = CARDS[architecture]
        own = [row for row in rows if row["architecture"] == architecture and row["kernel"] != "torch"]
        most = {name: max(row[name] for row in own) for name in ("registers", "spilled_bytes", "shared_bytes")}
        shared = f"{most['shared_bytes'] / 1024:.0f}, {card.block_shared_bytes >> 10}"
        families = Counter(row["matrix_family"] for row in own if row["matrix_family"])
        kinds = ", ".join(f"{number} {family}" for family, number in sorted(families.items()))
        failed = sum(bool(row["error"]) for row in own)
        launches = f"{len(own)}" + (f", {failed} FAILED" if failed else "")
        cells = (architecture, card.name, launches, most["registers"], most["spilled_bytes"], shared, kinds)
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def main() -> int:
    """The command line; exits 1 if something could not be compiled."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sources", nargs="*", default=["own"], help="own, table, unusual, peers")
    parser.add_argument("--architecture", default=",".join(CARDS))
    parser.add_argument("--filter", default="")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--summary", action="store_true", help="a line for each architecture, in Markdown")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    architectures = arguments.architecture.split(",")
    if arguments.child:
        rows = compile_here(arguments.sources, architectures[0], arguments.filter)
        arguments.child.write_text(json.dumps(rows, default=str))
        return 0
    rows = report(arguments.sources, architectures, arguments.filter)
    print(summary(rows) if arguments.summary else table(rows))
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1))
    return int(not rows or any(row["error"] for row in rows))


if __name__ == "__main__":
    sys.exit(main())
