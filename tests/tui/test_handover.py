"""A run outlives the terminal it was started in: real training, a real pseudo-terminal, closed."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from workbench.jobs import Job
from workbench.profile import read_profile
from workbench.runs.liveness import is_alive, read_holder
from workbench.runs.metrics import read_metrics
from workbench.runs.store import RunDirectory

pty = pytest.importorskip("pty", reason="pseudo-terminals are of Unix")

PROFILE = """
[run]
seed = 3
precision = "fp32"
threads = 1
[tokenizer]
kind = "bytes"
[model]
hidden_size = 32
num_hidden_layers = 1
num_attention_heads = 2
max_position_embeddings = 64
[[stage]]
kind = "pretrain"
data = "text.jsonl"
sequence_length = 32
batch_size = 8
steps = 3000
log_every = 1
evaluate_every = 3000
sample_every = 3000
checkpoint_every = 3000
"""
CODE = """
import sys
from pathlib import Path
from workbench.profile import read_profile
from workbench.tui import app
from workbench.tui.bridge import JobRequest

async def on_ready(self):
    await self.start_job(JobRequest(profile=read_profile(sys.argv[1]), name="tiny"))

app.WorkbenchApp.on_ready = on_ready
sys.exit(app.run_app(Path(sys.argv[2])))
"""


def losses(run: RunDirectory) -> list[tuple[int, float]]:
    return [(each["step"], each["loss"]) for each in read_metrics(run.stage("pretrain").metrics) if "loss" in each]


def wait_for(condition: Any, what: str) -> None:
    deadline = time.monotonic() + 300
    while not condition():
        assert time.monotonic() < deadline, f"{what} never came"
        time.sleep(0.02)


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    """A profile of three thousand short steps."""
    rows = [json.dumps({"text": f"row {number} tells of {number * 7 % 11} cats"}) for number in range(200)]
    (tmp_path / "text.jsonl").write_text("\n".join(rows), encoding="utf-8")
    path = tmp_path / "profile.toml"
    path.write_text(PROFILE, encoding="utf-8")
    return path


def test_a_run_goes_on_when_its_terminal_closes_as_if_nothing_had_been(tmp_path: Path, profile: Path) -> None:
    master, slave = pty.openpty()
    environment = {**os.environ, "LLM_WORKBENCH_HOME": str(tmp_path / "home"), "TERM": "xterm-256color"}
    arguments = [sys.executable, "-c", CODE, str(profile), str(tmp_path / "runs")]
    process = subprocess.Popen(
        arguments, stdin=slave, stdout=slave, stderr=slave, env=environment, cwd=tmp_path, start_new_session=True
    )
    os.close(slave)
    os.set_blocking(master, False)
    run = RunDirectory(tmp_path / "runs" / "tiny")

    def read_away() -> None:
        try:
            while os.read(master, 65536):
                pass
        except OSError:
            pass

    def some_steps() -> bool:
        read_away()
        return process.poll() is not None or len(losses(run)) >= 5

    wait_for(some_steps, "the fifth step")
    assert process.poll() is None
    os.close(master)
    for _ in range(2):
        process.send_signal(signal.SIGHUP)
    assert process.wait(300) == 129
    assert len(losses(run)) < 3000, "the run ended before its terminal did"
    wait_for(lambda: run.state().status == "done" and not is_alive(run.path), "the end of the run")
    assert "pretrain done" in run.console_log_path.read_text(encoding="utf-8")

    alone = read_profile(str(profile))
    undisturbed = RunDirectory(Job(alone, name="alone", workspace=tmp_path / "runs").run().directory)
    assert losses(run) == losses(undisturbed)


def test_another_process_takes_the_run_up_in_a_session_of_its_own(tmp_path: Path, profile: Path) -> None:
    from workbench.control import Control
    from workbench.tui.handover import hand_over

    control = Control()
    control.stop()
    outcome = Job(read_profile(str(profile)), name="tiny", workspace=tmp_path / "runs", control=control).run()
    process = hand_over(outcome.directory)
    run = RunDirectory(outcome.directory)
    wait_for(lambda: (holder := read_holder(run.path)) is not None and holder.pid == process, "the other process")
    assert os.getsid(process) == process != os.getsid(0)
    os.kill(process, signal.SIGTERM)
    wait_for(lambda: run.state().status == "stopped" and not is_alive(run.path), "its end")
    os.waitpid(process, 0)
