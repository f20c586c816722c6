"""What is done to runs from Home: the trash and the way back, and a file for llama.cpp."""

import asyncio
import logging
import shutil
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from workbench.errors import UsageError, WorkbenchError
from workbench.language import retell, tr, tr_many
from workbench.runs.store import RunDirectory, RunSummary, restore_run, trash_run
from workbench.tui.modals.ask import AskModal
from workbench.tui.modals.confirm import ConfirmModal

if TYPE_CHECKING:
    from workbench.tui.screens.base import WorkbenchScreen

logger = logging.getLogger(__name__)


async def delete_runs(screen: "WorkbenchScreen", runs: Sequence[RunSummary]) -> list[Path]:
    """Move runs to the trash, after asking; where they lie now."""
    for run in runs:
        if run.alive:
            words = tr("{run} is running; stop it before deleting it.", run=run.name)
            screen.notify(words, severity="warning", markup=False)
            return []
    if not runs:
        return []
    question = tr("Delete the run {run}?", run=runs[0].name)
    if len(runs) > 1:
        question = tr_many("Delete {count} run?", "Delete {count} runs?", len(runs))
    detail = tr("It goes to the trash of this workspace; u brings it back.")
    if len(runs) > 1:
        detail = ", ".join(run.name for run in runs) + "\n" + detail
    deleted: list[Path] = []
    if await screen.workbench.push_screen_wait(ConfirmModal(question, detail, yes=tr("Delete"))):
        try:
            for run in runs:
                deleted.append(trash_run(screen.workbench.workspace, run.name))
        except (WorkbenchError, OSError) as error:
            screen.workbench.show_error(tr("That did not work"), retell(str(error)))
    return deleted


def bring_back(screen: "WorkbenchScreen", trashed: Sequence[Path]) -> None:
    """Take runs out of the trash."""
    for path in trashed:
        try:
            run = restore_run(path)
        except (WorkbenchError, OSError) as error:
            screen.workbench.show_error(tr("That did not work"), retell(str(error)))
        else:
            screen.notify(tr("{run} is back", run=run.name), markup=False)


async def export_run(screen: "WorkbenchScreen", run: RunSummary) -> None:
    """Ask for a file name, and write the run's newest model there."""
    detail = tr(
        "The newest model of {run}. A name that ends in .gguf: one file for llama.cpp and Ollama, in float16. "
        "Any other: a folder as Hugging Face lays it out, for transformers and vLLM.",
        run=run.name,
    )
    answer = await screen.workbench.push_screen_wait(AskModal(tr("Export to"), detail, f"{run.name}.gguf"))
    if answer is None:
        return
    target = Path(answer).expanduser()
    screen.notify(tr("Writing {file}…", file=target.name), markup=False)
    try:
        await asyncio.to_thread(write_model, run.path, target)
    except (WorkbenchError, OSError) as error:
        logger.info("%s was not exported: %s", run.name, error)
        screen.workbench.show_error(tr("{run} was not exported", run=run.name), retell(str(error)))
    else:
        screen.notify(tr("{file} is written", file=target), markup=False)


def write_model(run: Path, target: Path) -> None:
    """Write the newest model of a run to a GGUF file, or to a folder in Hugging Face's layout.

    Raises:
        UsageError, ModelError: the target is there already, or the model cannot be written so.
        RunError: there is no model yet.
    """
    model = RunDirectory(run).model_directory()
    if target.suffix == ".gguf":
        from workbench.interop.gguf_write import export_gguf

        export_gguf(model, target)
        return
    if target.exists():
        raise UsageError(str(target), "exists already", "give another file, or remove it")
    # Beside the target first, so that nothing half copied stands under its name.
    with TemporaryDirectory(dir=_nearest(target.absolute().parent), prefix=".export-") as folder:
        copy = Path(folder) / "model"
        shutil.copytree(model, copy, ignore=shutil.ignore_patterns("resume"))
        target.parent.mkdir(parents=True, exist_ok=True)
        copy.rename(target)


def _nearest(folder: Path) -> Path:
    """The folder, or the first above it that is there."""
    return next(each for each in (folder, *folder.parents) if each.is_dir())
