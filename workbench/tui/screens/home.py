"""The Home screen: the runs of the workspace, what is known of them, and this machine."""

import asyncio
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from textual import work
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.events import Resize
from textual.message import Message
from textual.widgets import Static

from workbench.errors import WorkbenchError
from workbench.language import mark, retell, tr
from workbench.runs.store import RunSummary, list_runs, list_trash
from workbench.tui.actions import bindings
from workbench.tui.bridge import JobRequest
from workbench.tui.device import DeviceMeter, Gauge
from workbench.tui.modals.start import StartModal
from workbench.tui.places import Place
from workbench.tui.run_chores import bring_back, delete_runs, export_run
from workbench.tui.run_details import RunDetails, describe, life_of, read_details
from workbench.tui.screens.base import WorkbenchScreen
from workbench.tui.widgets.figures import Figure, Figures
from workbench.tui.widgets.line_chart import LineChart
from workbench.tui.widgets.list_view import KeyList
from workbench.tui.widgets.run_table import RunTable
from workbench.tui.widgets.spark import levels
from workbench.tui.words import say

if TYPE_CHECKING:
    from workbench.config import Profile
    from workbench.profile import ProfileEntry

logger = logging.getLogger(__name__)

FIRST_PROFILE = "quickstart"
RELOAD_SECONDS = 2.0
METER_SECONDS = 1.0
LINES_FOR_CURVES = 42


