"""What Home does with runs: a model written where somebody says, as somebody wants it."""

from pathlib import Path

import pytest

from workbench.errors import UsageError
from workbench.runs.store import RunDirectory, RunState, create_run
from workbench.tui.run_chores import write_model


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    """A run with the files of a checkpoint."""
    made = create_run(tmp_path / "runs", "one", "")
    made.write_state(RunState("done", ("pretrain",), "pretrain", 3, 3))
    model = made.path / "pretrain" / "checkpoints" / "step-000003"
    (model / "resume").mkdir(parents=True)
    for name in ("config.json", "model.safetensors", "tokenizer.json", "resume/state.json"):
        (model / name).write_text(name, encoding="utf-8")
    return made


def test_a_folder_gets_the_model_without_what_only_resuming_needs(run: RunDirectory, tmp_path: Path) -> None:
    target = tmp_path / "deep" / "model"
    write_model(run.path, target)
    assert sorted(path.name for path in target.iterdir()) == ["config.json", "model.safetensors", "tokenizer.json"]
    assert (target / "config.json").read_text(encoding="utf-8") == "config.json"
    assert sorted(path.name for path in target.parent.parent.iterdir()) == ["deep", "runs"]


def test_nothing_is_written_over(run: RunDirectory, tmp_path: Path) -> None:
    target = tmp_path / "model"
    target.mkdir()
    (target / "mine").touch()
    with pytest.raises(UsageError, match="exists already"):
        write_model(run.path, target)
    assert [path.name for path in target.iterdir()] == ["mine"]
