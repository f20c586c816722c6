"""Saving and starting a draft: where a copy goes, what must not be written over, what its run is called."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

from workbench.atomic import write_atomically
from workbench.tui.modals.ask import AskModal
from workbench.tui.modals.confirm import ConfirmModal
from workbench.tui.profile_draft import ProfileDraft

if TYPE_CHECKING:
    from textual.screen import Screen

    from workbench.tui.app import WorkbenchApp


async def keys_arrived(screen: "Screen[None]") -> None:
    """Wait until what was typed has come from the field to the draft: a key that saves overtakes letters.

    Call it from a worker, as the screen itself is waited for.
    """
    if screen.focused is None:
        return
    for widget in screen.focused.ancestors_with_self:
        for _ in range(2):  # a key becomes a change in the first round, and the change goes up in the second
            passed = asyncio.Event()
            if not widget.call_later(passed.set):
                return
            await passed.wait()
        if widget is screen:
            return


async def save_draft(app: "WorkbenchApp", draft: ProfileDraft) -> bool:
    """Save the draft, after the questions this takes; False where it was not."""
    path: Path | None = draft.path
    if draft.bundled:
        path = await _ask_place(app, draft)
    elif not await _may_overwrite(app, draft):
        return False
    if path is None:
        return False
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, draft.text)
    except OSError as error:
        app.show_error("Not saved", f"{path}: {error.strerror or error}")
        return False
    draft.saved_as(path.resolve())
    app.notify(f"Saved {path}", timeout=3, markup=False)
    return True


async def _may_overwrite(app: "WorkbenchApp", draft: ProfileDraft) -> bool:
    """Whether the file still holds what was opened, or the person does not mind."""
    if not draft.path.is_file() or draft.path.read_text(encoding="utf-8", errors="replace") == draft.original:
        return True
    detail = "Another program wrote to it since it was opened; saving puts your text in its place."
    question = f"Overwrite {draft.path.name}?"
    return await app.push_screen_wait(ConfirmModal(question, detail, yes="Overwrite"))


async def _ask_place(app: "WorkbenchApp", draft: ProfileDraft) -> Path | None:
    """Where the copy of a bundled profile is to go; None where nobody says."""
    proposed = Path("profiles") / f"{draft.name}.toml"
    if proposed.exists():
        proposed = proposed.with_name(f"my-{proposed.name}")
    detail = f"{draft.name} comes with the workbench and stays as it is."
    answer = await app.push_screen_wait(AskModal("Save a copy as", detail, str(proposed)))
    if answer is None:
        return None
    path = Path(answer).expanduser()
    path = path if path.suffix == ".toml" else path.with_name(f"{path.name}.toml")
    if not path.exists():
        return path
    if ProfileDraft(path.stem, path, "").bundled:
        app.notify(f"{path.name} comes with the workbench; choose another name", severity="error", markup=False)
        return None
    detail = "A file of that name is there already."
    overwrite = await app.push_screen_wait(ConfirmModal(f"Overwrite {path}?", detail, yes="Overwrite"))
    return path if overwrite else None


async def ask_run_name(app: "WorkbenchApp", name: str) -> str | None:
    """The run's name; asked for where a run has it already. None where nobody says."""
    if not (app.workspace / name).exists():
        return name
    free = next(f"{name}-{n}" for n in range(2, 10_000) if not (app.workspace / f"{name}-{n}").exists())
    detail = f"{name} is there already; by that name it goes on, as long as the settings are the same."
    return await app.push_screen_wait(AskModal("Name of the run", detail, free))