class HomeScreen(WorkbenchScreen):
    """Runs, details, device."""

    MODE = SCOPE = "home"
    ABOUT = mark(
        "The runs of this workspace. A run is one whole life: every stage of a profile, from text to a model that "
        "talks. Open one to watch and steer it, also when another process is at work on it."
    )
    BINDINGS = bindings("home")

    def compose_panes(self) -> ComposeResult:
        """Runs and details above, how to begin and the machine below."""
        with Horizontal(id="upper"):
            yield RunTable(id="runs")
            with Vertical(id="run"):
                yield Figures(mark("Run"), id="details")
                yield LifeChart(mark("loss of all stages"), id="life")
        with Horizontal(id="lower"):
            with Vertical(id="start", classes="pane") as start:
                say(start, border_title="Start here")
                yield Static(id="profiles")
            yield Figures(mark("This machine"), id="device")
        yield Static(id="device-line", markup=False)

    def __init__(self) -> None:
        super().__init__()
        self.profiles: Sequence[ProfileEntry] = ()
        self.meter: DeviceMeter | None = None
        self._seen: tuple[str, float, str] | None = None
        self._details: RunDetails | None = None
        self._line = ""
        self._deleted: list[list[Path]] = []  # what was moved to the trash together

    def on_mount(self) -> None:
        """Begin to look at the workspace and the machine."""
        self._deleted = [[path] for path in list_trash(self.workbench.workspace)]
        self.query_one(KeyList).focus()
        self.reload()
        self._read_profiles()
        self.set_interval(RELOAD_SECONDS, self.reload)
        self.set_interval(METER_SECONDS, self._read_meter)

    def catch_up(self) -> None:
        """What other screens did shows at once."""
        super().catch_up()
        self.reload()

    def place(self) -> Place:
        """The run under the cursor."""
        return {"run": self.run.name} if self.run is not None else {}

    def return_to(self, place: Place) -> None:
        """Put the cursor there, once the runs are read."""
        self.query_one(RunTable).go_to(str(place["run"]))

    # --- looking ----------------------------------------------------------------------------------------------------

    def reload(self) -> None:
        """Look at the workspace again, unless nobody sees it."""
        if self.is_current and self.is_mounted:
            self._read_runs()

    @work(thread=True, exclusive=True, exit_on_error=False, group="runs")
    def _read_runs(self) -> None:
        self.post_message(RunsRead(list_runs(self.workbench.workspace)))

    def on_runs_read(self, message: "RunsRead") -> None:
        """Show the runs."""
        self.query_one(RunTable).show(message.runs)
        self.set_class(not message.runs, "-none")

    def on_resize(self, event: Resize) -> None:
        """Curves need lines."""
        self.set_class(event.size.height >= LINES_FOR_CURVES, "-high")

    @work(thread=True, exclusive=True, exit_on_error=False, group="profiles")
    def _read_profiles(self) -> None:
        from workbench.profile import list_profiles

        self.post_message(ProfilesRead(list_profiles()))

    def on_profiles_read(self, message: "ProfilesRead") -> None:
        """Say how to begin."""
        self.profiles = message.profiles
        self._say_how_to_begin()

    def _say_how_to_begin(self) -> None:
        first = next((profile for profile in self.profiles if profile.name == FIRST_PROFILE), None)
        measured = retell(first.measured) if first is not None and first.measured else tr("about five minutes")
        self.query_one(RunTable).say_when_empty(_welcome(measured))
        self.query_one("#profiles", Static).update(_ways_to_begin(self.profiles))

    def on_run_table_pointed(self, message: RunTable.Pointed) -> None:
        """Look closer at the run under the cursor."""
        run = message.run
        seen = (run.name, run.updated_at, run.label) if run is not None else None
        if seen != self._seen:
            self._seen = seen
            self.refresh_bindings()
            if run is not None:
                self._read_details(run)
        elif run is not None:
            self._show_details()  # time passes

    @work(thread=True, exclusive=True, exit_on_error=False, group="details")
    def _read_details(self, run: RunSummary) -> None:
        try:
            self.post_message(DetailsRead(read_details(run)))
        except OSError:
            logger.info("%s went away while it was read", run.path)

    def on_details_read(self, message: "DetailsRead") -> None:
        """Show what is known of the run."""
        self._details = message.details
        self._show_details()
        self.query_one(LifeChart).show(life_of(message.details))

    def _show_details(self) -> None:
        pane, details = self.query_one("#details", Figures), self._details
        if details is not None and self.run is not None and self.run.name == details.summary.name:
            pane.border_title = details.summary.name.replace("[", r"\[")
            pane.show(describe(details, pane.content_size.width, pane.content_size.height))

    def _read_meter(self) -> None:
        if not self.is_current:
            return
        if self.meter is None:
            self.meter = DeviceMeter(self.workbench.workspace)
        gauges = self.meter.read()
        pane = self.query_one("#device", Figures)
        pane.show([_gauge(gauge, pane.content_size.width) for gauge in gauges])
        line = self._failure() or f"{tr('machine')}   {_gauge_line(gauges)}"
        if line != self._line:
            self._line = line
            self.query_one("#device-line", Static).update(line)

    def _failure(self) -> str:
        """Why the run under the cursor failed, for a screen without room for its details."""
        run, details = self.run, self._details
        if run is None or details is None or run.name != details.summary.name or run.label != "failed":
            return ""
        return " ".join(f"✗ {retell(details.message)}".split()) if details.message else ""

    def speak_again(self) -> None:
        """Draw what was said of runs, profiles and the machine."""
        super().speak_again()
        self._say_how_to_begin()
        self._show_details()
        self.reload()
        self._read_meter()

    # --- acting -----------------------------------------------------------------------------------------------------

    @property
    def run(self) -> RunSummary | None:
        """The run under the cursor."""
        table = self.query_one_optional(RunTable)
        return table.current if table is not None else None

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Without a run there is nothing to open, chat with or delete."""
        run = self.run
        if action == "resume_run":
            return run is not None and not run.alive and run.label in ("stopped", "failed", "interrupted")
        if action in ("chat", "compare", "inspect", "delete_run", "copy", "filter", "mark", "export"):
            return True if run is not None or action == "filter" else None
        if action == "undo_delete":
            return bool(self._deleted)
        return True

    async def on_run_table_opened(self, message: RunTable.Opened) -> None:
        """A click on a run opens it."""
        await self.action_open_run()

    async def action_open_run(self) -> None:
        """Watch the run; in an empty workspace, start the first one."""
        if self.run is not None:
            await self.workbench.show_run(self.run.path)
        elif not self.query_one(RunTable).runs:
            self._start(FIRST_PROFILE)

    @work
    async def action_new_run(self) -> None:
        """Choose a profile, then start it or edit it."""
        choice = await self.workbench.push_screen_wait(StartModal(self.profiles))
        if choice is None:
            return
        if choice.then == "edit":
            await self.workbench.action_go("profile", choice.profile)
        else:
            self._start(choice.profile)

    @work(exit_on_error=False)
    async def _start(self, name: str) -> None:
        try:
            profile = await asyncio.to_thread(_read_profile, name)
        except WorkbenchError as error:
            self.workbench.show_error(tr("This profile cannot run"), retell(str(error)))
            return
        await self.workbench.start_job(JobRequest(profile=profile))

    async def action_tour(self) -> None:
        """Open the five-minute tour."""
        await self.workbench.tour.begin()

    async def action_resume_run(self) -> None:
        """Go on with a run that ended early."""
        if self.run is not None:
            await self.workbench.start_job(JobRequest(resume=self.run.path))

    async def action_chat(self) -> None:
        """Talk to the run's newest model."""
        if self.run is not None:
            await self.workbench.action_go("chat", self.run.path)

    async def action_compare(self) -> None:
        """Put the run beside others."""
        for run in self.query_one(RunTable).chosen:
            await self.workbench.action_go("compare", run.path)

    async def action_inspect(self) -> None:
        """Look into the run's newest model."""
        if self.run is not None:
            await self.workbench.action_go("inspect", self.run.path)

    def action_filter(self) -> None:
        """Filter by name."""
        self.query_one(RunTable).start_filter()

    async def action_outward(self) -> None:
        """Show all runs again, without marks; one at a time."""
        table = self.query_one(RunTable)
        if not table.end_marks():
            table.end_filter()

    def action_mark(self) -> None:
        """Mark the run under the cursor, for what is done to several."""
        self.query_one(RunTable).mark()

    @work(exclusive=True, group="export")
    async def action_export(self) -> None:
        """Write the run's newest model as a GGUF file."""
        if self.run is not None:
            await export_run(self, self.run)

    @work
    async def action_delete_run(self) -> None:
        """Move runs to the trash, after asking."""
        table = self.query_one(RunTable)
        deleted = await delete_runs(self, table.chosen)
        if deleted:
            self._deleted.append(deleted)
            table.end_marks()
            self._runs_changed()

    def action_undo_delete(self) -> None:
        """Bring what was deleted last back."""
        if self._deleted:
            bring_back(self, self._deleted.pop())
            self._runs_changed()

    def action_copy(self) -> None:
        """Copy the run's folder."""
        if self.run is not None:
            self.app.copy_to_clipboard(str(self.run.path.resolve()))
            self.notify(tr("Copied the run's folder"), timeout=2)

    def _runs_changed(self) -> None:
        self.reload()
        self.refresh_bindings()


