"""Headless runs: begin one, or go on with one."""

import argparse
import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from workbench.cli.arguments import DEFAULT_WORKSPACE
from workbench.cli.console import Console, JsonLines
from workbench.cli.screen import Screen
from workbench.cli.stop_signals import StopSignals
from workbench.cli.summary import Summary, go_on_hint
from workbench.control import Command, Control
from workbench.errors import UsageError
from workbench.events import Emitter
from workbench.language import tr
from workbench.locations import state_folder

if TYPE_CHECKING:
    from workbench.job_ranks import Meeting
    from workbench.jobs import Job, RunOutcome


class HeadlessJob(Protocol):
    """What this needs of `workbench.jobs.Job`; tests bring their own."""

    def run(self) -> "RunOutcome":
        """Do the work; see `Job.run`."""


MakeJob = Callable[[Emitter, Control], HeadlessJob]


def run_profile(arguments: argparse.Namespace) -> int:
    """`--profile`: the whole life of a model."""
    with _together() as meeting:
        return _run_profile(arguments, meeting)


def _run_profile(arguments: argparse.Namespace, meeting: "Meeting | None") -> int:
    from workbench.profile import read_profile

    profile = read_profile(arguments.profile, arguments.overrides)
    workspace = Path(arguments.workspace or profile.run.workspace)

    def make(emitter: Emitter, control: Control) -> "Job":
        from workbench.jobs import Job

        return Job(
            profile,
            name=arguments.run_name,
            workspace=workspace,
            emitter=emitter,
            control=control,
            from_stage=arguments.from_stage,
            meeting=meeting,
        )

    return work(make, workspace, json=arguments.events_json, quiet=arguments.events_quiet, meeting=meeting)


def resume(arguments: argparse.Namespace) -> int:
    """`resume RUN`: go on, for more steps, at another learning rate or from an earlier checkpoint if asked."""
    with _together() as meeting:
        return _resume(arguments, meeting)


def _resume(arguments: argparse.Namespace, meeting: "Meeting | None") -> int:
    from workbench.runs.store import open_run

    if arguments.stage is not None and arguments.from_step is None:
        raise UsageError(f"resume --stage {arguments.stage}", "has no effect without --from-step", "add --from-step N")

    workspace = Path(arguments.workspace or DEFAULT_WORKSPACE)
    run = open_run(workspace, arguments.run)

    def make(emitter: Emitter, control: Control) -> "Job":
        from workbench.jobs import resume_job

        if arguments.learning_rate is not None:
            control.request(Command("learning_rate", arguments.learning_rate))
        return resume_job(
            run.path,
            steps=arguments.steps,
            from_step=arguments.from_step,
            stage=arguments.stage,
            emitter=emitter,
            control=control,
            meeting=meeting,
        )

    return work(make, run.path.parent, json=arguments.json, quiet=arguments.quiet, meeting=meeting)


def work(make: MakeJob, workspace: Path, *, json: bool, quiet: bool, meeting: "Meeting | None" = None) -> int:
    """Run the job that `make` gives on this thread, told to the person (or, with `json`, the program) at the terminal.

    Args:
        meeting: of the processes that do it together, of which the first speaks.
    Returns:
        The exit code: 0, or that of the signal which asked for the end.
    Raises:
        WorkbenchError: the run failed.
    """
    emitter, control = Emitter(), Control()
    speaks = meeting is None or meeting.ranks.leads
    screen = Screen(state_folder() / "log" / "console.log", silent=not speaks)
    console, summary = Console(screen, quiet=quiet or json), Summary()
    if speaks:
        emitter.subscribe(console)
        emitter.subscribe(summary)
    if json and speaks:
        emitter.subscribe(JsonLines())
    with StopSignals(control, screen) as signals:
        try:
            if not (quiet or json):
                screen.update(tr("starting ..."))
            outcome = make(emitter, control).run()
        finally:
            console.close()
    if speaks and not json:
        if screen.live:
            screen.line("")
        _print(summary.text(workspace), screen)
    if outcome.status == "stopped":
        hint = go_on_hint(outcome.directory, workspace)
        screen.line(tr("stopped and saved; go on with: {command}", command=hint))
    exit_code = (signals.exit_code or 0) if outcome.status == "stopped" else 0
    return exit_code if meeting is None else max(meeting.ranks.collected(exit_code))


def _together() -> "contextlib.AbstractContextManager[Meeting | None]":
    """The processes that torchrun started for this run; None where this is the only one, without loading torch."""
    if int(os.environ.get("WORLD_SIZE", "1")) < 2:
        return contextlib.nullcontext()
    from workbench.job_ranks import together

    return together()


def _print(text: str, screen: Screen) -> None:
    """Print to stdout; where that was a terminal that is gone, to the log, as the run is none the worse for it."""
    try:
        print(text, end="\n" if text else "", flush=True)
    except BrokenPipeError:
        raise
    except OSError:
        screen.lose_terminal()
        print(text, flush=True)
