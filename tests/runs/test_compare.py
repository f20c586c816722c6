"""Runs, stages and checkpoints side by side, from the files of a run alone."""

import json
from pathlib import Path
from typing import Any

import pytest

from workbench.errors import RunError
from workbench.runs.compare import Comparison, compare, comparison_data, curve, parse_side, value_at

PROFILE = """
description = "made by {name}"
[run]
name = "{name}"
seed = 1
[model]
hidden_size = {width}
[[stage]]
name = "pretrain"
kind = "pretrain"
learning_rate = {rate}
[stage.optimizer]
name = "adamw"
[[stage]]
name = "sft"
kind = "sft"
learning_rate = 0.001
"""


def write_lines(path: Path, records: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")


def make_run(workspace: Path, name: str, width: int = 64, rate: float = 0.01, slope: float = 1.0) -> None:
    run = workspace / name
    steps = [{"step": 0, "val_loss": 6.0}]
    for step in (10, 20, 30, 40):
        steps.append({"step": step, "tokens": step * width, "seconds": step * 2.0, "loss": 6.0 - slope * step / 10})
        if step in (20, 40):
            steps[-1]["val_loss"] = round(6.1 - slope * step / 10, 3)
    write_lines(run / "pretrain/metrics.jsonl", steps)
    write_lines(run / "pretrain/samples.jsonl", [sample(step, name) for step in (0, 20, 40)])
    (run / "pretrain/checkpoints/step-000020").mkdir(parents=True)
    (run / "profile.toml").write_text(PROFILE.format(name=name, width=width, rate=rate), encoding="utf-8")
    (run / "state.json").write_text('{"stages": ["pretrain", "sft"], "stage": "pretrain"}', encoding="utf-8")


def sample(step: int, name: str) -> dict[str, Any]:
    return {"step": step, "prompt": "Once", "text": f" {name} at {step}", "seed": 7}


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    make_run(tmp_path, "wide", width=64)
    make_run(tmp_path, "narrow", width=32, rate=0.02, slope=0.5)
    return tmp_path


def compared(workspace: Path, *sides: str) -> Comparison:
    return compare([parse_side(workspace, side) for side in sides])


def test_only_settings_that_differ_and_matter_are_told(workspace: Path) -> None:
    found = {each.key: each.values for each in compared(workspace, "wide", "narrow").differences}
    assert found == {"model.hidden_size": ("64", "32"), "stage.pretrain.learning_rate": ("0.01", "0.02")}


def test_a_setting_that_one_side_lacks_is_told(workspace: Path) -> None:
    path = workspace / "wide/profile.toml"
    path.write_text(path.read_text(encoding="utf-8") + "[evaluate]\nquestions = ['q.jsonl']\n", encoding="utf-8")
    found = {each.key: each.values for each in compared(workspace, "wide", "narrow").differences}
    assert found["evaluate.questions"] == ('["q.jsonl"]', "-")


def test_the_last_figures_and_who_is_better(workspace: Path) -> None:
    (workspace / "wide/pretrain/result.json").write_text('{"after": {"exact_match": 0.25, "val_loss": 9}}')
    comparison = compared(workspace, "wide", "narrow")
    assert comparison.scores["loss"] == (2.0, 4.0) and comparison.scores["val_loss"] == (2.1, 4.1)
    assert comparison.scores["exact_match"] == (0.25, None)
    assert (comparison.best("val_loss"), comparison.best("tokens"), comparison.best("exact_match")) == (0, None, None)


def test_a_checkpoint_is_what_the_run_was_then(workspace: Path) -> None:
    (workspace / "wide/pretrain/result.json").write_text('{"after": {"exact_match": 0.25}}')
    comparison = compared(workspace, "wide@20", "wide")
    assert comparison.scores["loss"] == (4.0, 2.0)
    assert comparison.scores["exact_match"] == (None, 0.25)
    assert comparison.sayings[0].texts == (" wide at 20", " wide at 40")
    assert comparison.sides[0].model == workspace / "wide/pretrain/checkpoints/step-000020"


def test_stage_against_stage_compares_their_own_settings(workspace: Path) -> None:
    write_lines(workspace / "wide/sft/metrics.jsonl", [{"step": 1, "loss": 3.0}])
    found = {each.key: each.values for each in compared(workspace, "wide:pretrain", "wide:sft").differences}
    assert found == {
        "stage.kind": ("pretrain", "sft"),
        "stage.learning_rate": ("0.01", "0.001"),
        "stage.optimizer.name": ("adamw", "-"),
    }


def test_without_a_stage_the_last_with_figures_is_taken(workspace: Path) -> None:
    (workspace / "wide/sft/checkpoints").mkdir(parents=True)
    assert parse_side(workspace, "wide").stage == "pretrain"
    write_lines(workspace / "wide/sft/metrics.jsonl", [{"step": 1, "loss": 3.0}])
    assert parse_side(workspace, "wide").stage == "sft"


def test_curves_run_along_steps_tokens_or_time(workspace: Path) -> None:
    comparison = compared(workspace, "wide", "narrow")
    assert comparison.curve(0, "val_loss") == [(0, 6.0), (20, 4.1), (40, 2.1)]
    assert comparison.curve(0, "val_loss", "tokens") == [(0, 6.0), (1280, 4.1), (2560, 2.1)]
    assert comparison.curve(1, "loss", "seconds")[-1] == (80.0, 4.0)
    x, values = comparison.at_common_point("loss", "tokens") or (0, ())
    assert x == 1280 and values == (4.0, 4.0), "the narrow one has seen half as many tokens"


def test_a_validation_between_reports_gets_its_tokens_by_proportion() -> None:
    records = [{"step": 10, "tokens": 100}, {"step": 15, "val_loss": 2.0}, {"step": 20, "tokens": 200}]
    assert curve(records, "val_loss", "tokens") == [(150.0, 2.0)]


def test_values_that_are_none_and_not_finite_are_no_points(workspace: Path) -> None:
    write_lines(
        workspace / "wide/pretrain/metrics.jsonl",
        [{"step": 1, "loss": None, "nonfinite": {"loss": "nan"}}, {"step": 2, "loss": True}, {"step": 3, "loss": 1.0}],
    )
    comparison = compared(workspace, "wide", "narrow")
    assert comparison.curve(0, "loss") == [(3.0, 1.0)]
    json.dumps(comparison_data(comparison, "tokens"), allow_nan=False)


def test_a_value_between_points_is_by_proportion_and_none_outside() -> None:
    points = [(1.0, 10.0), (3.0, 20.0)]
    assert [value_at(points, x) for x in (0.5, 1, 2, 3, 3.5)] == [None, 10.0, 15.0, 20.0, None]


def test_prompts_of_one_side_alone_are_kept(workspace: Path) -> None:
    write_lines(workspace / "narrow/pretrain/samples.jsonl", [{"step": 5, "prompt": "[/INST]", "text": "x", "seed": 1}])
    sayings = compared(workspace, "wide", "narrow").sayings
    assert [(each.prompt, each.texts) for each in sayings] == [
        ("Once", (" wide at 40", None)),
        ("[/INST]", (None, "x")),
    ]


@pytest.mark.parametrize(
    ("side", "told"),
    [
        ("wied", "did you mean wide"),
        ("wide:pretrian", "no stage 'pretrian'; did you mean pretrain"),
        ("wide@now", "'now' is no step"),
    ],
)
def test_a_side_that_is_not_there_is_refused(workspace: Path, side: str, told: str) -> None:
    with pytest.raises(RunError) as caught:
        parse_side(workspace, side)
    assert told in str(caught.value)


def test_one_side_is_not_enough(workspace: Path) -> None:
    with pytest.raises(RunError, match="not enough"):
        compared(workspace, "wide")


@pytest.mark.parametrize("name", ["metrics.jsonl", "samples.jsonl", "../profile.toml", "../state.json"])
def test_a_damaged_file_costs_its_part_alone(workspace: Path, name: str) -> None:
    (workspace / "wide/pretrain" / name).write_bytes(b'{"step": \xff\n')
    compared(workspace, "wide", "narrow")
