"""The workbench in the terminal: modes, the one timer that drains the engine's events, starting and leaving."""

import asyncio
import contextlib
import importlib
import logging
import os
import signal
import sys
from functools import partial
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any, ClassVar, cast

import tomli
from textual import work
from textual.binding import Binding, BindingType
from textual.driver import Driver
from textual.screen import Screen

from workbench.errors import WorkbenchError
from workbench.language import retell, tr
from workbench.locations import config_folder
from workbench.preferences import preference
from workbench.tui.actions import MODES, Action, bindings, keymap_problems
from workbench.tui.bridge import Bridge, JobRequest, JobRun, MakeJob, freeze_garbage, make_job
from workbench.tui.handover import part_from
from workbench.tui.language_choice import ask_language
from workbench.tui.learning import lesson_here
from workbench.tui.modals.confirm import ConfirmModal
from workbench.tui.modals.error import ErrorModal
from workbench.tui.modals.help import HelpModal, help_of_pane
from workbench.tui.modals.jump import JumpModal, targets_of
from workbench.tui.modals.learn import LearnModal
from workbench.tui.modals.log import LogModal
from workbench.tui.modals.quit import QuitModal
from workbench.tui.palette import ActionProvider
from workbench.tui.places import Places
from workbench.tui.screens.base import Subject, WorkbenchScreen
from workbench.tui.spoken_app import SpokenApp
from workbench.tui.style_sheets import LastingStylesheet
from workbench.tui.terminal import (
    LeaveSignals,
    lasting_driver,
    let_alt_digits_be_keys,
    open_log,
    own_the_tty,
    refuse_dumb_terminals,
)
from workbench.tui.themes import THEMES
from workbench.tui.tour import TOUR_PROFILE, TourGuide

logger = logging.getLogger(__name__)

SCREENS = "workbench.tui.screens."
DRAIN_SECONDS = 0.25
TICKS_BY_CHART = 4  # a picture of curves takes as long to draw as all the figures
TICKS_BY_LOOK = 20  # a screen is drawn this often even while nothing is heard, to say that nothing is
STOP_DEADLINE_SECONDS = 60.0
HUNG_UP = 129  # 128 and the number of SIGHUP
TERMINATED = 128 + signal.SIGTERM


def load_screen(mode: str) -> WorkbenchScreen:
    """The screen of a mode: class `TrainScreen` of `screens/train.py` for `train`; imported when first needed."""
    return cast(WorkbenchScreen, getattr(importlib.import_module(SCREENS + mode), f"{mode.capitalize()}Screen")())


