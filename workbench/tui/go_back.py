"""Going back to an earlier checkpoint from the Train screen: choose it and a rate, stop the run, go on from there."""

import asyncio
import time
from pathlib import Path
from typing import TYPE_CHECKING

from textual.content import Content

from workbench.errors import WorkbenchError
from workbench.language import retell, tr
from workbench.narration import figure, rate
from workbench.runs.liveness import is_alive
from workbench.runs.metrics import read_metrics
from workbench.runs.rollback import last_good_checkpoint
from workbench.runs.store import Checkpoint, RunDirectory, StageDirectory
from workbench.tui.bridge import JobRequest
from workbench.tui.learning_rate import ask_rate
from workbench.tui.modals.choice import ChoiceModal
from workbench.tui.modals.confirm import ConfirmModal
from workbench.tui.run_state import RunState, StageState

if TYPE_CHECKING:
    from workbench.tui.screens.base import WorkbenchScreen

PATIENCE_SECONDS = 120.0  # for the step at work and its checkpoint


async def go_back(screen: "WorkbenchScreen", state: RunState, stage: StageState) -> None:
    """Ask which checkpoint and which rate, then do it; nothing changes before the last question is answered."""
    app = screen.workbench
    if state.directory is None:
        return
    files = RunDirectory(state.directory).stage(stage.name)
    kept, losses = await asyncio.to_thread(_look, files)
    if not kept:
        screen.notify(tr("No checkpoint of this stage is kept."), severity="warning")
        return
    newest = [finding for finding in stage.findings if finding.since >= 0][-1:]
    good = last_good_checkpoint(files, newest[0].since) if newest else None
    steps = [checkpoint.step for checkpoint in kept]
    best = min((losses[step] for step in steps if step in losses), default=None)
    lines = [_line(step, losses.get(step), best, good) for step in steps]
    at = steps.index(good) if good in steps else len(steps) - 1 if newest else 0
    choice = await app.push_screen_wait(ChoiceModal(tr("Go back in {stage} to", stage=stage.name), lines, at))
    if choice is None:
        return
    step = steps[choice]
    peak = await ask_rate(screen, stage, newest)
    if peak is None:
        return
    detail = tr(
        "What came after step {step:,}, later stages too, is set aside in the run's folder (.earlier); "
        "training goes on from there at a peak rate of {rate}.",
        step=step,
        rate=rate(peak),
    )
    if state.live:
        detail = tr("It stops after this step first. {detail}", detail=detail)
    question = tr("Take {run} back to step {step:,} of {stage}?", run=state.name, step=step, stage=stage.name)
    if await app.push_screen_wait(ConfirmModal(question, detail, yes=tr("Go back"))) and await _stopped(screen, state):
        await app.start_job(JobRequest(resume=state.directory, from_step=step, stage=stage.name, learning_rate=peak))


def _look(files: StageDirectory) -> tuple[list[Checkpoint], dict[int, float]]:
    """The stage's checkpoints, newest first, and the validation losses by step."""
    records = read_metrics(files.metrics)
    losses = {record["step"]: record["val_loss"] for record in records if record.get("val_loss") is not None}
    return files.checkpoints()[::-1], losses


def _line(step: int, loss: float | None, best: float | None, good: int | None) -> Content:
    notes = [f"{tr('val')} {figure(loss)}"] if loss is not None else []
    notes += [tr("best")] if loss is not None and loss == best else []
    notes += [tr("the last before the trouble")] if step == good else []
    return Content.assemble(f"{tr('step {step:>8,}', step=step)}   ", ("   ".join(notes), "$foreground 60%"))


async def _stopped(screen: "WorkbenchScreen", state: RunState) -> bool:
    """Let the run stop, whoever does it; False where it cannot be reached or does not stop in time."""
    app = screen.workbench
    run, directory = app.bridge.shown, state.directory or Path()
    if state.live and run is not None:
        try:
            run.stop()
        except (WorkbenchError, OSError) as error:
            app.show_error(tr("The run cannot be reached"), retell(str(error)))
            return False
        screen.notify(tr("Finishing the step and saving…"))
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (run is not None and run.ours and app.bridge.busy) or await asyncio.to_thread(is_alive, directory):
        if time.monotonic() > deadline:
            app.show_error(tr("The run does not stop"), tr("It is still at work; try again when it has stopped."))
            return False
        await asyncio.sleep(0.1)
    return True
