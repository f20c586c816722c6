"""The data files of a profile, what they are for, and whether its stages can use them; told without torch."""

from collections.abc import Callable, Iterable
from itertools import islice
from pathlib import Path

from workbench.bundled import find_data
from workbench.config import STAGE_PREFIX, Profile, StageSettings
from workbench.data.conversations import to_conversation, to_text
from workbench.data.preferences import to_preference
from workbench.data.prompts import to_prompt
from workbench.data.purpose import Purpose, purpose_of
from workbench.data.sources import BadRow, Row, read_rows
from workbench.errors import DataError

_READERS: dict[str, Callable[[object], object]] = {
    "pretrain": to_text,
    "sft": to_conversation,
    "dpo": to_preference,
    "generate": to_prompt,
}
ROWS_LOOKED_AT = 10_000  # of each file, until one serves


def data_files(references: list[str], run: Path | None = None) -> list[Path]:
    """The files behind the `data` entries of a profile that was already found complete.

    Args:
        run: the run's folder, where what its stages wrote lies; None leaves those files out.
    """
    found = []
    for reference in references:
        if not reference.startswith(STAGE_PREFIX):
            found += find_data(reference, [Path.cwd()])
        elif run is not None:
            found.append(written_file(run / reference.removeprefix(STAGE_PREFIX)))
    return found


def written_file(stage: Path) -> Path:
    """What a generate stage writes into its folder."""
    return stage / "data.jsonl"


def is_written_later(stage: StageSettings) -> bool:
    """Whether a stage learns from what an earlier one writes."""
    return any(file.startswith(STAGE_PREFIX) for file in stage.data_files)


def purpose(stage: StageSettings) -> Purpose:
    """How a stage reads its data: as texts, conversations or pairs; of distill as its settings or its data say.

    Raises:
        DataError: the data cannot be read, or are pairs, which nobody can be taught by.
    """
    if stage.kind == "pretrain" or stage.kind == "sft" or stage.kind == "dpo":
        return stage.kind
    assert stage.distill is not None, "other stages train nothing"
    if stage.distill.targets != "auto":
        return "pretrain" if stage.distill.targets == "all" else "sft"
    files = data_files(stage.data_files)
    found = purpose_of(files[0]) if files else "sft"  # what a stage writes are conversations
    if found == "dpo":
        remedy = "give texts or conversations to learn from"
        raise DataError(f"stage.{stage.name}.data", f"{files[0]} holds pairs of answers", remedy)
    return found


def check_data(profile: Profile) -> None:
    """Refuse data of which nothing can be used, by its first rows.

    Raises:
        DataError: the stage, and why the first row of each file does not serve.
    """
    for stage in profile.stage:
        problems, files = [], data_files(stage.data_files)
        kind = stage.kind if stage.kind == "generate" else purpose(stage)
        for file in files:
            problem = _unusable(islice(read_rows(file, stage.format), ROWS_LOOKED_AT), kind)
            if problem is None:
                break
            problems.append(f"{file}: {problem}")
        else:
            if files:
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