class WorkbenchApp(SpokenApp[int]):
    """The terminal front end over one workspace.

    Args:
        workspace: the folder of runs.
        make: makes the job of a request; tests bring jobs that do no work.
        log: the file that errors point to.
        driver: how it reads and writes the terminal; Textual's choice where None.
        tour_profile: what the tour runs, by name or path.

    `farewell` is what to tell the person once the terminal is theirs again; `patience_seconds` how long to wait for
    our job then.
    """

    TITLE = "llm-workbench"
    CSS_PATH: ClassVar = ["workbench.tcss", *(f"screens/{mode}.tcss" for mode in MODES)]
    ENABLE_COMMAND_PALETTE = True
    COMMANDS = {ActionProvider}
    BINDINGS: ClassVar[list[BindingType]] = [
        *bindings("app"),
        Binding("ctrl+c", "help_quit", show=False, system=True),
    ]
    MODES = {mode: partial(load_screen, mode) for mode in MODES}
    DEFAULT_MODE = "home"
    HORIZONTAL_BREAKPOINTS = [(0, "-slim"), (60, "-narrow"), (100, "-wide"), (150, "-vast")]  # one at a time
    VERTICAL_BREAKPOINTS = [(0, "-low"), (18, "-short"), (30, "-tall")]

    def __init__(
        self,
        workspace: Path,
        make: MakeJob = make_job,
        log: Path | None = None,
        driver: type[Driver] | None = None,
        tour_profile: str = TOUR_PROFILE,
    ) -> None:
        super().__init__(driver_class=driver)
        self._choose_colours()
        self.workspace = workspace
        self.tour = TourGuide(self, tour_profile)
        self.bridge = Bridge(workspace, make)
        self.places = Places(self)
        self.log_path = log
        self.keymap: dict[str, str] = {}
        self._ticks = 0
        self._charts_due = False
        self._end_told: JobRun | None = None
        self._loop_here: asyncio.AbstractEventLoop | None = None
        self._leaving: int | None = None
        self._handing_over = False
        self._hung_up = False
        self._question: QuitModal | None = None
        self._terminated = False
        self.farewell = ""
        self.broken = False
        self.patience_seconds = STOP_DEADLINE_SECONDS

    def on_mount(self) -> None:
        """Begin: keys, the timer."""
        self._loop_here = asyncio.get_running_loop()
        self._read_keymap(config_folder() / "config.toml")
        self.set_interval(DRAIN_SECONDS, self._tick)
        self.call_after_refresh(self._load_ahead)
        self.watch(self, "theme", self.remember_theme, init=False)
        if self.tour.wanted:
            self.call_after_refresh(self.action_tour_begin)
        else:
            self.call_after_refresh(self.places.return_to_screen)

    @work(thread=True, group="loading")
    def _load_ahead(self) -> None:
        """Bring in the code of the other screens while a person looks at the first one."""
        for mode in MODES:
            importlib.import_module(SCREENS + mode)
        freeze_garbage()

    def _choose_colours(self) -> None:
        """Before anything is drawn: when colours change later, every style sheet is read again."""
        for theme in THEMES:
            self.register_theme(theme)
        wanted = os.environ.get("TEXTUAL_THEME") or preference("theme") or ""
        self.theme = wanted if wanted in self.available_themes else THEMES[0].name
        self.stylesheet = LastingStylesheet(variables=self.get_css_variables())

    # --- what screens use -------------------------------------------------------------------------------------------

    @property
    def current(self) -> WorkbenchScreen:
        """The screen of the current mode, below any modal."""
        return cast(WorkbenchScreen, self.screen_stack[0])

    async def action_go(self, mode: str, subject: Subject | None = None) -> None:
        """Switch to a mode, and hand its screen a subject."""
        if len(self.screen_stack) > 1:
            return
        opened_first = mode not in self._screen_stacks
        await self.switch_mode(mode)
        if opened_first:
            self.call_after_refresh(freeze_garbage)
        if subject is not None:
            self.current.receive(subject)

    def delay_update(self, delay: float = 0.005) -> None:
        """Draw another screen in one piece; Textual would wait for a twentieth of a second more."""
        super().delay_update(delay)

    async def start_job(self, request: JobRequest) -> None:
        """Begin a job on its own thread and show it; a job already at work is told to the person instead."""
        try:
            self.bridge.start(request)
        except WorkbenchError as error:
            self.show_error(tr("Cannot start"), retell(str(error)))
            return
        self.farewell = ""
        await self.action_go("train")

    async def show_run(self, directory: Path) -> None:
        """Show a run on the Train screen, whichever process does it."""
        self.bridge.show(directory)
        await self.action_go("train")

    def show_error(self, title: str, message: str, log: Path | str | None = None) -> None:
        """Show an error that a toast is too small for; `log` is where more of it was written, if it was."""
        self.push_screen(ErrorModal(title, message, log))

    def can_run(self, action: Action, screen: Screen) -> bool:
        """Whether `action` is possible now."""
        name = action.run.removeprefix("app.").removeprefix("screen.").partition("(")[0]
        target = self if action.run.startswith("app.") else screen
        return target.check_action(name, ()) is True

    # --- the timer --------------------------------------------------------------------------------------------------

    def _tick(self) -> None:
        """Take in what the engines announced; numbers are drawn now, curves once a second."""
        if not self.screen_stack:
            return  # the first screen is not there yet, or the last one is gone already
        self._ticks += 1
        changed = self.bridge.drain()
        self._charts_due = self._charts_due or changed
        if changed or self._ticks % TICKS_BY_LOOK == 0:
            self.current.refresh_run()
        if changed:
            self._tell_end()
        if self._charts_due and self._ticks % TICKS_BY_CHART == 0:
            self._charts_due = False
            self.current.refresh_charts()
        if not self.bridge.busy:
            self._end_questions()
        driver: Any = self._driver
        if getattr(driver, "gone", False):
            driver.end_input()
            self.hang_up()  # the signal may have been meant for somebody else
        if self._leaving is not None and not self.bridge.busy:
            self._leave(self._leaving)

    def _tell_end(self) -> None:
        """Tell once that our own job is done, or why it failed."""
        run = self.bridge.active
        if run is None or run is self._end_told or run.state.status not in ("done", "failed"):
            return
        self._end_told = run
        if run.state.status == "done":
            self.notify(tr("{run} is done", run=run.state.name), title=tr("Run"), markup=False)
            return
        crashed = not isinstance(run.error, WorkbenchError | None)
        name = run.state.name
        what = tr("{run} crashed", run=name) if crashed else tr("{run} failed", run=name)
        reason = retell(run.state.failure)
        self.farewell = tr("{event}: {reason}", event=what, reason=reason)
        log = run.state.failure_log or (self.log_path if crashed else None)
        self.show_error(what, reason or tr("no reason was given"), log)

    # --- leaving ----------------------------------------------------------------------------------------------------

    @work
    async def action_quit(self) -> None:  # type: ignore[override]
        """Leave; with work going or unsaved, ask first."""
        if any(isinstance(screen, ConfirmModal | QuitModal) for screen in self.screen_stack):
            return
        if self._leaving is not None:
            self.notify(tr("Finishing the step and saving; then the workbench closes."))
            return
        unsaved = [text for screen in self.opened_screens() if (text := screen.unsaved())]
        if unsaved and not await self.push_screen_wait(
            ConfirmModal(tr("Leave without saving?"), "\n".join(unsaved), yes=tr("Leave"), no=tr("Stay"))
        ):
            return
        if not self.bridge.busy:
            self._leave(0)
            return
        name = self.bridge.active.state.name if self.bridge.active else ""
        self._question = QuitModal(name)
        answer = await self.push_screen_wait(self._question)
        self._question = None
        if answer is not None:
            self.leave_after_step(0, hand_over=answer == "background")

    def heed(self, number: int) -> None:
        """A signal came; called by its handler, in the midst of anything."""
        loop = self._loop_here
        if loop is None:
            raise SystemExit(128 + number)
        with contextlib.suppress(RuntimeError):  # the loop has ended: we are leaving already
            hangs_up = number == getattr(signal, "SIGHUP", None)  # Windows has none
            loop.call_soon_threadsafe(self.hang_up if hangs_up else partial(self.terminate, 128 + number))

    def hang_up(self) -> None:
        """The terminal is gone: a process without one goes on with our run. Being told again changes nothing.

        A paused run is only saved: it waits to be taken up by somebody anyway.
        """
        if self._hung_up:
            return
        self._hung_up = True
        if self._leaving is None:
            run = self.bridge.active
            waits = run is not None and "paus" in run.state.shown_status
            self.leave_after_step(HUNG_UP, hand_over=not waits)

    def terminate(self, code: int = TERMINATED) -> None:
        """Somebody wants the program to end: our run is stopped and saved; told again, it ends at once."""
        if self._terminated:
            self.patience_seconds = 0.0
            self._leave(code)
            return
        self._terminated = True
        self.leave_after_step(code)

    def leave_after_step(self, code: int, *, hand_over: bool = False) -> None:
        """Let our job finish its step and save, then leave with `code`; with `hand_over` another process goes on."""
        run = self.bridge.active
        if not self.bridge.busy or run is None:
            self._handing_over = False  # a job that an earlier wish has just stopped follows the later one
            self._leave(code)
            return
        run.stop()
        self._leaving, self._handing_over = code, hand_over
        self.notify(tr("Finishing the step and saving…"), timeout=30)

    def _leave(self, code: int) -> None:
        run = self.bridge.active
        if self._leaving is not None and run is not None and run.finished:
            self.bridge.drain()
            if run.state.status == "stopped":
                self.farewell = self.say_goodbye(run.state.directory or self.workspace)
        self._leaving = None
        self.places.write_down()
        self.exit(code, return_code=code)

    def say_goodbye(self, directory: Path) -> str:
        """Let another process go on with the run of `directory` if that is wanted; what to tell the person."""
        return part_from(directory, hand_on=self._handing_over)

    def _end_questions(self) -> None:
        """The run ended by itself while somebody was asked what to do with it: nothing is to be decided any more."""
        if self._question is not None and self._question.is_current:
            self._question.dismiss(None)

    def _handle_exception(self, error: Exception) -> None:
        """A screen broke, which ends the program: told when the terminal is the person's again."""
        logger.error("a screen broke", exc_info=error)
        if self._exit:
            return  # a key that came when the screens were gone already
        what = tr("unexpected {kind}: {error}", kind=type(error).__name__, error=error)
        self.farewell = f"llm-workbench: {what}{tr('; the traceback is in {path}', path=self.log_path)}"
        self.broken = True
        self.places.forget()
        super()._handle_exception(error)

    def opened_screens(self) -> list[WorkbenchScreen]:
        """The screens that were shown so far, below any modal."""
        stacks = self._screen_stacks.values()
        return [stack[0] for stack in stacks if stack and isinstance(stack[0], WorkbenchScreen)]

    # --- actions of every screen ------------------------------------------------------------------------------------

    def action_help(self) -> None:
        """Explain the current screen."""
        screen = self.current
        pane = help_of_pane(screen.focused)
        self.push_screen(HelpModal(tr(MODES[screen.MODE]), tr(screen.ABOUT), [screen.SCOPE], self.keymap, pane))

    async def action_tour_begin(self) -> None:
        """Open the tour where it was left."""
        await self.tour.begin()

    async def action_tour_next(self) -> None:
        """The next step of the tour."""
        await self.tour.move(1)

    async def action_tour_back(self) -> None:
        """The step before."""
        await self.tour.move(-1)

    def action_tour_leave(self) -> None:
        """Close the tour."""
        self.tour.leave()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """The tour's keys work while it is open."""
        if action in ("tour_next", "tour_back", "tour_leave"):
            return self.tour.open
        return super().check_action(action, parameters)

    def action_learn(self) -> None:
        """Explain what has the focus, or the box over the screen."""
        if not isinstance(self.screen, LearnModal):
            self.push_screen(LearnModal(lesson_here(self.current, getattr(self.screen, "topics", ()))))

    def action_log_drawer(self) -> None:
        """The full log of the run that is shown."""
        if self.bridge.shown is None:
            self.notify(tr("No run is shown; open one from Home."))
        else:
            self.push_screen(LogModal(self.bridge.shown.state))

    @work
    async def action_jump(self) -> None:
        """Let a letter choose the pane that gets the keys."""
        screen = self.screen
        if isinstance(screen, WorkbenchScreen):
            chosen = await self.push_screen_wait(JumpModal(targets_of(screen)))
            if chosen is not None and chosen.is_attached:
                screen.set_focus(chosen)

    @work
    async def action_change_language(self) -> None:
        """Choose the language of the screens."""
        await ask_language(self)

    def _read_keymap(self, path: Path) -> None:
        """Use the keys of the user's configuration; what is wrong with them is told by name."""
        if not path.is_file():
            return
        try:
            table = tomli.loads(path.read_text(encoding="utf-8")).get("keymap", {})
        except (tomli.TOMLDecodeError, UnicodeDecodeError) as error:
            self.notify(f"{path}: {error}", severity="error", markup=False)
            return
        keymap = {name: keys for name, keys in table.items() if isinstance(keys, str)}
        for problem in keymap_problems(keymap):
            self.notify(problem, severity="warning", markup=False)
        self.keymap = keymap
        self.set_keymap(keymap)


