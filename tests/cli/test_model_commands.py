"""Which model a command means, and what it does with it."""

import io
import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from workbench.cli import model_commands
from workbench.cli.arguments import parse_arguments
from workbench.cli.main import main
from workbench.cli.model_commands import find_model
from workbench.errors import ModelError, RunError, UsageError
from workbench.locations import models_folder
from workbench.runs.store import RunDirectory, RunState, create_run

PROFILE = """
[[stage]]
kind = "pretrain"
data = "text.txt"
steps = 1
prompts = ["Once", "Twice"]
"""


def make_model(directory: Path) -> Path:
    directory.mkdir(parents=True)
    (directory / "config.json").write_text("{}", encoding="utf-8")
    return directory


def make_run(name: str, updated_at: float, model: bool = True) -> RunDirectory:
    run = create_run(Path("runs"), name, PROFILE)
    run.write_state(RunState("done", ("pretrain",), updated_at=updated_at))
    if model:
        make_model(run.stage("pretrain").model)
    return run


def found(*arguments: str) -> Path:
    return find_model(parse_arguments(["chat", *arguments]))


def test_without_a_name_the_newest_run_with_a_model_is_meant() -> None:
    make_run("old", 1.0)
    expected = make_run("new", 2.0).stage("pretrain").model
    make_run("newest", 3.0, model=False)
    assert found() == expected


def test_a_run_a_directory_and_an_imported_model_are_found(tmp_path: Path) -> None:
    run = make_run("tiny", 1.0)
    imported, elsewhere = make_model(models_folder() / "smollm2"), make_model(tmp_path / "model")
    assert found("tiny") == run.stage("pretrain").model
    assert found(str(run.path)).resolve() == run.stage("pretrain").model.resolve()
    assert found(str(elsewhere)) == elsewhere
    assert found("smollm2") == imported
    with pytest.raises(RunError, match="did you mean smollm2"):
        found("smolm2")


def test_only_models_are_suggested(home: Path) -> None:
    for name in ("mine", ".making-x/made", "empty"):
        (home / "cache" / "models" / name).mkdir(parents=True)
    (home / "cache" / "models" / "mine" / "config.json").write_text("{}", encoding="utf-8")
    (home / "cache" / "models" / ".making-x" / "config.json").write_text("{}", encoding="utf-8")
    assert model_commands._imported_models() == ["mine"]


def test_a_checkpoint_is_found_by_its_step() -> None:
    run = make_run("tiny", 1.0)
    path = make_model(run.stage("pretrain").checkpoint_path(500))
    assert found("tiny", "--checkpoint", "500") == path
    with pytest.raises(RunError, match="no checkpoint of step 7"):
        found("tiny", "--checkpoint", "7")
    with pytest.raises(UsageError, match="leave --stage and --checkpoint out"):
        found(str(path), "--checkpoint", "500")


def test_a_directory_that_is_no_model_is_told_to_be_none(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="neither a run nor a model directory"):
        found(str(tmp_path))


class Session:
    def __init__(self) -> None:
        self.asked: list[str] = []

    def reset(self) -> None:
        self.asked = []

    def send(self, text: str) -> Iterator[str]:
        assert self.asked == [], "each prompt stands alone"
        self.asked.append(text)
        return iter([" upon\x1b", " a time"])


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The model directories that were opened; no real model is loaded."""
    directories: list[Path] = []

    def open_session(arguments: object, directory: Path) -> Session:
        directories.append(directory)
        return Session()

    monkeypatch.setattr(model_commands, "_open", open_session)
    return directories


def test_samples_go_on_with_the_profiles_prompts(opened: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run("tiny", time.time())
    assert main(["sample", "tiny"]) == 0
    assert capsys.readouterr().out == "Once →  upon\\x1b a time\n\nTwice →  upon\\x1b a time\n\n"
    assert opened == [run.stage("pretrain").model]


def test_a_checkpoint_that_gives_way_to_a_newer_one_is_no_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stage = make_run("tiny", time.time(), model=False).stage("pretrain")
    older = make_model(stage.checkpoint_path(10))

    def open_session(arguments: object, directory: Path) -> Session:
        if directory == older:  # the run goes on meanwhile
            make_model(stage.checkpoint_path(20))
            shutil.rmtree(older)
            raise ModelError(str(directory), "is not a folder")
        return Session()

    monkeypatch.setattr(model_commands, "_open", open_session)
    assert main(["sample", "tiny", "--prompt", "Once"]) == 0
    assert "upon" in capsys.readouterr().out


def test_samples_for_programs_are_json_lines(opened: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    make_run("tiny", time.time())
    assert main(["sample", "tiny", "--prompt", "春", "--json"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line)["prompt"] == "春"
    assert json.loads(line)["text"] == " upon\x1b a time"


def test_a_model_without_prompts_asks_for_one(
    opened: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["sample", str(make_model(tmp_path / "model"))]) == 2
    assert "--prompt TEXT" in capsys.readouterr().err
    assert opened == [], "nothing is loaded for a request that cannot be met"


def test_piped_chat_answers_each_line(
    opened: list[Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make_run("tiny", time.time())
    monkeypatch.setattr("sys.stdin", io.StringIO("hello\n"))
    assert main(["chat", "tiny"]) == 0
    captured = capsys.readouterr()
    assert captured.out == " upon\\x1b a time\n"
    assert captured.err == ""
