"""Runs that exist: list them, report on one, steer one that another process does."""

import argparse
import dataclasses
import json
import sys
import time
from pathlib import Path

from workbench.cli.arguments import DEFAULT_WORKSPACE
from workbench.cli.terminal import printable, table
from workbench.errors import RunError, UsageError
from workbench.language import tr
from workbench.narration import ago, count, figure
from workbench.runs.liveness import CommandFile, is_alive
from workbench.runs.reference import keep_reference
from workbench.runs.store import RunSummary, check_run_name, list_runs, open_run


def runs(arguments: argparse.Namespace) -> int:
    """`runs`: the runs of the workspace, the latest first."""
    workspace = Path(arguments.workspace or DEFAULT_WORKSPACE)
    found = list_runs(workspace)
    if arguments.json:
        print(json.dumps([_as_json(run) for run in found], indent=1, ensure_ascii=False))
    elif found:
        print(table([_heading(), *map(_row, found)], right=(3, 4, 5, 6)))
    else:
        told = tr("no runs in {folder}; begin one with: llm-workbench --profile quickstart", folder=workspace)
        print(told, file=sys.stderr)
    return 0


def report(arguments: argparse.Namespace) -> int:
    """`report RUN`: write report.md and report.json anew, and print the first, or the second for programs."""
    run = open_run(Path(arguments.workspace or DEFAULT_WORKSPACE), arguments.run)
    from workbench.evaluation.report import write_report

    path = write_report(run.path)
    if arguments.json:
        print(path.with_suffix(".json").read_text(encoding="utf-8"), end="")
    else:
        print(printable(path.read_text(encoding="utf-8")), end="")
    print(tr("written to {path}", path=path), file=sys.stderr)
    return 0


def reference(arguments: argparse.Namespace) -> int:
    """`reference RUN ...`: keep their curves as what is normal."""
    workspace = Path(arguments.workspace or DEFAULT_WORKSPACE)
    found = [open_run(workspace, name) for name in arguments.runs]
    name = arguments.name or found[0].name
    check_run_name(name)
    print(keep_reference(name, found, arguments.folder))
    return 0


def control(arguments: argparse.Namespace) -> int:
    """`control RUN WISH`: ask a run of another process for something."""
    run = open_run(Path(arguments.workspace or DEFAULT_WORKSPACE), arguments.run)
    command = arguments.wish.replace("-", "_")
    if command == "learning_rate" and arguments.value is None:
        raise UsageError("control learning-rate", "needs a value", "for example: control RUN learning-rate 3e-4")
    if not is_alive(run.path):
        raise RunError(run.name, "is not running", f"go on with it: llm-workbench resume {run.name}")
    CommandFile(run.path).append(command, arguments.value)
    told = tr("asked {run} for {wish}; it looks at the next step", run=run.name, wish=arguments.wish)
    print(told, file=sys.stderr)
    return 0


def _heading() -> tuple[str, ...]:
    names = (tr("NAME"), tr("STATE"), tr("STAGE"), tr("STEP"), tr("VAL LOSS"))
    return (*names, tr("TOK/S"), tr("WHEN"))


def _row(run: RunSummary) -> tuple[str, ...]:
    return (
        run.name,
        tr(run.label),
        run.stage or "-",
        f"{run.step:,}/{run.steps:,}" if run.steps else "-",
        figure(run.val_loss),
        "-" if run.tokens_per_second is None else count(run.tokens_per_second),
        ago(time.time() - run.updated_at),
    )


def _as_json(run: RunSummary) -> dict[str, object]:
    return {**dataclasses.asdict(run), "path": str(run.path), "label": run.label}
