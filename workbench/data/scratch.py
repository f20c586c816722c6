"""Hidden folders for what is being made, beside where it goes; what a killed process left is taken away by the next."""

import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from workbench.data.folder_lock import folder_lock
from workbench.errors import UsageError

PREFIX = ".making-"
YOUNG_SECONDS = 60.0  # its process may not have come to lock it


@contextmanager
def scratch_folder(parent: Path) -> Iterator[Path]:
    """A folder in `parent` that is gone afterwards, and locked until then; `parent` is made where it is missing.

    Raises:
        UsageError: nothing can be made there.
    """
    try:
        parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        remedy = "choose a folder that can be written; LLM_WORKBENCH_HOME moves the program's own"
        raise UsageError(str(parent), f"cannot be made: {error.strerror}", remedy) from error
    for left in parent.glob(f"{PREFIX}*"):
        _remove_unless_used(left)
    with tempfile.TemporaryDirectory(prefix=PREFIX, dir=parent) as name:
        folder = Path(name)
        with folder_lock(folder, lambda: False):
            yield folder


def _remove_unless_used(folder: Path) -> None:
    try:
        if time.time() - folder.stat().st_mtime < YOUNG_SECONDS:
            return
        with folder_lock(folder, lambda: True) as unused:
            if unused:
                shutil.rmtree(folder)
    except OSError:
        return  # of another user, or gone meanwhile: it is in nobody's way