def run_app(workspace: Path, tour: bool = False, *, ascii_signs: bool = False) -> int:
    """Run the workbench on this terminal until the person leaves; returns the exit code.

    Args:
        tour: begin with the five-minute tour.
        ascii_signs: draw with ASCII alone.
    Raises:
        UsageError: this terminal cannot show it.
    """
    refuse_dumb_terminals()
    resource_tracker.ensure_running()  # spawning processes fails inside a Textual app that was not prepared so
    let_alt_digits_be_keys()
    log, driver = open_log(), None
    if os.name == "posix":
        own_the_tty(log)
        driver = lasting_driver()
    app = WorkbenchApp(workspace, log=log, driver=driver)
    app.tour.wanted = tour
    if ascii_signs:
        app.draw_in_ascii()
    with LeaveSignals(app.heed):
        app.run()
    code = app.return_code or 0
    if not app.bridge.close(app.patience_seconds):
        # A thread inside torch at the interpreter's end aborts the process; the terminal is restored by now.
        logger.error("the job did not stop in time")
        os._exit(code or 1)
    if app.broken and (run := app.bridge.active) is not None and run.drain() and run.state.status == "stopped":
        app.farewell += f"\n{app.say_goodbye(run.state.directory or workspace)}"
    if app.farewell and sys.__stderr__ is not None:
        sys.__stderr__.write(f"{app.farewell}\n")
        sys.__stderr__.flush()
    return code
