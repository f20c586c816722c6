"""The Train screen: watch a run and steer it, whichever process does its work."""

from collections.abc import Callable
from pathlib import Path

from textual import work
from textual.app import ComposeResult
from textual.containers import Container, Horizontal, Vertical
from textual.widget import Widget
from textual.widgets import Static

from workbench.control import Command, CommandName
from workbench.errors import WorkbenchError
from workbench.language import mark, retell, tr
from workbench.narration import rate
from workbench.runs.reference import ReferenceStage, find_reference
from workbench.runs.store import RunDirectory
from workbench.tui.actions import bindings
from workbench.tui.bridge import JobRequest, WatchedRun
from workbench.tui.go_back import go_back
from workbench.tui.learning_rate import ask_rate
from workbench.tui.modals.confirm import ConfirmModal
from workbench.tui.modals.diagnosis import DiagnosisModal
from workbench.tui.run_state import RunState, StageState
from workbench.tui.screens.base import WorkbenchScreen
from workbench.tui.train_figures import PAGES, curves, model_figures, now, throughput
from workbench.tui.widgets.figures import Figures
from workbench.tui.widgets.finding_line import FindingLine
from workbench.tui.widgets.line_chart import LineChart
from workbench.tui.widgets.log_tail import LogTail
from workbench.tui.widgets.progress_line import ProgressLine
from workbench.tui.widgets.sample_pane import SamplePane
from workbench.tui.words import say

SMOOTHINGS = (0.0, 0.6, 0.9)
STEERING = frozenset({"stop", "checkpoint", "evaluate", "sample", "rate"})


