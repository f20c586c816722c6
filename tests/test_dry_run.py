"""A dry run measures the profile itself, cut short, and leaves nothing behind."""

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest

from workbench import events
from workbench.cli.main import main
from workbench.config import Profile
from workbench.dry_run import StageTrial, Trial, dry_run, shortened
from workbench.errors import WorkbenchError
from workbench.profile import parse_profile

PROFILE = """
[run]
device = "cpu"
precision = "fp32"
threads = 1
[tokenizer]
kind = "bytes"
[model]
hidden_size = 16
num_hidden_layers = 1
num_attention_heads = 2
max_position_embeddings = 64
[[stage]]
kind = "pretrain"
data = "text.txt"
validation_fraction = 0.2
sequence_length = 16
batch_size = 2
steps = 900
warmup = 50
evaluate_every = 100
evaluate_batches = 2
[[stage]]
name = "again"
kind = "pretrain"
data = "text.txt"
sequence_length = 16
batch_size = 2
steps = 3
validation_fraction = 0
"""


@pytest.fixture
def profile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Profile:
    (tmp_path / "text.txt").write_text(
        "\n\n".join(f"The {n}th cat sat on the mat." for n in range(60)), encoding="utf-8"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "thrown-away"))
    (tmp_path / "thrown-away").mkdir()
    (tmp_path / "own.toml").write_text(PROFILE, encoding="utf-8")
    return parse_profile(PROFILE, "own.toml")


def test_what_takes_longer_is_cut_and_the_rest_is_as_it_was(profile: Profile) -> None:
    first, second = shortened(profile, steps=4).stage
    assert (first.steps, first.warmup, first.log_every) == (4, 3, 1)
    assert (second.steps, second.warmup) == (3, 0)
    assert first.batch_size == 2 and first.optimizer == profile.stage[0].optimizer
    assert profile.stage[0].steps == 900


def test_epochs_are_cut_too() -> None:
    text = PROFILE.replace("steps = 900\nwarmup = 50", "epochs = 3.0")
    stage = shortened(parse_profile(text, "here"), steps=4).stage[0]
    assert (stage.steps, stage.epochs) == (4, None)


def test_every_stage_is_measured_and_nothing_stays(profile: Profile, tmp_path: Path) -> None:
    heard: list[events.Event] = []
    trial = dry_run(profile, {"pretrain": 900, "again": 3}, heard.append)
    assert trial is not None and [stage.stage for stage in trial.stages] == ["pretrain", "again"]
    first, second = trial.stages
    assert first.step_seconds > 0 and first.tokens_per_second > 0 and first.memory_bytes > 2**20
    assert (first.validations, second.validations) == (2 + 8, 0)
    assert first.seconds is not None and first.seconds > 900 * first.step_seconds
    assert (trial.device, trial.precision, trial.threads) == ("cpu", "fp32", 1)
    assert len([event for event in heard if isinstance(event, events.StepFinished)]) == 5 + 3
    assert list((tmp_path / "thrown-away").iterdir()) == [] and not (tmp_path / "runs").exists()


def test_the_whole_is_the_sum_of_what_was_measured() -> None:
    stage = StageTrial("pretrain", 100, 0.5, 4.0, 2.0, 3, 10**9, 512.0)
    assert stage.seconds == 50 + 4 + 6
    assert Trial((stage, stage), 5.0).seconds == 125
    unknown = StageTrial("sft", None, 0.5, 4.0, 2.0, 2, 2 * 10**9, 512.0)
    assert Trial((stage, unknown), 5.0).seconds is None and Trial((stage, unknown), 5.0).memory_bytes == 2 * 10**9


def test_it_stops_when_told_to(profile: Profile, tmp_path: Path) -> None:
    heard: list[Any] = []
    assert dry_run(profile, {}, heard.append, lambda: len(heard) >= 2) is None
    assert len(heard) == 2 and list((tmp_path / "thrown-away").iterdir()) == []


def test_a_run_that_fails_says_why(profile: Profile, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("", encoding="utf-8")
    with pytest.raises(WorkbenchError, match=r"dry run.*text\.txt"):
        dry_run(profile, {})


def test_check_tells_both_the_estimate_and_the_measurement(
    profile: Profile, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", "own.toml", "--dry-run", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["dry_run"]["stages"][0]["steps"] == 900 and told["dry_run"]["seconds"] > 0
    assert main(["check", "own.toml", "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert "MEASURED" in out and "on cpu in fp32, threads 1" in out
