"""Data files that a person may want to look at: bundled, fetched, named by profiles, or added by path."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomli

from workbench.bundled import data_folder, find_data, profiles_folder
from workbench.errors import DataError

LESSON = ("pretrain", "sft", "preferences", "questions")  # what a learner looks at first stands first
SUFFIXES = {".jsonl", ".json", ".ndjson", ".txt", ".text", ".csv", ".tsv", ".parquet"}


@dataclass(frozen=True)
class DataSource:
    """A file in the list.

    Args:
        group: the heading it stands under; name: what it is called there.
    """

    group: str
    name: str
    path: Path
    size_bytes: int


def find_sources(added: Sequence[Path]) -> list[DataSource]:
    """Every data file known here, each once: what a person added first."""
    found: dict[Path, DataSource] = {}
    groups = (("added", _added(added)), ("bundled", _bundled()), ("fetched", _fetched()), ("profiles", _of_profiles()))
    for group, entries in groups:
        for name, path in entries:
            if path.resolve() not in found:
                size = path.stat().st_size if path.is_file() else 0
                found[path.resolve()] = DataSource(group, name, path, size)
    return list(found.values())


def data_files_of(folder: Path) -> list[Path]:
    """The data files that lie in a folder, by name; none where it cannot be read."""
    try:
        return sorted(child for child in folder.iterdir() if child.suffix.lower() in SUFFIXES and child.is_file())
    except OSError:
        return []


def _added(paths: Sequence[Path]) -> Iterator[tuple[str, Path]]:
    for path in paths:
        if path.is_dir():
            yield from ((f"{path.name}/{child.name}", child) for child in data_files_of(path))
        else:
            yield path.name, path


def _bundled() -> Iterable[tuple[str, Path]]:
    order = {name: place for place, name in enumerate(LESSON)}
    paths = sorted(data_folder().glob("*.jsonl"), key=lambda path: (order.get(path.stem, len(order)), path.name))
    return ((path.name, path) for path in paths)


def _fetched() -> Iterator[tuple[str, Path]]:
    from workbench.data.fetch import fetched_path, list_datasets

    for dataset in list_datasets():
        folder = fetched_path(dataset.name)
        if folder is not None:
            yield from ((f"{dataset.name}/{file}", folder / file) for file in dataset.files)


def _of_profiles() -> Iterator[tuple[str, Path]]:
    """Files that profiles name by path; of what is bundled or fetched the other groups tell."""
    folder = Path("profiles")
    for profile in [*sorted(folder.glob("*.toml")), *sorted(profiles_folder().glob("*.toml"))]:
        try:
            values = tomli.loads(profile.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue  # the Profile screen tells what is wrong with it
        for reference in _references(values):
            try:
                paths = find_data(reference, [profile.parent, Path.cwd()])
            except DataError:
                continue
            yield from ((f"{profile.stem}: {path.name}", path) for path in paths)


def _references(values: dict[str, Any]) -> Iterator[str]:
    stages = values.get("stage", [])
    tables = [*(stages if isinstance(stages, list) else []), values.get("tokenizer"), values.get("evaluate")]
    for table in tables:
        for key in ("data", "validation", "questions"):
            given = table.get(key, []) if isinstance(table, dict) else []
            for reference in _listed(given):
                if isinstance(reference, str) and not reference.startswith(("bundled:", "fetched:")):
                    yield reference


def _listed(given: Any) -> Iterator[Any]:
    """The references of a `data` entry in any of its forms: a text, a list, tables with a path."""
    for entry in given if isinstance(given, list) else [given]:
        path = entry.get("path", []) if isinstance(entry, dict) else entry
        yield from path if isinstance(path, list) else [path]
