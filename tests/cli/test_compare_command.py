"""`compare`: the comparison as text for people and as JSON for programs."""

import json
from pathlib import Path
from typing import Any

import pytest

from workbench.cli.main import main


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LLM_WORKBENCH_HOME", str(tmp_path / "home"))
    for name, rate in (("one", 0.01), ("two", 0.02)):
        stage = tmp_path / "runs" / name / "pretrain"
        stage.mkdir(parents=True)
        steps = [{"step": s, "tokens": s * 8, "seconds": s / 2, "loss": 5 - rate * s} for s in range(0, 101, 10)]
        (stage / "metrics.jsonl").write_text("".join(json.dumps(step) + "\n" for step in steps), encoding="utf-8")
        sample = {"step": 100, "prompt": "Once", "text": f"{name}\x1b[2J\n[/INST]", "seed": 1}
        (stage / "samples.jsonl").write_text(json.dumps(sample) + "\n", encoding="utf-8")
        profile = f'[[stage]]\nname = "pretrain"\nkind = "pretrain"\nlearning_rate = {rate}\n'
        (tmp_path / "runs" / name / "profile.toml").write_text(profile, encoding="utf-8")
    return tmp_path / "runs"


def run(capsys: Any, *arguments: str) -> tuple[int, str, str]:
    code = main(list(arguments))
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_people_see_settings_scores_curves_and_answers(runs: Path, capsys: Any) -> None:
    code, out, _ = run(capsys, "compare", "one", "two", "--workspace", str(runs), "--by", "tokens")
    assert code == 0
    assert "stage.pretrain.learning_rate  0.01  0.02" in out
    assert "loss" in out and "3.000 *" in out
    assert "800" in out, "the curves by tokens, to their end"
    assert "\x1b" not in out and "[/INST]" in out


def test_programs_get_whole_curves(runs: Path, capsys: Any) -> None:
    code, out, _ = run(capsys, "compare", "one", "two@50", "--workspace", str(runs), "--json")
    data = json.loads(out)
    assert code == 0
    assert [side["run"] for side in data["sides"]] == ["one", "two"]
    assert [len(points) for points in data["curves"]["loss"]] == [11, 6]
    assert data["scores"]["loss"] == [4.0, 4.0]


def test_a_run_that_is_not_there_is_told(runs: Path, capsys: Any) -> None:
    code, out, err = run(capsys, "compare", "one", "tow", "--workspace", str(runs))
    assert (code, out) == (2, "") and "did you mean two" in err


def test_sides_are_asked_the_same(runs: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "workbench.evaluation.side_by_side.ask",
        lambda side, asking: iter([f"{side.label} on ", f"{asking.prompt} {asking.seed}\x1b[2J"]),
    )
    command = ("compare", "one", "two", "--workspace", str(runs), "--prompt", "Hi", "--seed", "5")
    code, out, _ = run(capsys, *command)
    assert code == 0
    assert "one on Hi 5\\x1b[2J" in out and "two on Hi 5" in out
    code, out, _ = run(capsys, *command, "--json")
    (asked,) = json.loads(out)["asked"]
    assert (asked["prompt"], asked["seeds"]) == ("Hi", [5, 5])
    assert asked["texts"][1] == "two on Hi 5\x1b[2J"


def test_a_side_without_a_model_cannot_be_asked(runs: Path, capsys: Any) -> None:
    code, _, error = run(capsys, "compare", "one", "two", "--workspace", str(runs), "--prompt", "Hi")
    assert code == 2
    assert "one: no model of it is kept" in error
