"""Commands that load a model: chat, sample, import, export."""

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from workbench.cli.arguments import DEFAULT_WORKSPACE
from workbench.cli.stop_signals import unwinding
from workbench.cli.terminal import printable
from workbench.errors import RunError, UsageError, WorkbenchError
from workbench.language import tr
from workbench.locations import models_folder
from workbench.runs.store import RunDirectory, list_runs, open_run, suggest

if TYPE_CHECKING:
    from workbench.inference.chat import ChatSession
    from workbench.inference.sampling import SamplingSettings

_SAMPLING_OPTIONS = ("temperature", "top_k", "top_p", "min_p", "repetition_penalty", "seed", "max_new_tokens")


def chat(arguments: argparse.Namespace) -> int:
    """`chat [RUN|DIR]`: talk, or answer each line of piped input."""
    from workbench.cli.chat_terminal import answer_lines, converse

    directory = find_model(arguments)
    if sys.stdin.isatty():
        print(tr("loading {model} ...", model=directory), file=sys.stderr)
        return converse(_open_newest(arguments, directory), str(directory))
    return answer_lines(_open_newest(arguments, directory), sys.stdin)


def sample(arguments: argparse.Namespace) -> int:
    """`sample RUN`: each prompt gone on with, or answered by a model that can chat."""
    directory = find_model(arguments)
    prompts = arguments.prompt or _prompts_of_profile(arguments, directory)
    session = _open_newest(arguments, directory)
    for prompt in prompts:
        session.reset()
        text = "".join(session.send(prompt))
        if arguments.json:
            print(json.dumps({"prompt": prompt, "text": text, "model": str(directory)}, ensure_ascii=True))
        else:
            print(f"{printable(prompt)} → {printable(text)}\n")
    return 0


def import_model(arguments: argparse.Namespace) -> int:
    """`import SOURCE`: a model of others as a checked copy; its directory on stdout."""
    from workbench.interop import huggingface

    def tell_licence(licence: str) -> None:
        print(tr("licence: {licence}", licence=printable(licence)), file=sys.stderr)

    out = Path(arguments.out) if arguments.out else None
    with unwinding():
        base = Path(arguments.base).expanduser() if arguments.base else None
        path = huggingface.import_model(arguments.source, out, base=base, on_licence=tell_licence)
    print(path)
    print(tr("talk to it: llm-workbench chat {path}", path=path), file=sys.stderr)
    return 0


def export_model(arguments: argparse.Namespace) -> int:
    """`export RUN|DIR FILE.gguf`: a model for llama.cpp; its path on stdout.

    Raises:
        ModelError: llama.cpp could not compute it, or the file exists.
    """
    from workbench.interop.gguf_write import export_gguf

    directory, target = find_model(arguments), Path(arguments.out)
    if target.suffix != ".gguf":
        raise UsageError(arguments.out, "is no name of a GGUF file", "let it end in .gguf")
    with unwinding():
        export_gguf(directory, target, arguments.type)
    print(target)
    return 0


def find_model(arguments: argparse.Namespace) -> Path:
    """The model directory that was asked for: of a run, of the models folder, or any; the newest when none was.

    Raises:
        UsageError: there is none, or none yet.
    """
    workspace = Path(arguments.workspace or DEFAULT_WORKSPACE)
    if arguments.model is None:
        return _newest_model(arguments, workspace)
    for directory in (Path(arguments.model), models_folder() / arguments.model):
        if any((directory / name).is_file() for name in ("config.json", "adapter_config.json")):
            if arguments.stage or arguments.checkpoint is not None:
                raise UsageError(str(directory), "is a model, not a run", "leave --stage and --checkpoint out")
            return directory
    try:
        run = open_run(workspace, arguments.model)
    except RunError:
        if Path(arguments.model).exists():
            problem = "is neither a run nor a model directory, which would hold a config.json"
            raise RunError(arguments.model, problem, "name a run, or a directory with a model") from None
        known = [run.name for run in list_runs(workspace)] + _imported_models()
        raise RunError(arguments.model, "no such run or model directory", suggest(arguments.model, known)) from None
    return run.model_directory(arguments.stage, arguments.checkpoint)


def _newest_model(arguments: argparse.Namespace, workspace: Path) -> Path:
    for summary in list_runs(workspace):
        run = RunDirectory(summary.path)
        if any(stage.newest_model() for stage in run.stages()):
            return run.model_directory(arguments.stage, arguments.checkpoint)
    raise RunError(str(workspace), "no run with a model", "make one with: llm-workbench --profile quickstart")


def _imported_models() -> list[str]:
    folder = models_folder()
    return [path.parent.name for path in folder.glob("[!.]*/config.json")]


def _open_newest(arguments: argparse.Namespace, directory: Path) -> "ChatSession":
    """The session with `directory`, or with what a run in training has just put in its place."""
    try:
        return _open(arguments, directory)
    except WorkbenchError:
        newer = find_model(arguments)
        if newer == directory:
            raise
        return _open(arguments, newer)


def _open(arguments: argparse.Namespace, directory: Path) -> "ChatSession":
    from workbench.inference.chat import load_session
    from workbench.model.precision import resolve_device

    settings = _sampling_settings(arguments)
    device = resolve_device(arguments.device)
    return load_session(directory, device, settings, getattr(arguments, "system", ""))


def _sampling_settings(arguments: argparse.Namespace) -> "SamplingSettings":
    from workbench.inference.sampling import SamplingSettings

    given = {name: getattr(arguments, name) for name in _SAMPLING_OPTIONS}
    return SamplingSettings(**{name: value for name, value in given.items() if value is not None})


def _prompts_of_profile(arguments: argparse.Namespace, directory: Path) -> list[str]:
    """The prompts of the stage that the model is of.

    Raises:
        UsageError: there are none.
    """
    from workbench.profile import parse_profile

    remedy = "say what to go on with: --prompt TEXT"
    for folder in directory.absolute().parents:
        profile_path = RunDirectory(folder).profile_path
        if profile_path.is_file():
            profile = parse_profile(profile_path.read_text(encoding="utf-8"), str(profile_path))
            name = directory.absolute().relative_to(folder).parts[0]
            prompts = [prompt for stage in profile.stage if stage.name == name for prompt in stage.prompts]
            if prompts:
                return prompts
            raise UsageError(f"stage {name}", "its profile has no prompts", remedy)
    raise UsageError(arguments.model, "no prompt", remedy)
