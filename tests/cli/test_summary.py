"""What stands on stdout when a run is done."""

from pathlib import Path

from workbench.cli.summary import Summary, run_argument
from workbench.events import RunFinished, RunStarted, SampleMade, StageFinished
from workbench.narration import score
from workbench.runs.store import RunDirectory, create_run


def sample(stage: str, step: int, text: str) -> SampleMade:
    return SampleMade(stage=stage, step=step, prompt="Who?", text=text, seed=1)


def finished_run(workspace: Path) -> tuple[Summary, RunDirectory]:
    run = create_run(workspace, "tiny", "")
    model = run.stage("chat").model
    model.mkdir(parents=True)
    (model / "config.json").write_text("{}", encoding="utf-8")
    summary = Summary()
    for event in (
        RunStarted(
            run="tiny",
            directory=str(run.path),
            stages=("base", "chat"),
            device="cpu",
            precision="fp32",
            threads=1,
            resumed=False,
        ),
        sample("chat", 0, "early"),
        sample("chat", 900, "late\x1b[2J\nsecond line"),
        StageFinished(
            stage="chat",
            kind="sft",
            steps=900,
            tokens=1_200_000,
            seconds=80,
            tokens_per_second=15_000,
            model=str(model),
            before={"val_loss": 4.5, "exact_match": 0.0},
            after={"val_loss": 0.5, "exact_match": 0.93, "exact_match.en": 0.95},
        ),
        RunFinished(run="tiny", seconds=200, scores={"exact_match": 0.93}, report="runs/tiny/report.md"),
    ):
        summary(event)
    return summary, run


def test_the_end_shows_scores_model_report_and_how_to_talk_to_it() -> None:
    summary, run = finished_run(Path("runs"))
    text = summary.text(Path("runs"))
    assert ["val_loss", "4.500", "0.500"] in [line.split() for line in text.splitlines()]
    assert ["exact_match", "0.0%", "93.0%"] in [line.split() for line in text.splitlines()]
    assert ["exact_match.en", "-", "95.0%"] in [line.split() for line in text.splitlines()]
    assert str(run.stage("chat").model) in text
    assert "runs/tiny/report.md" in text
    assert text.rstrip().endswith("llm-workbench chat tiny")


def test_only_the_last_samples_are_shown_and_harmless() -> None:
    text = finished_run(Path("runs"))[0].text(Path("runs"))
    assert "early" not in text
    assert "Who? → late\\x1b[2J\n    second line" in text


def test_a_run_elsewhere_is_named_by_its_path(tmp_path: Path) -> None:
    workspace = tmp_path / "other place"
    summary, run = finished_run(workspace)
    assert f"llm-workbench chat '{run.path}'" in summary.text(workspace)
    assert run_argument(Path("runs/tiny"), Path("runs")) == "tiny"


def test_nothing_is_shown_of_a_run_that_came_to_no_end() -> None:
    assert Summary().text(Path("runs")) == ""


def test_losses_below_one_are_not_taken_for_shares() -> None:
    assert score("val_loss", 0.5) == "0.500"
    assert score("bits_per_byte", 0.9) == "0.900"
    assert score("tokens_per_second_read", 12345.6) == "12,346"
    assert score("exact_match", 0.5) == "50.0%"
    assert score("exact_match", None) == "-"
