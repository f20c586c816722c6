"""The command line: exit codes, one message an error, nothing heavy imported for nothing."""

import errno
import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from workbench.cli import main as main_module
from workbench.cli.main import main
from workbench.errors import DeviceError, WorkbenchError
from workbench.runs.liveness import RunLock
from workbench.runs.store import RunDirectory, RunState, create_run

Start = Callable[..., subprocess.Popen]


@pytest.fixture
def tiny() -> RunDirectory:
    run = create_run(Path("runs"), "tiny", "")
    run.write_state(RunState("done", ("base",), "base", 10, 10, val_loss=1.5, updated_at=time.time()))
    return run


def failing(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def fail(arguments: object) -> int:
        raise error

    monkeypatch.setattr(main_module, "_load", lambda command: fail)


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_help_and_version_import_neither_torch_nor_textual(option: str, start: Start) -> None:
    code = (
        "import sys\nfrom workbench.cli.main import main\n"
        f"try: main(['{option}'])\n"
        "except SystemExit as end: assert end.code in (0, None)\n"
        "heavy = {'torch', 'textual', 'numpy', 'pydantic', 'tokenizers'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    process = start(code)
    output, errors = process.communicate(timeout=180)
    assert process.returncode == 0, errors
    assert "llm-workbench" in output


@pytest.mark.parametrize(
    "command",
    [["runs"], ["runs", "--json"], ["locate"], ["profiles"], ["schema"], ["data", "list"], ["chat", "nobody"]],
    ids=" ".join,
)
def test_light_commands_do_not_import_torch(command: list[str], start: Start) -> None:
    code = (
        "import sys\nfrom workbench.cli.main import main\nmain(sys.argv[1:])\n"
        "assert not {'torch', 'textual'} & set(sys.modules), 'heavy'"
    )
    process = start(code, *command)
    _, errors = process.communicate(timeout=180)
    assert process.returncode == 0, errors


@pytest.mark.parametrize(
    "arguments",
    [
        ["--sideways"],
        ["levitate"],
        ["--json"],
        ["--set", "a=b"],
        ["--from", "base"],
        ["--name", "x", "runs"],
        ["--profile", "quickstart", "runs"],
        ["resume"],
        ["resume", "tiny", "--steps", "0"],
        ["control", "tiny", "explode"],
        ["data"],
        ["resume", "tiny", "--learning-rate", "7"],
        ["resume", "tiny", "--from-step", "-1"],
        ["chat", "--temperature", "hot"],
    ],
    ids=" ".join,
)
def test_a_command_line_that_makes_no_sense_is_refused(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "error:" in captured.err


@pytest.mark.parametrize(
    "arguments",
    [
        ["--profile", "nowhere.toml"],
        ["--profile", "quickstrat"],
        ["check", "nowhere.toml"],
        ["resume", "nobody"],
        ["resume", "nobody", "--stage", "sft"],
        ["report", "nobody"],
        ["sample", "nobody"],
        ["chat", "nobody"],
        ["chat"],
        ["control", "nobody", "pause"],
        ["data", "lint", "nowhere.jsonl"],
        ["data", "fetch", "nothing"],
    ],
    ids=" ".join,
)
def test_what_is_missing_gives_one_message_and_two(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert len(captured.err.splitlines()) == 1
    assert captured.err.startswith("llm-workbench: ")
    assert not Path("runs").exists(), "nothing is half-written"


def test_settings_are_replaced_in_what_is_checked(capsys: pytest.CaptureFixture[str]) -> None:
    Path("text.txt").write_text("text " * 100, encoding="utf-8")
    Path("mine.toml").write_text('[[stage]]\nkind = "pretrain"\ndata = "text.txt"\nsteps = 1\n', encoding="utf-8")
    assert main(["check", "mine.toml", "--set", "stage.pretrain.steps=4321"]) == 0
    assert "4,321" in capsys.readouterr().out


def test_what_a_run_would_refuse_does_not_pass_the_check(capsys: pytest.CaptureFixture[str]) -> None:
    Path("text.txt").write_text("text " * 100, encoding="utf-8")
    Path("empty").mkdir()
    Path("mine.toml").write_text('[[stage]]\nkind = "pretrain"\ndata = "text.txt"\nsteps = 1\n', encoding="utf-8")
    for setting in ("tokenizer.path=empty", "stage.pretrain.from=empty", "evaluate.questions=text.txt"):
        assert main(["check", "mine.toml", "--set", setting]) == 2
        captured = capsys.readouterr()
        assert captured.out == ""
        assert "empty" in captured.err or "text.txt" in captured.err


@pytest.mark.parametrize(
    ("override", "told", "code"),
    [
        ("run.device=cuda", "device 'cuda': is not there", 3),
        ("stage.pretrain.data=empty.txt", "empty.txt: there is no row", 2),
        ("stage.pretrain.data=wrong.jsonl", "wrong.jsonl: line 1", 2),
    ],
)
def test_a_check_tells_what_would_end_the_run_at_once(
    override: str, told: str, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("text.txt").write_text("some text\n", encoding="utf-8")
    Path("empty.txt").touch()
    Path("wrong.jsonl").write_text('{"other": 1}\n', encoding="utf-8")
    Path("p.toml").write_text('[[stage]]\nkind = "pretrain"\ndata = "text.txt"\nsteps = 9\n', encoding="utf-8")
    assert main(["check", "p.toml"]) == 0
    assert main(["check", "p.toml", "--set", override]) == code
    assert told in capsys.readouterr().err


def test_a_profile_whose_name_is_no_folders_says_how_to_give_one(capsys: pytest.CaptureFixture[str]) -> None:
    Path("text.txt").write_text("some text\n", encoding="utf-8")
    Path("我的 配置.toml").write_text('[[stage]]\nkind = "pretrain"\ndata = "text.txt"\nsteps = 9\n', encoding="utf-8")
    assert main(["check", "我的 配置.toml"]) == 2
    assert "--name" in capsys.readouterr().err
    assert main(["check", "我的 配置.toml", "--set", "run.name=mine"]) == 0


def test_a_workspace_that_is_a_file_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    Path("text.txt").write_text("text " * 100, encoding="utf-8")
    Path("mine.toml").write_text('[[stage]]\nkind = "pretrain"\ndata = "text.txt"\nsteps = 1\n', encoding="utf-8")
    assert main(["--profile", "mine.toml", "--workspace", "text.txt"]) == 2
    assert "cannot hold runs" in capsys.readouterr().err


def test_a_broken_profile_tells_every_problem_and_writes_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    Path("broken.toml").write_text(
        '[model]\nhiden_size = 3\n[[stage]]\nkind = "pretrain"\ndata = "gone.txt"\nsteps = 1\n', encoding="utf-8"
    )
    assert main(["--profile", "broken.toml"]) == 2
    message = capsys.readouterr().err
    assert "hiden_size" in message
    assert "gone.txt" in message
    assert [path.name for path in Path.cwd().iterdir()] == ["broken.toml"]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (WorkbenchError("run", "diverged"), 1),
        (DeviceError("cuda", "absent"), 3),
        (MemoryError(), 3),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), 3),
        (KeyboardInterrupt(), 130),
        (ZeroDivisionError("division by zero"), 1),
    ],
)
def test_every_error_has_its_exit_code(
    error: BaseException, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    failing(monkeypatch, error)
    assert main(["runs"]) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Traceback" not in captured.err


def test_an_unexpected_error_is_one_line_that_names_the_log(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    failing(monkeypatch, ZeroDivisionError("division by zero"))
    main(["runs"])
    (line,) = capsys.readouterr().err.splitlines()
    log = home / "state" / "log" / "llm-workbench.log"
    assert line == f"llm-workbench: unexpected ZeroDivisionError: division by zero; the traceback is in {log}"
    assert "Traceback (most recent call last)" in log.read_text(encoding="utf-8")


def test_a_home_that_cannot_be_written_hides_no_traceback(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    home.write_text("a file where a folder should be", encoding="utf-8")
    failing(monkeypatch, ZeroDivisionError("division by zero"))
    assert main(["runs"]) == 1
    assert "Traceback (most recent call last)" in capsys.readouterr().err


def test_a_file_that_cannot_be_written_is_told_by_name(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    failing(monkeypatch, OSError(28, "No space left on device", "chat.json"))
    assert main(["runs"]) == 1
    assert capsys.readouterr().err.startswith("llm-workbench: chat.json: No space left on device")


def test_arguments_that_are_no_text_do_not_spoil_the_log(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["llm-workbench", "\udce8"])
    failing(monkeypatch, ZeroDivisionError("division by zero"))
    assert main(["runs"]) == 1
    assert "the traceback is in" in capsys.readouterr().err


def test_a_program_without_streams_works(start: Start) -> None:
    code = "import os, sys\nfrom workbench.cli.main import main\nfor name in ('stdin', 'stdout', 'stderr'):\n"
    code += "    setattr(sys, name, None)\nos._exit(main(sys.argv[1:]))"
    process = start(code, "runs")
    process.communicate(timeout=180)
    assert process.returncode == 0


def test_a_message_with_control_characters_is_harmless(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    failing(monkeypatch, WorkbenchError("data.jsonl:3", "the role is '\x1b[2J'"))
    main(["runs"])
    assert "\x1b" not in capsys.readouterr().err


@pytest.mark.parametrize("command", ["schema", "locate"])  # more and less than Python holds back
def test_a_reader_that_goes_away_is_no_error(command: str, start: Start) -> None:
    code = "import sys\nfrom workbench.cli.main import main\nsys.stdin.read()\nsys.exit(main(sys.argv[1:]))"
    process = start(code, command, stdin=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.close()
    process.stdout = None
    _, errors = process.communicate(timeout=180)
    assert (process.returncode, errors) == (141, "")


def test_a_terminal_that_knows_no_chinese_is_no_error(start: Start) -> None:
    run = create_run(Path("runs"), "tiny", "")
    run.write_state(RunState("running", stage="詩"))
    code = "import sys\nfrom workbench.cli.main import main\nsys.exit(main(['runs']))"
    process = start(code, encoding="ascii")
    output, errors = process.communicate(timeout=180)
    assert process.returncode == 0, errors
    assert "\\u8a69" in output


def test_the_screens_need_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "--profile" in capsys.readouterr().err


def test_runs_are_listed_for_people_and_programs(tiny: RunDirectory, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["runs"]) == 0
    assert capsys.readouterr().out.splitlines()[1].split() == ["tiny", "done", "base", "10/10", "1.500", "-", "now"]
    assert main(["runs", "--json"]) == 0
    (value,) = json.loads(capsys.readouterr().out)
    assert (value["name"], value["label"], value["val_loss"], value["alive"]) == ("tiny", "done", 1.5, False)


@pytest.mark.parametrize("arguments", [["--workspace", "other", "runs"], ["runs", "--workspace", "other"]])
def test_the_workspace_may_stand_before_or_after_the_command(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    create_run(Path("other"), "elsewhere", "")
    assert main(arguments) == 0
    assert "elsewhere" in capsys.readouterr().out


def test_no_runs_say_how_to_begin_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["runs"]) == 0
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "--profile quickstart" in captured.err


def test_an_unknown_run_names_the_nearest(tiny: RunDirectory, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["resume", "tinny"]) == 2
    assert "did you mean tiny?" in capsys.readouterr().err


def test_wishes_reach_a_run_that_is_alive(tiny: RunDirectory, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["control", "tiny", "pause"]) == 2
    assert "is not running" in capsys.readouterr().err
    with RunLock(tiny.path):
        assert main(["control", "tiny", "pause"]) == 0
        assert main(["control", "tiny", "learning-rate", "3e-4"]) == 0
        assert main(["control", "tiny", "learning-rate"]) == 2
        assert main(["control", "tiny", "learning-rate", "-1"]) == 2
        assert main(["control", "tiny", "stop", "7"]) == 2
    wishes = [json.loads(line) for line in tiny.commands_path.read_text(encoding="utf-8").splitlines()]
    assert wishes == [{"command": "pause"}, {"command": "learning_rate", "value": 3e-4}]


def test_the_folders_are_printed(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["locate"]) == 0
    output = capsys.readouterr().out
    assert str(home / "config") in output
    assert str(Path("runs").absolute()) in output


def test_the_schema_is_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema"]) == 0
    assert "stage" in json.loads(capsys.readouterr().out)["properties"]


@pytest.mark.parametrize(
    "arguments",
    [["--profile", "mine.toml", "--json"], ["check", "mine.toml", "--json"], ["report", "nobody", "--json"]],
    ids=" ".join,
)
def test_a_refusal_is_told_to_programs_too(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    Path("mine.toml").write_text('[[stage]]\nkind = "pretrain"\ndata = "absent.txt"\nsteps = 1\n', encoding="utf-8")
    assert main(arguments) == 2
    captured = capsys.readouterr()
    error = json.loads(captured.out)["error"]
    told = "; ".join(part for part in (error["problem"], error["remedy"]) if part)
    assert captured.err == f"llm-workbench: {error['where']}: {told}\n"
    assert set(error) == {"where", "problem", "remedy"}


def test_a_check_for_programs_is_one_object_whether_it_fits_or_not(capsys: pytest.CaptureFixture[str]) -> None:
    Path("text.txt").write_text("text " * 100, encoding="utf-8")
    Path("mine.toml").write_text('[[stage]]\nkind = "pretrain"\ndata = "text.txt"\nsteps = 7\n', encoding="utf-8")
    assert main(["check", "mine.toml", "--json"]) == 0
    fits = json.loads(capsys.readouterr().out)
    assert (fits["problems"], fits["stages"][0]["steps"]) == ([], 7)
    assert fits["parameters"] > 1000
    assert main(["check", "mine.toml", "--json", "--set", "model.hidden_size=1000000"]) == 3
    captured = capsys.readouterr()
    assert json.loads(captured.out)["problems"]
    assert captured.err.startswith("llm-workbench: mine.toml: does not fit here")


def test_a_report_for_programs_is_report_json(tiny: RunDirectory, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", "tiny", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads((tiny.path / "report.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (
            OSError(errno.ENOSPC, "No space left on device", "a.json"),
            "a.json: No space left on device; make room there",
        ),
        (PermissionError(errno.EROFS, "Read-only file system", "runs/x"), "runs/x: Read-only file system; check its"),
        (OSError(errno.EIO, "Input/output error"), "a file or stdout: Input/output error"),
    ],
)
def test_what_the_system_refuses_is_one_line_even_without_a_log(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: OSError, line: str
) -> None:
    home.write_text("a file where a folder should be", encoding="utf-8")
    failing(monkeypatch, error)
    assert main(["runs"]) == 1
    (told,) = capsys.readouterr().err.splitlines()
    assert told.startswith(f"llm-workbench: {line}")


def test_a_home_that_cannot_be_made_is_told_in_one_line(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home.write_text("a file where a folder should be", encoding="utf-8")
    assert main(["data", "fetch", "shakespeare"]) == 2
    *_, line = capsys.readouterr().err.splitlines()
    assert line.startswith(
        f"llm-workbench: {home / 'cache' / 'data'}: cannot be made: Not a directory; choose a folder"
    )


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize(("command", "where"), [("locate", "stdout"), ("schema", "a file or stdout")])
def test_a_full_disk_behind_stdout_is_told(command: str, where: str, start: Start) -> None:
    code = "import sys\nfrom workbench.cli.main import main\nsys.exit(main(sys.argv[1:]))"
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        process = start(code, command, stdout=full)
        _, errors = process.communicate()
    assert process.returncode == 1
    assert errors == f"llm-workbench: {where}: No space left on device; make room there\n"
