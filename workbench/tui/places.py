"""Where somebody left the screens, kept by workspace in the state folder, and the way back at the next start."""

import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.atomic import write_atomically
from workbench.locations import state_folder
from workbench.tui.actions import MODES

if TYPE_CHECKING:
    from workbench.tui.app import WorkbenchApp

logger = logging.getLogger(__name__)

VERSION = 1
WORKSPACES_KEPT = 50  # the latest stand last
Place = dict[str, Any]
"""What one screen needs to return to where it was: plain values by name."""


class Places:
    """What was written down for one workspace; a file that is damaged or of another version counts as none."""

    def __init__(self, app: "WorkbenchApp") -> None:
        self._app = app
        found = _read(_path()).get(self._key)
        self._here: Place = found if isinstance(found, dict) else {}

    @property
    def _key(self) -> str:
        return str(self._app.workspace.absolute())

    def of(self, mode: str) -> Place:
        """What a screen wrote down; empty where it did not."""
        screens = self._here.get("screens")
        found = screens.get(mode) if isinstance(screens, dict) else None
        return found if isinstance(found, dict) else {}

    async def return_to_screen(self) -> None:
        """Show the run and the screen that were shown last, unless somebody went elsewhere already."""
        run, mode = self._here.get("run"), self._here.get("mode")
        if isinstance(run, str) and (Path(run) / "profile.toml").is_file() and self._app.bridge.shown is None:
            self._app.bridge.show(Path(run))
        if isinstance(mode, str) and mode in MODES and self._app.current.MODE == self._app.DEFAULT_MODE:
            await self._app.action_go(mode)

    def write_down(self) -> None:
        """Keep where every screen that was opened is now; of the others, what was kept before."""
        app = self._app
        if not app.screen_stack:
            return
        shown = app.bridge.shown
        directory = shown.state.directory if shown is not None else None
        screens = {mode: self.of(mode) for mode in MODES if self.of(mode)}
        try:
            screens |= {screen.MODE: screen.place() for screen in app.opened_screens()}
        except Exception:  # a screen that is half torn down must not keep the program from ending
            logger.exception("where the screens are could not be found out")
            return
        self._here = {"mode": app.current.MODE, "screens": screens}
        if directory is not None:
            self._here["run"] = str(directory.absolute())
        self._write()

    def forget(self) -> None:
        """A screen broke: the next start begins on Home, so that it does not break there again."""
        self._here = {}
        self._write()

    def _write(self) -> None:
        others = _read(_path())  # another workbench may have written there meanwhile
        others.pop(self._key, None)
        kept = dict([*others.items(), (self._key, self._here)][-WORKSPACES_KEPT:])
        try:
            _path().parent.mkdir(parents=True, exist_ok=True)
            write_atomically(_path(), json.dumps({"version": VERSION, "workspaces": kept}, ensure_ascii=False))
        except (OSError, ValueError) as error:
            logger.info("where the screens are was not written down: %s", error)


def _path() -> Path:
    return state_folder() / "screens.json"


def _read(path: Path) -> Place:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(found, dict) or found.get("version") != VERSION:
        return {}
    workspaces = found.get("workspaces")
    return workspaces if isinstance(workspaces, dict) else {}
