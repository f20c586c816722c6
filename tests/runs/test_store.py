"""Run directories: what is found, what is kept, what can be brought back."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

from workbench.errors import RunError
from workbench.runs.liveness import RunLock
from workbench.runs.metrics import MetricsWriter
from workbench.runs.store import (
    RunDirectory,
    RunState,
    StageDirectory,
    create_run,
    list_runs,
    list_trash,
    open_run,
    restore_run,
    trash_run,
)


def add_checkpoints(stage: StageDirectory, *steps: int) -> None:
    for step in steps:
        stage.checkpoint_path(step).mkdir(parents=True)
        (stage.checkpoint_path(step) / "config.json").write_text("{}", encoding="utf-8")


def kept_steps(stage: StageDirectory) -> list[int]:
    return [checkpoint.step for checkpoint in stage.checkpoints()]


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return create_run(tmp_path, "tiny", 'description = "春"\n')


def test_the_state_survives_the_disk(run: RunDirectory) -> None:
    state = RunState("running", ("pretrain", "sft"), "sft", 3, 9, loss=1.5, pid=7, host="here", updated_at=2.0)
    run.write_state(state)
    assert run.state() == state


def test_a_diverged_loss_leaves_the_state_valid_json(run: RunDirectory) -> None:
    run.write_state(RunState("running", loss=math.nan))
    json.loads(run.state_path.read_text(encoding="utf-8"), parse_constant=pytest.fail)
    assert run.state().loss is None


@pytest.mark.parametrize("content", ["", "{", "[]", '{"status": "levitating", "unknown": 1}'])
def test_a_damaged_state_reads_as_a_run_that_has_not_begun(run: RunDirectory, content: str) -> None:
    run.state_path.write_text(content, encoding="utf-8")
    assert run.state() == RunState()


def test_damaged_values_of_a_state_are_left_out(run: RunDirectory) -> None:
    damaged = {"status": "running", "stages": ["a", 1], "step": "x", "loss": [], "val_loss": None, "updated_at": "now"}
    run.state_path.write_text(json.dumps({**damaged, "steps": 9, "heartbeat": 3}), encoding="utf-8")
    assert run.state() == RunState(status="running", stages=("a",), steps=9, heartbeat=3)
    assert run.summary().step == 0


def test_a_state_is_never_left_half_written(run: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    run.write_state(RunState("running"))
    monkeypatch.setattr(os, "fsync", lambda descriptor: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        run.write_state(RunState("done"))
    assert run.state().status == "running"
    assert not list(run.path.glob(".*.tmp"))


def test_only_complete_checkpoints_are_found(run: RunDirectory) -> None:
    stage = run.stage("pretrain")
    assert stage.newest_checkpoint() is None
    add_checkpoints(stage, 1000, 500, 1_000_000)
    (stage.checkpoints_path / ".step-002000.tmp").mkdir()
    (stage.checkpoints_path / "step-003000.partial").mkdir()
    (stage.checkpoints_path / "step-004000").write_text("a file", encoding="utf-8")
    assert kept_steps(stage) == [500, 1000, 1_000_000]
    newest = stage.newest_checkpoint()
    assert newest is not None
    assert newest.step == 1_000_000


def test_leftovers_of_a_killed_save_are_removed_and_checkpoints_stay(run: RunDirectory) -> None:
    stage = run.stage("pretrain")
    add_checkpoints(stage, 500)
    (stage.checkpoints_path / ".step-001000.tmp").mkdir()
    stage.remove_leftovers()
    assert [path.name for path in stage.checkpoints_path.iterdir()] == ["step-000500"]


def test_pruning_keeps_the_newest_and_the_best(run: RunDirectory) -> None:
    stage = run.stage("pretrain")
    add_checkpoints(stage, 100, 200, 300, 400, 500)
    with MetricsWriter(stage.metrics) as writer:
        # Step 150 was better still, but has no checkpoint; step 300 was measured and not finite.
        for step, loss in ((100, 3.0), (150, 0.1), (200, 1.0), (300, math.nan), (400, 2.0)):
            writer.write({"step": step, "val_loss": loss})
    deleted = stage.prune_checkpoints(keep=2)
    assert kept_steps(stage) == [200, 400, 500]
    assert [checkpoint.step for checkpoint in deleted] == [100, 300]
    assert sorted(path.name for path in stage.checkpoints_path.iterdir()) == [
        "step-000200",
        "step-000400",
        "step-000500",
    ]


def test_without_validation_pruning_keeps_the_newest(run: RunDirectory) -> None:
    stage = run.stage("pretrain")
    add_checkpoints(stage, 100, 200, 300)
    stage.prune_checkpoints(keep=1)
    assert kept_steps(stage) == [300]


def test_a_run_is_created_once(run: RunDirectory, tmp_path: Path) -> None:
    assert run.profile_path.read_text(encoding="utf-8") == 'description = "春"\n'
    with pytest.raises(RunError, match="exists already"):
        create_run(tmp_path, "tiny", "")
    assert run.profile_path.read_text(encoding="utf-8") == 'description = "春"\n'


@pytest.mark.parametrize("name", ["", ".", "..", "../up", "a/b", ".hidden", "a\\b", "a\n", "x" * 81])
def test_names_that_are_no_plain_folder_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(RunError, match="cannot name a folder"):
        create_run(tmp_path, name, "")
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_run_names_the_nearest(run: RunDirectory, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="did you mean tiny"):
        open_run(tmp_path, "tinny")
    with pytest.raises(RunError, match="no runs there"):
        open_run(tmp_path / "absent", "tiny")


def test_a_run_opens_by_name_and_by_path(run: RunDirectory, tmp_path: Path) -> None:
    assert open_run(tmp_path, "tiny").path == run.path
    assert open_run(tmp_path / "absent", str(run.path)).path == run.path


def test_runs_are_listed_latest_first(tmp_path: Path) -> None:
    for index, name in enumerate(["old", "new", "middle"]):
        run = create_run(tmp_path, name, "")
        run.write_state(RunState("done", updated_at=[1.0, 3.0, 2.0][index], val_loss=1.5, stage="sft", step=4, steps=5))
    (tmp_path / "not-a-run").mkdir()
    summaries = list_runs(tmp_path)
    assert [summary.name for summary in summaries] == ["new", "middle", "old"]
    assert (summaries[0].val_loss, summaries[0].stage, summaries[0].step) == (1.5, "sft", 4)
    assert list_runs(tmp_path / "absent") == []


def test_a_run_nobody_works_on_was_interrupted(run: RunDirectory) -> None:
    run.write_state(RunState("running"))
    assert run.summary().label == "interrupted"
    with RunLock(run.path):
        assert run.summary().label == "running"
    run.write_state(RunState("done"))
    assert run.summary().label == "done"


def test_a_deleted_run_comes_back_whole(run: RunDirectory, tmp_path: Path) -> None:
    add_checkpoints(run.stage("sft"), 5)
    trashed = trash_run(tmp_path, "tiny")
    assert list_runs(tmp_path) == []
    assert list_trash(tmp_path) == [trashed]
    restored = restore_run(trashed)
    assert (restored.name, kept_steps(restored.stage("sft"))) == ("tiny", [5])
    assert list_trash(tmp_path) == []


def test_restoring_never_overwrites(run: RunDirectory, tmp_path: Path) -> None:
    first = trash_run(tmp_path, "tiny")
    create_run(tmp_path, "tiny", "new = 1")
    with pytest.raises(RunError, match="exists already"):
        restore_run(first)
    assert (tmp_path / "tiny" / "profile.toml").read_text(encoding="utf-8") == "new = 1"
    second = trash_run(tmp_path, "tiny")
    assert list_trash(tmp_path) == [first, second]


def test_a_run_at_work_is_not_deleted(run: RunDirectory, tmp_path: Path) -> None:
    with RunLock(run.path), pytest.raises(RunError, match="is running"):
        trash_run(tmp_path, "tiny")
    assert run.path.is_dir()


def test_the_model_to_talk_to_is_the_last_stages_result(run: RunDirectory) -> None:
    run.write_state(RunState(stages=("pretrain", "align")))
    with pytest.raises(RunError, match="no model yet"):
        run.model_directory()
    add_checkpoints(run.stage("pretrain"), 100)
    assert run.model_directory() == run.stage("pretrain").checkpoint_path(100)
    model = run.stage("pretrain").model
    model.mkdir()
    assert run.model_directory() == run.stage("pretrain").checkpoint_path(100), "an empty folder is no model"
    (model / "config.json").write_text("{}", encoding="utf-8")
    assert run.model_directory() == model
    add_checkpoints(run.stage("align"), 10, 20)
    assert run.model_directory() == run.stage("align").checkpoint_path(20)
    assert run.model_directory(stage="pretrain") == model
    assert run.model_directory(step=10) == run.stage("align").checkpoint_path(10)
    with pytest.raises(RunError, match=r"no checkpoint of step 7.*align 10, align 20"):
        run.model_directory(step=7)
    with pytest.raises(RunError, match="did you mean align"):
        run.model_directory(stage="aling")


def test_sizes_count_every_file(run: RunDirectory) -> None:
    before = run.size_bytes()
    stage = run.stage("sft")
    add_checkpoints(stage, 1)
    (stage.path / "blob").write_bytes(b"x" * 1000)
    assert stage.size_bytes() == 1002
    assert run.size_bytes() == before + 1002


def test_listing_runs_imports_neither_torch_nor_textual() -> None:
    code = "import sys, workbench.runs.recorder; print([m for m in ('torch', 'textual', 'numpy') if m in sys.modules])"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "[]"
