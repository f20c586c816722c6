"""Saving and starting a draft: where a copy goes, what must not be written over, what its run is called."""

import asyncio
import shlex
from difflib import SequenceMatcher
from pathlib import Path
from typing import TYPE_CHECKING

from workbench.atomic import write_atomically
from workbench.bundled import profiles_folder
from workbench.language import tr
from workbench.tui.bridge import JobRequest
from workbench.tui.modals.ask import AskModal
from workbench.tui.modals.confirm import ConfirmModal
from workbench.tui.modals.diff import DiffModal
from workbench.tui.profile_draft import ProfileDraft
from workbench.tui.profile_examination import examine

DEFAULT_WORKSPACE = "runs"
NEAR = 0.3  # share of lines that a profile has in common with its base

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


def show_changes(app: "WorkbenchApp", draft: ProfileDraft) -> None:
    """What was changed since the draft was opened or saved; of a saved one, how it differs from what it began as."""
    base = base_of(draft)
    if draft.edited:
        title = tr("{profile}: changes", profile=draft.name)
        app.push_screen(DiffModal(title, draft.original, draft.text))
    elif base is not None:
        title = tr("{profile} against {base}", profile=draft.name, base=base.stem)
        app.push_screen(DiffModal(title, base.read_text(encoding="utf-8"), draft.text))
    else:
        app.notify(tr("Nothing was changed."))


def base_of(draft: ProfileDraft) -> Path | None:
    """The bundled profile that most lines of the draft come from; None for a bundled one, and where none is near."""
    if draft.bundled:
        return None
    lines = draft.text.splitlines()
    nearness = {
        path: SequenceMatcher(None, path.read_text(encoding="utf-8").splitlines(), lines, autojunk=False).ratio()
        for path in profiles_folder().glob("*.toml")
    }
    nearest = max(nearness, key=lambda path: nearness[path], default=None)
    return nearest if nearest is not None and NEAR <= nearness[nearest] < 1 else None


def copy_command(app: "WorkbenchApp", draft: ProfileDraft) -> None:
    """Copy the command line that does the same without screens, and show it."""
    command = ["llm-workbench", "--profile", draft.path.stem if draft.bundled else str(draft.path)]
    if app.workspace != Path(DEFAULT_WORKSPACE):
        command[1:1] = ["--workspace", str(app.workspace)]
    line = shlex.join(command)
    app.copy_to_clipboard(line)
    unsaved = f"\n{tr('It runs what is saved; this draft has changes.')}" if draft.edited else ""
    app.notify(f"{tr('Copied')}: {line}{unsaved}", markup=False)


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
        app.show_error(tr("Not saved"), f"{path}: {error.strerror or error}")
        return False
    draft.saved_as(path.resolve())
    app.notify(tr("Saved {path}", path=path), timeout=3, markup=False)
    return True


async def _may_overwrite(app: "WorkbenchApp", draft: ProfileDraft) -> bool:
    """Whether the file still holds what was opened, or the person does not mind."""
    if not draft.path.is_file() or draft.path.read_text(encoding="utf-8", errors="replace") == draft.original:
        return True
    detail = tr("Another program wrote to it since it was opened; saving puts your text in its place.")
    question = tr("Overwrite {file}?", file=draft.path.name)
    return await app.push_screen_wait(ConfirmModal(question, detail, yes=tr("Overwrite")))


async def _ask_place(app: "WorkbenchApp", draft: ProfileDraft) -> Path | None:
    """Where the copy of a bundled profile is to go; None where nobody says."""
    proposed = Path("profiles") / f"{draft.name}.toml"
    if proposed.exists():
        proposed = proposed.with_name(f"my-{proposed.name}")
    detail = tr("{profile} comes with the workbench and stays as it is.", profile=draft.name)
    answer = await app.push_screen_wait(AskModal(tr("Save a copy as"), detail, str(proposed)))
    if answer is None:
        return None
    path = Path(answer).expanduser()
    path = path if path.suffix == ".toml" else path.with_name(f"{path.name}.toml")
    if not path.exists():
        return path
    if ProfileDraft(path.stem, path, "").bundled:
        words = tr("{profile} comes with the workbench; choose another name", profile=path.name)
        app.notify(words, severity="error", markup=False)
        return None
    detail = tr("A file of that name is there already.")
    question = tr("Overwrite {file}?", file=path)
    overwrite = await app.push_screen_wait(ConfirmModal(question, detail, yes=tr("Overwrite")))
    return path if overwrite else None


async def may_leave(app: "WorkbenchApp", draft: ProfileDraft | None) -> bool:
    """Whether the draft's edits may be lost."""
    question = tr("Leave the edits of {profile}?", profile=draft.name if draft is not None else "")
    return await app.push_screen_wait(ConfirmModal(question, yes=tr("Leave them"), no=tr("Stay")))


async def run_draft(app: "WorkbenchApp", draft: ProfileDraft) -> None:
    """Start a run of the draft as it stands, or say why it cannot run."""
    found = await asyncio.to_thread(examine, draft.text, draft.path, app.workspace)
    if found.profile is None:
        listed = "\n".join(f"- {problem.shown}" for problem in found.problems)
        app.show_error(tr("This profile cannot run"), listed)
        return
    name = await ask_run_name(app, found.profile.run.name or draft.name)
    if name is not None:
        await app.start_job(JobRequest(profile=found.profile, name=name))


async def ask_run_name(app: "WorkbenchApp", name: str) -> str | None:
    """The run's name; asked for where a run has it already. None where nobody says."""
    if not (app.workspace / name).exists():
        return name
    free = next(f"{name}-{n}" for n in range(2, 10_000) if not (app.workspace / f"{name}-{n}").exists())
    detail = tr("{run} is there already; by that name it goes on, as long as the settings are the same.", run=name)
    return await app.push_screen_wait(AskModal(tr("Name of the run"), detail, free))
