"""The data files of a profile, and whether its stages can use them; told without torch."""

from collections.abc import Callable, Iterable
from itertools import islice
from pathlib import Path

from workbench.bundled import find_data
from workbench.config import Profile
from workbench.data.conversations import to_conversation, to_text
from workbench.data.preferences import to_preference
from workbench.data.sources import BadRow, Row, read_rows
from workbench.errors import DataError

_READERS: dict[str, Callable[[object], object]] = {
    "pretrain": to_text,
    "sft": to_conversation,
    "dpo": to_preference,
}
ROWS_LOOKED_AT = 10_000  # of each file, until one serves


def data_files(references: list[str]) -> list[Path]:
    """The files behind the `data` entries of a profile that was already found complete."""
    return [file for reference in references for file in find_data(reference, [Path.cwd()])]


def check_data(profile: Profile) -> None:
    """Refuse data of which nothing can be used, by its first rows.

    Raises:
        DataError: the stage, and why the first row of each file does not serve.
    """
    for stage in profile.stage:
        problems = []
        for file in data_files(stage.data_files):
            problem = _unusable(islice(read_rows(file, stage.format), ROWS_LOOKED_AT), stage.kind)
            if problem is None:
                break
            problems.append(f"{file}: {problem}")
        else:
            raise DataError(f"stage.{stage.name}.data", "; ".join(problems), f"a {stage.kind} stage cannot use it")


def _unusable(rows: Iterable[Row | BadRow], kind: str) -> str | None:
    """Why none of the rows serves a stage of this kind; None where one does."""
    first = ""
    for row in rows:
        if isinstance(row, BadRow):
            first = first or f"line {row.line}: {row.reason}"
            continue
        try:
            _READERS[kind](row.value)
        except ValueError as error:
            first = first or f"line {row.line}: {error}"
        else:
            return None
    return first or "there is no row"
