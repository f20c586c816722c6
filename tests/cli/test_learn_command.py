"""`learn`: topics on a terminal and for programs."""

import json
from pathlib import Path

import pytest

from workbench.cli.main import main
from workbench.learn.topics import all_topics


@pytest.fixture
def run(home: Path) -> Path:
    """A run that wrote two lines."""
    stage = Path("runs/small/pretrain")
    stage.mkdir(parents=True)
    text = '[[stage]]\nkind = "pretrain"\ndata = "x"\nsteps = 10\nbatch_size = 8\nsequence_length = 64\n'
    Path("runs/small/profile.toml").write_text(text, encoding="utf-8")
    lines = [{"step": 1, "tokens": 512, "loss": 7.5}, {"step": 2, "tokens": 1024, "loss": 6.5, "val_loss": 2.0}]
    (stage / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return stage


def test_all_topics_are_listed(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["learn"]) == 0
    told = capsys.readouterr().out
    assert len(told.splitlines()) == len(all_topics()) and "Perplexity" in told
    assert main(["learn", "--json", "--lang", "zh"]) == 0
    assert {"name": "val_perplexity", "title": "困惑度"} in json.loads(capsys.readouterr().out)


def test_a_topic_is_explained_with_the_numbers_of_a_run(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["learn", "val_perplexity", "--run", "small"]) == 0
    told = capsys.readouterr().out
    assert "= exp(2) = 7.3891" in told and "workbench/evaluation/perplexity.py:" in told and "Formula, in small" in told
    assert main(["learn", "tokens_per_step", "--run", "small", "--stage", "pretrain", "--json"]) == 0
    formula = json.loads(capsys.readouterr().out)["formulas"][0]
    assert formula["filled"] == "8 × 1 × 64" and formula["value"] == 512


def test_a_topic_is_explained_in_chinese(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--lang", "zh", "learn", "困惑度"]) == 0
    told = capsys.readouterr().out
    assert told.startswith("困惑度") and "公式" in told and "（有了运行，这里会填入数字）" in told


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["perplexty"], "did you mean"),
        (["loss", "--stage", "sft"], "has no effect without --run"),
        (["--run", "small"], "has no effect without a topic"),
        (["loss", "--run", "smal"], "did you mean small?"),
        (["loss", "--run", "small", "--stage", "sft"], "has no stage 'sft'"),
    ],
)
def test_what_cannot_be_explained_is_refused(
    run: Path, words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["learn", *words]) > 0
    told = capsys.readouterr()
    assert message in told.err and told.out == ""
