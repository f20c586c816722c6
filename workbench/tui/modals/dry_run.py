"""A dry run of a profile: a few real steps of every stage, and what the whole takes by them."""

import logging
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text
from textual import work
from textual.app import ComposeResult
from textual.containers import Vertical, VerticalScroll
from textual.widgets import Static
from textual.worker import get_current_worker

from workbench import events
from workbench.config import Profile
from workbench.dry_run import Trial, dry_run
from workbench.errors import WorkbenchError
from workbench.estimate import Estimate
from workbench.language import retell, tr
from workbench.narration import count, duration, size
from workbench.tui.modals.base import WorkbenchModal
from workbench.tui.profile_examination import Examination

if TYPE_CHECKING:
    from workbench.tui.screens.base import WorkbenchScreen

logger = logging.getLogger(__name__)


def measure(screen: "WorkbenchScreen", found: Examination | None) -> None:
    """Open the dry run of a profile that was found to be sound; say what to do about another."""
    if found is None or found.profile is None or found.estimate is None:
        screen.notify(tr("Put right what is listed under Checks first."), severity="warning")
    else:
        screen.app.push_screen(DryRunModal(found.profile, found.estimate))


class DryRunModal(WorkbenchModal[None]):
    """Runs it, tells what it is at, and shows what was measured; closing stops it.

    Args:
        estimate: of the profile; says how long its stages are.
    """

    topics = ("tokens_per_second", "step_time", "memory_estimate", "time_estimate", "stage.micro_batch_size")

    def __init__(self, profile: Profile, estimate: Estimate) -> None:
        super().__init__()
        self.profile = profile
        self.lengths = {stage.stage: stage.steps for stage in estimate.stages}

    def compose(self) -> ComposeResult:
        """What it is at, then what it measured."""
        with Vertical(classes="box -dry-run") as box:
            box.border_title = tr("A few real steps of every stage")
            box.border_subtitle = tr("esc stop")
            with VerticalScroll():
                yield Static(tr("Reading the data, training the tokenizer…"), id="told", markup=False)

    def on_mount(self) -> None:
        """Begin."""
        self._run()

    @work(thread=True, exit_on_error=False)
    def _run(self) -> None:
        worker = get_current_worker()

        def stopped() -> bool:
            return worker.is_cancelled

        def heard(event: events.Event) -> None:
            if isinstance(event, events.StageStarted) and not stopped():
                self.app.call_from_thread(self._tell, tr("Training {stage} for a few steps…", stage=event.stage))

        try:
            trial = dry_run(self.profile, self.lengths, heard, stopped)
        except WorkbenchError as error:
            told: str | Table = retell(str(error))
        except Exception as error:  # no room for it, say
            logger.exception("the dry run failed")
            told = f"{type(error).__name__}: {error}"
        else:
            told = _table(trial) if trial is not None else ""
        if not stopped():
            self.app.call_from_thread(self._end, told)

    def _tell(self, words: str) -> None:
        if self.is_attached:
            self.query_one("#told", Static).update(Text(words))

    def _end(self, told: str | Table) -> None:
        if self.is_attached:
            self.query_one(".box").border_subtitle = tr("esc close")
            self.query_one("#told", Static).update(Text(told) if isinstance(told, str) else told)


def _table(trial: Trial) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    for heading in ("stage", "steps", "a step", "tok/s", "memory", "time"):
        table.add_column(justify="left" if heading == "stage" else "right")
    headings = (tr("stage"), tr("steps"), tr("a step"), tr("tok/s"), tr("memory"), tr("time"))
    table.add_row(*(Text(heading, style="dim") for heading in headings))
    for stage in trial.stages:
        table.add_row(
            Text(stage.stage),
            "-" if stage.steps is None else f"{stage.steps:,}",
            f"{1000 * stage.step_seconds:,.0f} ms",
            count(stage.tokens_per_second),
            size(stage.memory_bytes),
            "-" if stage.seconds is None else duration(stage.seconds),
        )
    table.add_row()
    whole = "-" if trial.seconds is None else duration(trial.seconds)
    table.add_row(Text(tr("all of it"), style="bold"), "", "", "", size(trial.memory_bytes), Text(whole, style="bold"))
    table.add_row(Text(f"{trial.device} {trial.precision}", style="dim"))
    return table
