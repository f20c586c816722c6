"""Room on the disks, and whether folders can be written."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from workbench.doctor.check import Check
from workbench.language import tr
from workbench.locations import cache_folder, config_folder, state_folder
from workbench.narration import size

SCARCE, LITTLE = 2**30, 5 * 2**30  # a small model's run takes hundreds of megabytes, a 100M model's gigabytes


def storage_checks(workspace: Path) -> Iterator[Check]:
    """The folder of runs, the cache of tokens, data and models, and the small folders of settings and logs."""
    yield room_check(tr("runs"), workspace, tr("delete old runs, or choose another --workspace"))
    yield room_check(tr("cache"), cache_folder(), tr("make room, or move it with LLM_WORKBENCH_HOME"))
    for name, folder in ((tr("settings"), config_folder()), (tr("logs"), state_folder())):
        if not writable(folder):
            yield Check("storage", name, "warning", tr("{folder} cannot be written", folder=folder), _permissions())


def room_check(name: str, folder: Path, advice: str) -> Check:
    """Whether a folder can be written and has room."""
    free = shutil.disk_usage(_there(folder)).free
    told = tr("{size} free in {folder}", size=size(free), folder=folder)
    if not writable(folder):
        return Check("storage", name, "problem", tr("{folder} cannot be written", folder=folder), _permissions())
    if free < SCARCE:
        return Check("storage", name, "problem", told, advice)
    return Check("storage", name, "warning" if free < LITTLE else "ok", told, advice if free < LITTLE else "")


def writable(folder: Path) -> bool:
    """Whether something can be put there, or the folder be made."""
    nearest = _there(folder)
    return nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK)


def _there(folder: Path) -> Path:
    """The folder, or the nearest one above that exists."""
    path = folder.expanduser().absolute()
    return next(each for each in (path, *path.parents) if each.exists())


def _permissions() -> str:
    return tr("check its permissions, or set LLM_WORKBENCH_HOME")
