"""A run of several processes, as the command line starts it: one of them writes and speaks, and they end together."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.training.processes import ended, start_ranks
from workbench import events
from workbench.jobs import Job, resume_job
from workbench.profile import read_profile
from workbench.runs.metrics import read_metrics
from workbench.runs.store import RunDirectory

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
ENDLESS = 1_000_000
PROFILE = """
[run]
name = "shared"
seed = 3
device = "cpu"
precision = "fp32"
threads = 1
[tokenizer]
kind = "bytes"
[model]
hidden_size = 32
num_hidden_layers = 2
num_attention_heads = 2
max_position_embeddings = 64
[[stage]]
kind = "pretrain"
data = "text.jsonl"
sequence_length = 32
batch_size = 4
steps = 8
log_every = 1
evaluate_every = 4
evaluate_batches = 3
validation_fraction = 0.2
prompts = ["The"]
sample_tokens = 4
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a profile and its data, and a cache of its own."""
    monkeypatch.setenv("LLM_WORKBENCH_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    rows = (json.dumps({"text": f"The number {number} follows {number - 1}."}) for number in range(80))
    (tmp_path / "text.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")
    (tmp_path / "mine.toml").write_text(PROFILE, encoding="utf-8")
    return tmp_path


def command(*arguments: str) -> list[str]:
    return ["-m", "workbench.cli", "--profile", "mine.toml", *arguments]


def run_alone(folder: Path, name: str, stop_at: int | None = None) -> None:
    emitter = events.Emitter()
    job = Job(read_profile(str(folder / "mine.toml")), name=name, workspace=folder / "runs", emitter=emitter)
    emitter.subscribe(
        lambda event: job.control.stop() if isinstance(event, events.StepFinished) and event.step == stop_at else None
    )
    assert job.run().status == ("done" if stop_at is None else "stopped")


def figures(folder: Path, run: str) -> list[dict[str, Any]]:
    kept = ("step", "tokens", "loss", "grad_norm", "val_loss", "learning_rate")
    records = read_metrics(folder / "runs" / run / "pretrain" / "metrics.jsonl")
    return [{key: record[key] for key in kept if key in record} for record in records]


def same(found: list[dict[str, Any]], wanted: list[dict[str, Any]]) -> bool:
    return len(found) == len(wanted) and all(
        one == pytest.approx(two, rel=1e-5) for one, two in zip(found, wanted, strict=True)
    )


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 240
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.05)


def training(folder: Path) -> bool:
    return len(read_metrics(folder / "runs" / "shared" / "pretrain" / "metrics.jsonl")) > 3


def test_a_run_of_one_process_goes_on_by_two_that_share_the_model(folder: Path) -> None:
    run_alone(folder, "whole")
    run_alone(folder, "shared", stop_at=3)
    first, second = ended(start_ranks(2, *command("--set", "run.parallel=fsdp")))
    assert (first[0], second[0]) == (0, 0), first[2] + second[2]
    assert "chat" in first[1] and second[1:] == ("", ""), "rank 0 alone speaks"
    assert same(figures(folder, "shared"), figures(folder, "whole"))
    run = folder / "runs" / "shared"
    kept = [json.loads(line)["event"] for line in (run / "events.jsonl").read_text(encoding="utf-8").splitlines()]
    assert kept.count("RunStarted") == 2 and kept.count("StageFinished") == 1 and not (run / "lock").exists()
    assert (run / "pretrain" / "model" / "model.safetensors").is_file() and (run / "report.md").is_file()


def test_torchrun_hands_on_a_signal_and_one_process_goes_on_from_what_was_saved(folder: Path) -> None:
    run_alone(folder, "whole")
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, *torchrun, *command("--set", f"stage.pretrain.steps={ENDLESS}")],
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_for(lambda: training(folder))
    process.send_signal(signal.SIGTERM)
    told = process.communicate(timeout=240)[1]
    run = RunDirectory(folder / "runs" / "shared")
    assert run.state().status == "stopped" and told.count("stopped and saved") == 1, told
    step = run.state().step
    resume_job(run.path, steps=step + 2).run()
    assert [record["step"] for record in figures(folder, "shared")] == list(range(step + 3))


def test_a_bad_profile_is_told_once(folder: Path) -> None:
    first, second = ended(start_ranks(2, *command("--set", "stage.pretrain.batch_size=1")))
    assert (first[0], second[0]) == (2, 2)
    assert first[2].splitlines() == [
        "llm-workbench: run.parallel on 2 processes: stage.pretrain.batch_size: 1 is less than a row for each of "
        "2 processes; raise it, or start fewer"
    ]
    assert second[2] == "" and not (folder / "runs").exists()


def test_what_ends_one_process_ends_all_and_is_told_by_the_first(folder: Path) -> None:
    (folder / "taken").write_text("no folder", encoding="utf-8")
    own = {1: {"LLM_WORKBENCH_HOME": str(folder / "taken")}}
    first, second = ended(start_ranks(2, *command(), own=own))
    assert (first[0], second[0]) == (1, 1)
    assert "llm-workbench: rank 1: " in first[2] and f"{folder / 'taken'}" in first[2] and second[2] == ""
    assert RunDirectory(folder / "runs" / "shared").state().message.startswith("rank 1: ")


def test_a_process_that_is_killed_leaves_none_waiting(folder: Path) -> None:
    processes = start_ranks(2, *command("--set", f"stage.pretrain.steps={ENDLESS}"))
    wait_for(lambda: training(folder))
    processes[1].kill()
    first, _ = ended(processes)
    assert first[0] == 1 and "another process is gone" in first[2]
    assert RunDirectory(folder / "runs" / "shared").state().status == "failed"
