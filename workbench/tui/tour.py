"""The guide of the five-minute tour: goes from step to step, brings each one's screen up, and keeps its words fresh."""

import asyncio
import logging
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textual.css.query import NoMatches

from workbench.bundled import find_data
from workbench.errors import WorkbenchError
from workbench.language import language, tr
from workbench.learn.tour import TourStep, figures_of_loss, filled, leave_at, left_at, tour_steps
from workbench.narration import duration, figure, rate
from workbench.tui.run_state import RunState
from workbench.tui.widgets.tour_pane import TourPane

if TYPE_CHECKING:
    from workbench.config import Profile
    from workbench.tui.app import WorkbenchApp

logger = logging.getLogger(__name__)

TOUR_PROFILE = "quickstart"
OF_A_RUN = ("tokenizer", "step", "second")  # what steps wait for once a run has begun


class TourGuide:
    """Leads through the steps.

    Args:
        profile: the profile that is run on the way, by name or path.

    `wanted` says whether the app begins with it.
    """

    def __init__(self, app: "WorkbenchApp", profile: str = TOUR_PROFILE) -> None:
        self.app, self.profile_name = app, profile
        self.profile: Profile | None = None
        self.open = False
        self.place = 0
        self.wanted = False
        self._tokenizer_told: Path | None = None  # the run whose tokenizer the Data screen was sent to look for

    @property
    def step(self) -> TourStep:
        """The step that is shown."""
        return tour_steps()[self.place]

    async def begin(self) -> None:
        """Open the tour where it was left."""
        self.open, self.place = True, left_at()
        await self._enter()

    async def move(self, by: int) -> None:
        """The next step, or the one before; behind the last the tour is over."""
        if self.place + by >= len(tour_steps()):
            self.leave()
            return
        self.place = max(0, self.place + by)
        await self._enter()

    def leave(self) -> None:
        """Close the tour; it goes on from this step when it is opened again."""
        self.open = False
        self._remember()
        self.refresh()
        if self.place < len(tour_steps()) - 1:
            self.app.notify(tr("t on Home goes on with the tour."), timeout=4)

    def refresh(self) -> None:
        """Draw the step on the screen that is shown, with the figures of now."""
        with suppress(NoMatches):  # a screen that is being built or torn down
            pane = self.app.current.query_one(TourPane)
            if not self.open:
                pane.close()
                return
            step, spoken = self.step, language()
            text = filled(step.told(self._is_there(step.waits)).of(spoken), self._figures())
            pane.show(step.title.of(spoken), text, self.place + 1, len(tour_steps()))

    def _is_there(self, wanted: str) -> bool:
        """Whether what a step waits for has come."""
        run = self.app.bridge.active or self.app.bridge.shown
        match wanted:
            case "run":
                return run is not None
            case "tokenizer":
                return self._tokenizer_shown()
            case "step":
                return run is not None and run.state.stage is not None and run.state.stage.latest is not None
            case "second":
                return run is not None and (not run.state.live or len(run.state.stages) > 1)
        return True

    def _tokenizer_shown(self) -> bool:
        """Whether the Data screen has a tokenizer; where the run has learnt one by now, the screen is told."""
        screen: Any = self.app.current
        if screen.MODE != "data" or screen.tokenizer is not None:
            return True
        run = self._run_directory()
        if run is not None and run != self._tokenizer_told and (run / "tokenizer" / "tokenizer.json").is_file():
            self._tokenizer_told = run
            screen.action_rescan()
        return False

    async def _enter(self) -> None:
        self._remember()
        await self._read_profile()
        await self._bring_up(self.step)
        self.app.refresh_bindings()
        self.refresh()

    def _remember(self) -> None:
        try:
            leave_at(self.place)
        except OSError:
            logger.warning("the place in the tour could not be written down", exc_info=True)

    async def _read_profile(self) -> None:
        if self.profile is None:
            from workbench.profile import read_profile

            try:
                self.profile = await asyncio.to_thread(read_profile, self.profile_name)
            except WorkbenchError as error:
                logger.warning("the tour goes without its profile: %s", error)

    async def _bring_up(self, step: TourStep) -> None:
        """Go to the step's screen, with what it is about."""
        subject: Path | str | None = None
        run = self._run_directory()
        match step.name:
            case "data" | "tokens":
                subject = self._data(0)
            case "mask":
                subject = self._data(-1)
            case "sizes" | "start":
                subject = self.profile_name if self.app.current.MODE != "profile" else None
            case "inside" | "talk":
                subject = run
        if self.app.bridge.shown is None and run is not None and (step.screen == "train" or step.waits in OF_A_RUN):
            self.app.bridge.show(run)  # of an earlier start, which another process may be at work on
        await self.app.action_go(step.screen, subject)
        screen: Any = self.app.current
        if step.name in ("tokens", "mask") and screen.MODE == "data" and screen.tokenizer is None:
            screen.action_rescan()
        if step.name == "sizes" and screen.MODE == "profile":
            screen.lead_to = "model"  # in what it opens now

    def _data(self, stage: int) -> Path | None:
        """The first file that a stage reads."""
        if self.profile is None:
            return None
        try:
            return find_data(self.profile.stage[stage].data_files[0], [Path.cwd()])[0]
        except WorkbenchError:
            return None

    def _run_directory(self) -> Path | None:
        """The run that is shown, or else the one that the profile makes; None where there is none."""
        run = self.app.bridge.active or self.app.bridge.shown
        if run is not None and run.state.directory is not None:
            return run.state.directory
        name = self.profile.run.name if self.profile is not None else None
        made = self.app.workspace / name if name else None
        return made if made is not None and made.is_dir() else None

    def _figures(self) -> dict[str, Any]:
        run = self.app.bridge.active or self.app.bridge.shown
        figures: dict[str, Any] = {}
        if self.profile is not None:
            figures |= self.profile.model.model_dump()
            figures["vocab_size"] = self.profile.tokenizer.vocab_size
        return {**figures, **(_run_figures(run.state) if run is not None else {})}


def _run_figures(state: RunState) -> dict[str, Any]:
    stage = state.stage
    if stage is None:
        return {}
    first = next((point[1] for line in stage.train_loss.lines() for point in line), None)
    latest = stage.latest
    loss = latest.loss if latest is not None else None
    figures = {
        "stage": stage.name,
        "step": stage.step,
        "steps": stage.steps or None,
        "first_loss": figure(first, 2) if first is not None else None,
        "loss": figure(loss, 2) if loss is not None else None,
        "val_loss": figure(stage.val_loss.last, 2) if stage.val_loss else None,
        "learning_rate": rate(latest.learning_rate) if latest is not None else None,
        "eta": duration(latest.eta_seconds) if latest is not None else None,
        **({"vocab_size": stage.vocab_size} if stage.vocab_size else {}),
    }
    return {**figures, **figures_of_loss(stage.vocab_size, loss)}
