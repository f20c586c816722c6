"""Profiles: which there are, whether one is sound and fits here, and their schema."""

import argparse
import dataclasses
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from workbench.cli.terminal import table
from workbench.errors import DeviceError
from workbench.language import retell, tr
from workbench.narration import count, duration, size
from workbench.profile import EVALUATED_FILES, list_profiles, profile_schema, read_profile

if TYPE_CHECKING:
    from workbench.config import Profile
    from workbench.dry_run import Trial
    from workbench.estimate import Estimate
    from workbench.events import Event


def profiles(arguments: argparse.Namespace) -> int:
    """`profiles`: those that come with the program."""
    entries = list_profiles()
    if arguments.json:
        values = [
            {"name": each.name, "path": str(each.path), "description": each.description, "measured": each.measured}
            for each in entries
        ]
        print(json.dumps(values, indent=1, ensure_ascii=False))
    else:
        rows = [(each.name, retell(each.measured) or "-", retell(each.description)) for each in entries]
        print(table([(tr("NAME"), tr("MEASURED"), tr("WHAT IT MAKES")), *rows]))
    return 0


def check(arguments: argparse.Namespace) -> int:
    """`check NAME|FILE`: refuse what cannot work, print what it takes here.

    Raises:
        ProfileError: all problems of the profile.
        UsageError: a model, a tokenizer, data or questions that it names are none.
        DeviceError: the device is not there; memory or disk do not suffice.
    """
    from workbench.estimate import estimate_profile
    from workbench.job_data import check_data
    from workbench.runs.store import check_run_name

    profile = read_profile(arguments.profile_name, arguments.check_overrides)
    check_run_name(profile.run.name or "run")
    check_data(profile)
    workspace = Path(arguments.workspace or profile.run.workspace)
    if profile.run.device not in ("auto", "cpu"):
        from workbench.model.precision import resolve_device

        resolve_device(profile.run.device)
    if _names_others(profile):
        from workbench.job_inputs import check_inputs
        from workbench.job_sizes import expected_config, named_models

        check_inputs(profile)
        config = expected_config(profile)
        estimate = estimate_profile(profile, workspace, config, config.vocab_size, named_models(profile))
    else:
        estimate = estimate_profile(profile, workspace)
    trial = _measured(profile, estimate) if arguments.dry_run and not estimate.problems else None
    if arguments.json:
        counted = {"parameters": estimate.parameters.total, "active_parameters": estimate.parameters.active}
        values = {**dataclasses.asdict(estimate), **counted, "seconds": estimate.seconds}
        if trial is not None:
            stages = [{**dataclasses.asdict(stage), "seconds": stage.seconds} for stage in trial.stages]
            values["dry_run"] = {**dataclasses.asdict(trial), "stages": stages, "seconds": trial.seconds}
        print(json.dumps(values, indent=1, ensure_ascii=False))
    else:
        print(describe(estimate) if trial is None else f"{describe(estimate)}\n\n{describe_trial(trial)}")
    if estimate.problems:
        error = DeviceError(arguments.profile_name, "does not fit here:\n  - " + "\n  - ".join(estimate.problems))
        if not arguments.json:
            raise error
        print(f"llm-workbench: {retell(str(error))}", file=sys.stderr)  # stdout holds the problems: it is one object
        return error.exit_code
    return 0


def schema(arguments: argparse.Namespace) -> int:
    """`schema`: JSON Schema of a profile."""
    print(json.dumps(profile_schema(), indent=1, ensure_ascii=False))
    return 0


def describe(estimate: "Estimate") -> str:
    """What a profile takes, as two tables."""
    rows = [(tr("STAGE"), tr("STEPS"), tr("TOKENS"), tr("MEMORY"), tr("DISK"), tr("TIME"))]
    for stage in estimate.stages:
        steps = "-" if stage.steps is None else f"{stage.steps:,}"
        tokens = "-" if stage.tokens is None else count(stage.tokens)
        time = "-" if stage.seconds is None else f"~ {duration(stage.seconds)}"
        rows.append((stage.stage, steps, tokens, size(stage.memory_bytes), size(stage.disk_bytes), time))
    room, free = size(estimate.memory_available_bytes), size(estimate.disk_free_bytes)
    totals = [
        (tr("parameters"), _parameters(estimate)),
        (tr("memory"), tr("{part} of {whole} available", part=size(estimate.memory_bytes), whole=room)),
        (
            tr("disk"),
            tr("{part} of {whole} free", part=size(estimate.disk_bytes), whole=free),
        ),
        (tr("training time"), "-" if estimate.seconds is None else tr("about {time}", time=duration(estimate.seconds))),
    ]
    return f"{table(rows, right=(1, 2, 3, 4, 5))}\n\n{table(totals)}"


def describe_trial(trial: "Trial") -> str:
    """What a dry run measured, and what the whole takes by it."""
    heads = (tr("MEASURED"), tr("STEPS"), tr("A STEP"), tr("TOK/S"), tr("VALIDATION"), tr("ONCE"))
    rows = [(*heads, tr("MEMORY"), tr("TIME"))]
    for stage in trial.stages:
        rows.append(
            (
                stage.stage,
                "-" if stage.steps is None else f"{stage.steps:,}",
                f"{1000 * stage.step_seconds:,.0f} ms",
                count(stage.tokens_per_second),
                f"{stage.validations} x {stage.validation_seconds:.1f} s",
                f"{stage.once_seconds:.1f} s",
                size(stage.memory_bytes),
                "-" if stage.seconds is None else duration(stage.seconds),
            )
        )
    whole = "-" if trial.seconds is None else tr("about {time}", time=duration(trial.seconds))
    computed = tr("on {device} in {precision}", device=trial.device, precision=trial.precision)
    if trial.threads:
        computed += tr(", threads {count}", count=trial.threads)
    prepared = duration(trial.prepare_seconds)
    totals = [
        (tr("computed"), computed),
        (tr("memory"), size(trial.memory_bytes)),
        (tr("time"), tr("{whole}, of which {time} to prepare data and tokenizer", whole=whole, time=prepared)),
    ]
    return f"{table(rows, right=(1, 2, 3, 4, 5, 6, 7))}\n\n{table(totals)}"


def _measured(profile: "Profile", estimate: "Estimate") -> "Trial | None":
    """A dry run, telling on stderr what it is at."""
    from workbench.dry_run import dry_run
    from workbench.events import StageStarted

    def tell(event: "Event") -> None:
        if isinstance(event, StageStarted):
            print(tr("dry run: a few steps of {stage}", stage=event.stage), file=sys.stderr)

    print(tr("dry run: tokenizer and data"), file=sys.stderr)
    return dry_run(profile, {stage.stage: stage.steps for stage in estimate.stages}, tell)


def _parameters(estimate: "Estimate") -> str:
    parts = estimate.parameters
    if not parts.inactive:
        return f"{parts.total:,}"
    return tr("{total:,}, of which a token visits {active:,}", total=parts.total, active=parts.active)


def _names_others(profile: "Profile") -> bool:
    """Whether it names models, tokenizers or questions, which take torch to be looked at."""
    starts = [stage.from_ for stage in profile.stage]
    taught = [stage.teacher or stage.model for stage in profile.stage]  # a teacher's vocabulary is compared
    measured = [getattr(profile.evaluate, key) for key in EVALUATED_FILES]
    return any((profile.model.path, profile.tokenizer.path, *starts, *taught, *measured))