class TrainScreen(WorkbenchScreen):
    """Curves, figures, samples and the log of one run, and the keys that steer it."""

    MODE = SCOPE = "train"
    ABOUT = mark(
        "Watch a run and steer it. Every wish is carried out between two steps, and the screen says what the engine "
        "confirmed: `pausing…` is a wish, `paused` is a fact."
    )
    BINDINGS = bindings("train")

    def __init__(self) -> None:
        super().__init__()
        self._run: WatchedRun | None = None
        self._stage_name: str | None = None
        self._status_drawn = ""
        self._reference_of: tuple[Path, str] | None = None
        self._reference: ReferenceStage | None = None

    def compose_panes(self) -> ComposeResult:
        """Progress, charts, figures, samples, log; or what to do where no run is shown."""
        yield (empty := Static(id="no-run"))
        say(empty, content="No run is shown.\n\nPress 1 to open one from Home, or n there to start one.")
        yield ProgressLine(id="progress")
        yield FindingLine(id="finding")
        with Horizontal(id="charts", classes="-page-loss"):
            yield LineChart(mark("loss"), id="loss")
            with Vertical(id="side"):
                yield LineChart(mark("learning rate"), id="rate")
                yield LineChart(mark("gradient norm"), id="norm")
                yield LineChart(mark("tokens/s"), id="speed")
        with Container(id="tiles"):
            yield Figures(mark("Now"), id="now")
            yield Figures(mark("Throughput"), id="throughput")
            yield Figures(mark("Model"), id="model")
            yield SamplePane(id="sample")
            yield LogTail(id="log")

    # --- drawing ----------------------------------------------------------------------------------------------------

    @property
    def run(self) -> WatchedRun | None:
        """The run that is shown."""
        return self.workbench.bridge.shown

    @property
    def state(self) -> RunState | None:
        """What is known of it."""
        return self.run.state if self.run is not None else None

    @property
    def stage(self) -> StageState | None:
        """The stage a person chose to look at, or else the one at work."""
        state = self.state
        if state is None:
            return None
        return state.stages.get(self._stage_name or "") or state.stage

    def show_numbers(self) -> None:
        """Draw everything but the curves."""
        if self.run is not self._run:
            self._run, self._stage_name = self.run, None
            self.action_reset_zoom()
        state, stage = self.state, self.stage
        self.set_class(state is None, "-empty")
        self.query_one(ProgressLine).show(state, stage)
        self.query_one(FindingLine).show(stage)
        self.query_one(LogTail).show(state)
        self.query_one(SamplePane).show(stage)
        if state is not None:
            self.query_one("#now", Figures).show(now(stage, state.device))
            pane = self.query_one("#throughput", Figures)
            pane.border_title = tr("Throughput") if state.live else tr("Throughput at the end")
            pane.show(throughput(stage, state.live, state.device))
            self.query_one("#model", Figures).show(model_figures(state, stage))
        drawn = f"{state.shown_status} {state.live}" if state is not None else ""
        if drawn != self._status_drawn:
            self._status_drawn = drawn
            self.refresh_bindings()

    def show_charts(self) -> None:
        """Draw the curves of the stage."""
        stage = self.stage
        for name, shown in curves(stage, self.reference).items():
            self.query_one(f"#{name}", LineChart).show(shown)

    @property
    def reference(self) -> ReferenceStage | None:
        """What is normal for the stage that is shown; looked up once."""
        state, stage = self.state, self.stage
        if state is None or state.directory is None or stage is None:
            return None
        key = (state.directory, stage.name)
        if key != self._reference_of:
            self._reference_of, self._reference = key, find_reference(RunDirectory(state.directory), stage.name)
        return self._reference

    # --- what is possible now ---------------------------------------------------------------------------------------

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Steering needs a run that is alive; pause and continue take turns on one key."""
        state = self.state
        live = state is not None and state.live
        waiting = state is not None and (state.status == "paused" or state.wish == "pausing")
        if action in STEERING:
            return True if live else None
        if action == "pause":
            return live and not waiting
        if action == "continue":
            return live and waiting
        if action == "resume_run":
            return state is not None and state.status in ("stopped", "failed", "interrupted")
        if action in ("diagnosis", "go_back"):
            return True if self.stage is not None else None
        if action == "next_chart":
            return self.has_class("-narrow")
        return True

    # --- steering ---------------------------------------------------------------------------------------------------

    def action_pause(self) -> None:
        """Ask the engine to wait."""
        self._steer(lambda run: run.pause())

    def action_continue(self) -> None:
        """Ask the engine to go on."""
        self._steer(lambda run: run.resume())

    @work
    async def action_stop(self) -> None:
        """Ask whether to end the run, and ask the engine for it."""
        state = self.state
        if state is None or not state.live:
            return
        detail = tr("It finishes the step and saves a checkpoint; r goes on from there.")
        if await self.workbench.push_screen_wait(
            ConfirmModal(tr("Stop {run}?", run=state.name), detail, yes=tr("Stop after this step"))
        ):
            self._steer(lambda run: run.stop())

    def action_checkpoint(self) -> None:
        """Ask for a checkpoint."""
        self._request("checkpoint", tr("A checkpoint is saved after this step."))

    def action_evaluate(self) -> None:
        """Ask for the validation loss."""
        self._request("evaluate", tr("The validation loss is measured after this step."))

    def action_sample(self) -> None:
        """Ask for samples."""
        self._request("sample", tr("The model continues the prompts after this step."))

    @work(exclusive=True, group="rate")
    async def action_rate(self) -> None:
        """Ask for another peak learning rate."""
        stage = self.stage
        if stage is None:
            return
        peak = await ask_rate(self, stage, stage.findings[-1:])
        if peak is not None:
            self._steer(lambda run: run.request(Command("learning_rate", peak)))
            self.notify(tr("The peak learning rate is {rate} from the next step on.", rate=rate(peak)), timeout=3)

    async def action_resume_run(self) -> None:
        """Go on with a run that ended early."""
        if self.state is not None and self.state.directory is not None:
            await self.workbench.start_job(JobRequest(resume=self.state.directory))

    def action_diagnosis(self) -> None:
        """What the engine finds wrong with the stage, and how its figures compare with what to expect."""
        if self.stage is not None:
            self.app.push_screen(DiagnosisModal(self.stage, self.reference), self._answer_diagnosis)

    def _answer_diagnosis(self, go_back: bool | None) -> None:
        if go_back:
            self.action_go_back()

    @work(exclusive=True, group="back")
    async def action_go_back(self) -> None:
        """Choose a checkpoint and a rate, stop the run where it is at work, and go on from there."""
        if self.state is not None and self.stage is not None:
            await go_back(self, self.state, self.stage)

    def _request(self, name: CommandName, answer: str) -> None:
        self._steer(lambda run: run.request(Command(name)))
        self.notify(answer, timeout=3)

    def _steer(self, wish: Callable[[WatchedRun], None]) -> None:
        if self.run is None:
            return
        try:
            wish(self.run)
        except (WorkbenchError, OSError) as error:
            self.workbench.show_error(tr("The run cannot be reached"), retell(str(error)))
        self.refresh_run()

    # --- looking ----------------------------------------------------------------------------------------------------

    def action_next_chart(self) -> None:
        """Turn the page of charts."""
        charts = self.query_one("#charts")
        page = next(index for index, name in enumerate(PAGES) if charts.has_class(f"-page-{name}"))
        charts.remove_class(f"-page-{PAGES[page]}")
        charts.add_class(f"-page-{PAGES[(page + 1) % len(PAGES)]}")

    def action_log_axis(self) -> None:
        """Logarithmic loss axis, or back."""
        chart = self.query_one("#loss", LineChart)
        chart.log_y = not chart.log_y

    def action_smoothing(self) -> None:
        """The next strength of smoothing."""
        for chart in self.query(LineChart):
            place = SMOOTHINGS.index(chart.smoothing)
            chart.smoothing = SMOOTHINGS[(place + 1) % len(SMOOTHINGS)]

    def action_zoom(self, factor: float) -> None:
        """Show more or fewer steps in every chart."""
        for chart in self.query(LineChart):
            chart.zoom(factor)

    def action_reset_zoom(self) -> None:
        """Show all steps."""
        for chart in self.query(LineChart):
            chart.window = None

    def action_pan(self, share: float) -> None:
        """Look at earlier or later steps; where a point is looked at, the one before or after it."""
        loss = self.query_one("#loss", LineChart)
        if loss.cursor is None:
            for chart in self.query(LineChart):
                chart.pan(share)
        else:
            self._point_at(loss.place_beside(1 if share > 0 else -1))

    def action_point(self) -> None:
        """Look at one step in every chart, the newest first; or no longer."""
        loss = self.query_one("#loss", LineChart)
        self._point_at(loss.place_beside(0) if loss.cursor is None else None)

    def _point_at(self, step: float | None) -> None:
        for chart in self.query(LineChart):
            chart.cursor = step

    def action_maximise(self) -> None:
        """Give the focused pane the screen, or take it back."""
        if self.maximized is not None:
            self.minimize()
        elif self.focused is not None:
            self.maximize(self.focused)

    def action_browse_samples(self, step: int) -> None:
        """An older or a newer sample."""
        self.query_one(SamplePane).browse(step)

    def action_browse_stages(self, step: int) -> None:
        """The stage before or after the one that is shown."""
        state, stage = self.state, self.stage
        if state is None or stage is None:
            return
        names = list(state.stages)
        place = max(0, min(len(names) - 1, names.index(stage.name) + step))
        self._point_at(None)
        self._stage_name = None if names[place] == state.stage_name else names[place]
        self.action_reset_zoom()
        self.show_numbers()
        self.show_charts()

    def action_copy(self) -> None:
        """Copy the figures of the focused pane, or else the sample."""
        pane: Widget | None = self.focused
        sample = self.query_one(SamplePane).current
        text = pane.plain if isinstance(pane, Figures) else f"{sample.prompt}{sample.text}" if sample else ""
        if text:
            self.app.copy_to_clipboard(text)
            self.notify(tr("Copied"), timeout=2)
