"""`eval`: measure a model of one's own, or of others."""

import argparse
import json
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from workbench.bundled import find_data
from workbench.cli.model_commands import find_model
from workbench.cli.screen import Screen
from workbench.cli.stop_signals import unwinding
from workbench.cli.terminal import printable, table
from workbench.config import EvaluateSettings, Profile, StageSettings
from workbench.errors import UsageError
from workbench.language import mark, retell, tr
from workbench.locations import state_folder, tokenised_folder
from workbench.narration import duration, measure_label, score
from workbench.profile import EVALUATED_FILES, parse_profile
from workbench.runs.store import RunDirectory

if TYPE_CHECKING:
    from workbench.evaluation.battery import Battery, Outcome
    from workbench.model.transformer import Transformer
    from workbench.tokenizer.tokenizer import Tokenizer

_COUNTED = (mark("tokens"), mark("choices"), mark("questions"), mark("prompts"), mark("poems"))
"""What the outcome counts."""
_SIZES = ("batch_size", "max_new_tokens", "prompt_tokens")


def evaluate(arguments: argparse.Namespace) -> int:
    """`eval RUN|DIR`: the measures asked for, or those of the run's profile, as a table or as JSON on stdout.

    Raises:
        UsageError: nothing is asked for.
        DataError: a file is missing or cannot be used.
    """
    directory = find_model(arguments)
    profile, stage = _profile_of(directory)
    settings = _settings(arguments, profile)
    from workbench.inference.lineage import only_pretrained
    from workbench.inference.loading import load_both
    from workbench.model.precision import resolve_device

    battery = _battery(arguments, settings, profile, stage, chat=not only_pretrained(directory))
    if battery.empty:
        remedy = "say what: --perplexity FILE, --choices FILE, --questions FILE, --prompt TEXT or --throughput"
        raise UsageError("eval", "there is nothing to measure", remedy)
    device = resolve_device(arguments.device)
    start = time.perf_counter()
    with unwinding():
        model, tokenizer = load_both(directory, device)
        if tokenizer.chat is None and battery.chat:
            if arguments.ask_as == "chat":
                raise UsageError(str(directory), "has no chat template", "leave --ask-as chat out")
            battery = replace(battery, chat=False)
        outcome = _measured(battery, model, tokenizer)
    if arguments.records is not None:
        outcome.write_records(_folder(arguments.records))
    if arguments.json:
        values = {
            "model": str(directory),
            "device": device.type,
            "asked_as": "chat" if battery.chat else "text",
            "scores": outcome.scores,
            "counts": outcome.counts,
            "seconds": time.perf_counter() - start,
        }
        print(json.dumps(values, indent=1, ensure_ascii=False))
    else:
        scores = ((printable(measure_label(name)), score(name, each)) for name, each in outcome.scores.items())
        rows = [(tr("MEASURE"), tr("SCORE")), *scores]
        print(table(rows, right=(1,)))
        told = tr(", ").join(f"{number:,} {tr(name)}" for name, number in outcome.counts.items())
        took = duration(time.perf_counter() - start)
        print(tr("{model}: {what} in {time}", model=directory, what=told or tr("speed"), time=took), file=sys.stderr)
    return 0


def _settings(arguments: argparse.Namespace, profile: Profile | None) -> EvaluateSettings:
    """What the command line asks for; where it names no measure, what the profile does."""
    measures = {key: getattr(arguments, key) for key in (*EVALUATED_FILES, "prompts", "throughput")}
    sizes = {key: value for key in _SIZES if (value := getattr(arguments, key)) is not None}
    earlier = profile.evaluate.model_dump() if profile is not None else {}
    if any(measures.values()):
        earlier = {**{key: earlier[key] for key in _SIZES if key in earlier}, **measures}
    try:
        return EvaluateSettings.model_validate({**earlier, **sizes})
    except ValidationError as error:
        first = error.errors()[0]
        raise UsageError(f"--{str(first['loc'][0]).replace('_', '-')}", first["msg"], "see: eval --help") from error


def _battery(
    arguments: argparse.Namespace,
    settings: EvaluateSettings,
    profile: Profile | None,
    stage: StageSettings | None,
    chat: bool,
) -> "Battery":
    from workbench.evaluation.battery import Battery
    from workbench.evaluation.file_perplexity import check_measurable
    from workbench.evaluation.multiple_choice import read_choices
    from workbench.evaluation.suite import read_questions

    files = {key: [file for each in getattr(settings, key) for file in _files(each)] for key in EVALUATED_FILES}
    checks = {"perplexity": check_measurable, "choices": read_choices, "questions": read_questions}
    for key, check in checks.items():
        for file in files[key]:
            check(file)  # before a model is loaded
    return Battery(
        settings,
        **files,
        chat=chat if arguments.ask_as == "auto" else arguments.ask_as == "chat",
        questions_as_text=arguments.ask_as == "text",
        verse_prompts=stage.prompts if stage is not None else (),
        seed=profile.run.seed if profile is not None else 0,
        limit=arguments.limit,
    )


def _measured(battery: "Battery", model: "Transformer", tokenizer: "Tokenizer") -> "Outcome":
    from workbench.evaluation.battery import Measuring

    screen, told = Screen(state_folder() / "log" / "console.log"), list[str]()

    def on_progress(task: str, done: int, total: int, unit: str) -> None:
        if screen.live:
            amount = f"{done:,}/{total:,} {retell(unit)}"
            screen.update(tr("{place}: {words}", place=retell(task), words=amount))
        elif task not in told:  # a line a task is enough where lines stay
            told.append(task)
            screen.line(f"{retell(task)} ...")

    measuring = Measuring(
        model,
        tokenizer,
        battery,
        precision="fp32",
        cache=tokenised_folder(),
        on_progress=on_progress,
        should_stop=lambda: False,
    )
    try:
        outcome = measuring.run()
    finally:
        screen.end_live()
    assert outcome is not None, "nobody stops it but a signal, which unwinds"
    return outcome


def _files(reference: str) -> list[Path]:
    path = Path(reference).expanduser()
    return [path] if path.is_file() else find_data(reference, [Path.cwd()])


def _folder(name: str) -> Path:
    folder = Path(name)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _profile_of(directory: Path) -> tuple[Profile | None, StageSettings | None]:
    """The profile of the run that a model directory belongs to, and its stage; neither for a model of others."""
    for folder in directory.absolute().parents:
        path = RunDirectory(folder).profile_path
        if path.is_file():
            profile = parse_profile(path.read_text(encoding="utf-8"), str(path))
            name = directory.absolute().relative_to(folder).parts[0]
            return profile, next((stage for stage in profile.stage if stage.name == name), None)
    return None, None
