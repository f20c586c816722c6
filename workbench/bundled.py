"""Where the profiles and the sample data lie: the same answer from a checkout and from a wheel."""

import re
from collections.abc import Sequence
from pathlib import Path

from workbench.errors import DataError
from workbench.locations import fetched_folder

DATA_SUFFIXES = (".jsonl", ".ndjson", ".json", ".txt", ".csv", ".tsv", ".parquet")  # a folder's README is no data
PACKAGE = Path(__file__).resolve().parent


def _content(name: str) -> Path:
    packed = PACKAGE / "_bundled" / name  # where pyproject.toml puts it in a wheel
    return packed if packed.is_dir() else PACKAGE.parent / name


def profiles_folder() -> Path:
    """The profiles that come with the program."""
    return _content("profiles")


def curves_folder() -> Path:
    """What is normal for the profiles that come with the program."""
    return profiles_folder() / "curves"


def data_folder() -> Path:
    """The sample data that comes with the program."""
    return _content("data")


def tested_versions() -> dict[str, str]:
    """The versions of packages that the program was tested with, by name; empty where the list did not come along."""
    packed = PACKAGE / "_bundled" / "constraints.txt"
    path = packed if packed.is_file() else PACKAGE.parent / "constraints.txt"
    if not path.is_file():
        return {}
    pins = (line.partition("==") for line in path.read_text(encoding="utf-8").splitlines() if "==" in line)
    return {re.sub(r"[-_.]+", "-", name.strip()).lower(): version.split(";")[0].strip() for name, _, version in pins}


def find_data(reference: str, folders: Sequence[Path]) -> list[Path]:
    """The files that a `data` entry of a profile means, sorted.

    Args:
        reference: a file, a folder (its files), a pattern with * or ?, `bundled:FILE` or `fetched:NAME/FILE`.
        folders: where a relative path is looked up, in this order.
    Raises:
        DataError: nothing is there.
    """
    for prefix, base in (("bundled:", data_folder), ("fetched:", fetched_folder)):
        if reference.startswith(prefix):
            rest = reference.removeprefix(prefix)
            found = _expand(base() / rest)
            if not found:
                remedy = f"get it with: llm-workbench data fetch {rest.split('/')[0]}"
                raise DataError(reference, "is not there", remedy if prefix == "fetched:" else _listing(base()))
            return found
    path = Path(reference).expanduser()
    candidates = [path] if path.is_absolute() else [folder / path for folder in folders]
    for candidate in candidates:
        if found := _expand(candidate):
            return found
    if any(candidate.is_dir() for candidate in candidates):
        raise DataError(reference, "is a folder without data files", f"data are {', '.join(DATA_SUFFIXES)}")
    places = "" if path.is_absolute() else " in " + " or ".join(str(folder) for folder in folders)
    raise DataError(reference, f"no such file{places}", "check the path")


def _expand(path: Path) -> list[Path]:
    if path.is_file():
        return [path.resolve()]
    if path.is_dir():
        children = [child for child in path.iterdir() if child.suffix.lower() in DATA_SUFFIXES and child.is_file()]
        return sorted(child.resolve() for child in children if not child.name.startswith("."))
    if any(sign in str(path) for sign in "*?["):
        start = Path(path.anchor) if path.is_absolute() else Path()
        pattern = str(path.relative_to(path.anchor)) if path.is_absolute() else str(path)
        return sorted(found.resolve() for found in start.glob(pattern) if found.is_file())
    return []


def _listing(folder: Path) -> str:
    names = sorted(child.name for child in folder.glob("*.jsonl")) if folder.is_dir() else []
    return f"bundled are {', '.join(names)}" if names else "the installation lacks its data folder"
