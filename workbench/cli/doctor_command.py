"""`doctor`: whether this machine and this terminal are fit for the work, and what to do where they are not."""

import argparse
import json
import os
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from workbench.cells import padded, width
from workbench.cli.arguments import DEFAULT_WORKSPACE
from workbench.cli.terminal import coloured, printable
from workbench.doctor.check import AREAS, Check, examined
from workbench.language import tr, tr_many

SIGNS = {"ok": ("✓", "+", "good"), "warning": ("!", "!", "warning"), "problem": ("✗", "x", "error")}
_INDENT = 4  # of advice, behind the sign


def doctor(arguments: argparse.Namespace) -> int:
    """Look at everything and print a line each; 1 where something is a problem."""
    workspace = Path(arguments.workspace or DEFAULT_WORKSPACE)
    found: list[Check] = []
    for area, checks in _looked_at(workspace, as_json=arguments.json):
        found += checks
        if not arguments.json:
            _print(area, checks)
    if arguments.json:
        print(json.dumps([each.as_data() for each in found], ensure_ascii=False, indent=1))
    else:
        print(verdict(found))
    return 1 if any(each.level == "problem" for each in found) else 0


def _looked_at(workspace: Path, *, as_json: bool) -> Iterator[tuple[str, list[Check]]]:
    """Each area with its checks, as soon as they are made."""
    from workbench.doctor.device import gpu_checks, processor_checks, speed_checks
    from workbench.doctor.packages import package_checks
    from workbench.doctor.storage import storage_checks
    from workbench.doctor.terminal import terminal_checks

    look = partial(terminal_checks, os.environ, draws=not as_json)
    yield "terminal", examined("terminal", tr("terminal"), look)
    processor = examined("device", "CPU", processor_checks)
    yield "device", [*processor, *examined("device", "GPU", gpu_checks)]
    yield "speed", examined("speed", tr("matrix products"), speed_checks)
    yield "storage", examined("storage", tr("disk"), lambda: storage_checks(workspace))
    yield "packages", examined("packages", tr("versions"), package_checks)


def _print(area: str, checks: list[Check]) -> None:
    if not checks:
        return
    print(coloured(tr(AREAS[area]), "strong", sys.stdout))
    column = max(width(each.name) for each in checks)
    plain = not (sys.stdout.encoding or "").lower().startswith("utf")
    for each in checks:
        sign = SIGNS[each.level][1 if plain else 0]
        tone = SIGNS[each.level][2]
        print(f"  {coloured(sign, tone, sys.stdout)} {padded(each.name, column)}  {printable(each.found)}")
        if each.advice:
            print(
                " " * (_INDENT + column + 2)
                + coloured(f"→ {each.advice}" if not plain else each.advice, "quiet", sys.stdout)
            )
    sys.stdout.flush()


def verdict(found: list[Check]) -> str:
    """All of it in one sentence."""
    problems = sum(each.level == "problem" for each in found)
    warnings = sum(each.level == "warning" for each in found)
    if problems:
        return tr_many("{count} problem to put right.", "{count} problems to put right.", problems)
    if warnings:
        return tr_many("Fit for work, with {count} warning.", "Fit for work, with {count} warnings.", warnings)
    return tr("Fit for work.")