class LifeChart(LineChart, can_focus=False):
    """The curves of a run, only to look at: Train has keys for them."""


class RunsRead(Message):
    """The workspace was looked at."""

    def __init__(self, runs: list[RunSummary]) -> None:
        super().__init__()
        self.runs = runs


class ProfilesRead(Message):
    """The profiles that come with the workbench were read."""

    def __init__(self, profiles: "list[ProfileEntry]") -> None:
        super().__init__()
        self.profiles = profiles


class DetailsRead(Message):
    """A run was looked at closely."""

    def __init__(self, details: RunDetails) -> None:
        super().__init__()
        self.details = details


def _read_profile(name: str) -> "Profile":
    from workbench.profile import read_profile

    return read_profile(name)


def _welcome(measured: str) -> Content:
    return Content.assemble(
        (f"{tr('No runs yet.')}\n\n", "bold"),
        ("t", "bold $accent"),
        f"       {tr('the five-minute tour: every step shown and explained')}\n",
        ("enter", "bold $accent"),
        f"   {tr('start {profile}: from text to a model that talks', profile=FIRST_PROFILE)}\n        {measured}\n",
        ("n", "bold $accent"),
        f"       {tr('start from another profile')}\n",
        ("?", "bold $accent"),
        f"       {tr('what this screen is, and its keys')}",
    )


def _ways_to_begin(profiles: "Sequence[ProfileEntry]") -> Content:
    """The first profiles with what they take, under the key that starts them; the machine is named once."""
    shown = profiles[:4]
    machines = {_parts(retell(profile.measured))[1] for profile in shown}
    lines = [Content.assemble(("t", "bold $accent"), f"  {tr('the five-minute tour')}")]
    lines.append(Content.assemble(("n", "bold $accent"), f"  {tr('a new run from a profile')}"))
    for profile in shown:
        measured = retell(profile.measured)
        words = _parts(measured)[0] if len(machines) == 1 else measured
        lines.append(Content.assemble(f"   {profile.name}", (f"  {words}", "$foreground 60%")))
    if len(machines) == 1 and (machine := machines.pop()):
        lines.append(Content.styled(f"   {tr('measured on a {machine}', machine=machine)}", "$foreground 60%"))
    lines.append(Content.assemble(("3", "bold $accent"), f"  {tr('write a profile of your own')}"))
    lines.append(Content.assemble(("2", "bold $accent"), f"  {tr('look at data as the model will see it')}"))
    return Content("\n").join(lines)


def _parts(measured: str) -> tuple[str, str]:
    """What was measured, and the machine in brackets behind it."""
    for left, right in ((" (", ")"), ("（", "）")):
        figures, bracket, machine = measured.rpartition(left)
        if bracket:
            return figures, machine.removesuffix(right)
    return measured, ""


def _gauge(gauge: Gauge, width: int) -> Figure:
    cells = max(4, min(16, width - 34))  # beside name, value and what there is in all
    return Figure(gauge.title, gauge.value, levels(list(gauge.shares), cells).rjust(cells), note=gauge.capacity)


def _gauge_line(gauges: Sequence[Gauge]) -> str:
    return "   ".join(f"{gauge.title} {gauge.value}" for gauge in gauges)
