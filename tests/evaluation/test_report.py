"""The report: made from the files of a run alone, complete or not, and proof against what models write."""

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from workbench import language
from workbench.errors import RunError
from workbench.evaluation.markdown import duration, escaped, fenced
from workbench.evaluation.report import write_report
from workbench.events import (
    DataReady,
    Event,
    RunStarted,
    SampleMade,
    Scored,
    StageFinished,
    StageStarted,
    StepFinished,
    TokenizerReady,
    Validated,
    Warned,
)
from workbench.runs.recorder import RunRecorder
from workbench.runs.store import RunDirectory

PROFILE = """
description = "a small *bilingual* world"
[run]
seed = 7
[model]
family = "llama3"
hidden_size = 64
num_hidden_layers = 2
num_attention_heads = 4
[[stage]]
name = "pretrain"
kind = "pretrain"
data = ["bundled:world.jsonl"]
[[stage]]
name = "sft"
kind = "sft"
data = ["bundled:chats.jsonl"]
"""
HOSTILE = "```\n# not a heading\n<script>alert(1)</script> | ![x](y) \x1b[2J ````"


def stage_events(stage: str, at: float, steps: int = 40, done: bool = True, text: str = "") -> list[Event]:
    """What a stage announces, one second a step."""
    data = DataReady(
        stage=stage,
        documents=90,
        validation_documents=10,
        tokens=5000,
        tokens_trained=4000,
        rows_read=103,
        rows_rejected=3,
        documents_truncated=0,
        from_cache=False,
        seconds=1.0,
        at=at,
    )
    started = StageStarted(
        stage=stage,
        kind=stage,
        step=0,
        steps=40,
        parameters=123_456,
        trained_parameters=123_456,
        vocab_size=300,
        tokens_per_step=100,
        flops_per_token=1.0,
        micro_batch_size=1,
        at=at,
    )
    told: list[Event] = [data, started, validated(stage, 0, 5.7, at)]
    told.append(SampleMade(stage=stage, step=0, prompt="Once", text="xqz", seed=1, at=at))
    told += [step_finished(stage, step, 5.7 - step / 10, at + step) for step in range(1, steps + 1)]
    told.append(SampleMade(stage=stage, step=steps, prompt="Once", text=text or "upon a time", seed=1, at=at + steps))
    told.append(validated(stage, steps, 1.25, at + steps))
    if done:
        told.append(Scored(stage=stage, scores={"exact_match": 0.9, "exact_match.zh": 0.8}, seconds=1, at=at + steps))
        told.append(
            StageFinished(
                stage=stage,
                kind=stage,
                steps=steps,
                tokens=steps * 100,
                seconds=38.0,
                tokens_per_second=105.0,
                model="somewhere",
                before={"val_loss": 5.7, "exact_match": 0.01},
                after={"val_loss": 1.25, "exact_match": 0.9},
                at=at + steps,
            )
        )
    return told


def validated(stage: str, step: int, loss: float, at: float) -> Validated:
    return Validated(
        stage=stage, step=step, val_loss=loss, val_perplexity=3.0, val_bits_per_byte=2.0, best=True, seconds=1, at=at
    )


def step_finished(stage: str, step: int, loss: float, at: float) -> StepFinished:
    return StepFinished(
        stage=stage,
        step=step,
        steps=40,
        tokens=step * 100,
        seconds=float(step),
        loss=loss,
        learning_rate=1e-3,
        grad_norm=1.0,
        tokens_per_second=100.0,
        mfu=None,
        memory_bytes=200 * 2**20,
        eta_seconds=1.0,
        at=at,
    )


def run_started(at: float, resumed: bool = False) -> RunStarted:
    return RunStarted(
        run="r",
        directory="d",
        stages=("pretrain", "sft"),
        device="cpu",
        precision="bf16",
        threads=2,
        resumed=resumed,
        at=at,
    )


def record(directory: Path, events: list[Event]) -> Path:
    directory.mkdir(exist_ok=True)
    run = RunDirectory(directory)
    run.profile_path.write_text(PROFILE, encoding="utf-8")
    run.write_resolved({"device": "cpu", "precision": "bf16", "threads": 2, "versions": {"torch": "2.13.0"}})
    with RunRecorder(run) as recorder:
        for event in events:
            recorder(event)
    return directory


def complete_run(directory: Path) -> Path:
    tokenizer = TokenizerReady(kind="bpe", vocab_size=300, bytes_per_token=3.456, seconds=2.0, at=102)
    events = [run_started(100), tokenizer, *stage_events("pretrain", 105), *stage_events("sft", 150)]
    record(directory, events)
    answers = [
        {"question": "Who?", "expected": "Ann", "given": "Ann", "language": "en", "right": True},
        {"question": "谁?", "expected": "安", "given": HOSTILE, "language": "zh", "right": False},
    ]
    lines = "".join(json.dumps(answer, ensure_ascii=False) + "\n" for answer in answers)
    (directory / "sft" / "answers.jsonl").write_text(lines, encoding="utf-8")
    return directory


def report_of(directory: Path) -> tuple[str, dict[str, Any]]:
    path = write_report(directory)
    assert path == directory / "report.md"
    return path.read_text(encoding="utf-8"), json.loads((directory / "report.json").read_text(encoding="utf-8"))


def outside_fences(markdown: str) -> str:
    """What Markdown would read as Markdown."""
    kept, fence = [], ""
    for line in markdown.split("\n"):
        ticks = re.match(r"`{3,}", line)
        if not fence and ticks:
            fence = ticks[0]
        elif fence and re.fullmatch(r"`{3,}", line) and len(line) >= len(fence):
            fence = ""
        elif not fence:
            kept.append(line)
    assert not fence, "a fence is left open"
    return "\n".join(kept)


def test_the_report_as_data_has_the_documented_form(tmp_path: Path) -> None:
    _, data = report_of(complete_run(tmp_path / "world"))
    sft = data["stages"][1]
    assert set(data) == {"stages", "scores", "findings", "seconds", "device", "versions"}
    assert [stage["name"] for stage in data["stages"]] == ["pretrain", "sft"]
    assert {key: sft[key] for key in ("name", "kind", "steps", "tokens", "seconds", "tokens_per_second")} == {
        "name": "sft",
        "kind": "sft",
        "steps": 40,
        "tokens": 4000,
        "seconds": 38.0,
        "tokens_per_second": 105.0,
    }
    assert sft["before"]["exact_match"] == 0.01 and sft["after"]["exact_match"] == 0.9
    assert sft["before"]["val_loss"] == 5.7 and sft["after"]["val_loss"] == 1.25
    assert data["scores"] == {"exact_match": 0.9, "exact_match.zh": 0.8}
    assert data["seconds"] == pytest.approx(90)
    assert (data["device"], data["versions"]) == ("cpu", {"torch": "2.13.0"})


def test_the_card_tells_data_stages_scores_samples_answers_and_machine(tmp_path: Path) -> None:
    card, _ = report_of(complete_run(tmp_path / "world"))
    for told in (
        "# world",
        "123,456 parameters",
        "bundled:world.jsonl",
        "90 documents, 5,000 tokens",
        "3 of 103 rows could not be used",
        "3.46 bytes a token",
        "| pretrain | pretrain | 40 | 4,000 | 38.0 s | 105 |",
        "| sft | right answers | 1.0% | 90.0% |",
        "| right answers, zh | 80.0% |",
        "upon a time",
        "xqz",
        "Right (1 of 2)",
        "Wrong (1 of 2)",
        "●",
        "200 MiB",
        "bf16",
        "torch 2.13.0",
    ):
        assert told in card, told


def test_the_card_speaks_the_language_in_use_and_the_data_does_not(tmp_path: Path) -> None:
    _, data = report_of(complete_run(tmp_path / "run"))
    language.use_language("zh")
    try:
        card, again = report_of(tmp_path / "run")
    finally:
        language.use_language("en")
    assert again == data
    assert "## 训练了什么，用什么数据" in card
    assert "| sft | 验证损失 |" in card
    assert "各步的损失（奈特/词元）：点为训练，● 为验证。" in card
    english = [line for line in outside_fences(card).splitlines() if re.search(r"[a-z]{3,} [a-z]{3,}", line)]
    assert english == []


def test_the_card_of_a_mixture_tells_how_busy_its_experts_were(tmp_path: Path) -> None:
    told: list[Event] = []
    for event in stage_events("pretrain", 2000.0):
        if isinstance(event, StepFinished):
            event = replace(event, balance_loss=1.02, router_z_loss=1.0, expert_load=((0.25, 0.75),))
        elif isinstance(event, StageStarted):
            event = replace(event, active_parameters=65_432)
        told.append(event)
    card, _ = report_of(record(tmp_path / "mixture", [run_started(1000.0), *told]))
    assert "123,456 parameters (65,432 of them for each token)" in card
    assert "### Experts" in card and "| 1 | 25.0% | 75.0% | 25% | 75% |" in card
    dense, _ = report_of(complete_run(tmp_path / "dense"))
    assert "Experts" not in dense and "for each token" not in dense


def test_what_a_model_writes_cannot_leave_its_block(tmp_path: Path) -> None:
    directory = complete_run(tmp_path / "world")
    record(directory, stage_events("sft", 300, text=HOSTILE))
    card, _ = report_of(directory)
    plain = outside_fences(card)
    assert "not a heading" in card and "not a heading" not in plain
    assert "<script>" not in plain and "\x1b" not in card
    assert r"a small \*bilingual\* world" in plain


def test_a_stage_that_was_not_finished_is_told_as_far_as_it_came(tmp_path: Path) -> None:
    events = [run_started(100), *stage_events("pretrain", 101, steps=7, done=False), Warned(stage="", message="a | b")]
    card, data = report_of(record(tmp_path / "world", events))
    [stage] = data["stages"]
    assert (stage["steps"], stage["tokens"], stage["seconds"], stage["tokens_per_second"]) == (7, 700, 7.0, 100.0)
    assert stage["before"]["val_loss"] == 5.7 and stage["after"]["val_loss"] == 1.25
    assert "pretrain (unfinished)" in card and r"- a \| b" in card
    assert data["scores"] == {}


def test_a_stage_that_was_begun_again_is_told_by_its_new_figures(tmp_path: Path) -> None:
    events = [*stage_events("pretrain", 101), *stage_events("pretrain", 201, steps=7, done=False)]
    card, data = report_of(record(tmp_path / "world", events))
    assert data["stages"][0]["steps"] == 7 and "(unfinished)" in card


def test_time_between_a_stop_and_the_resume_does_not_count(tmp_path: Path) -> None:
    first = [run_started(100), step_finished("pretrain", 1, 3.0, 110)]
    second = [run_started(10_000, resumed=True), step_finished("pretrain", 2, 3.0, 10_005)]
    _, data = report_of(record(tmp_path / "world", [*first, *second]))
    assert data["seconds"] == pytest.approx(15)


def test_numbers_that_are_not_finite_are_null(tmp_path: Path) -> None:
    events = [*stage_events("pretrain", 1, steps=3, done=False), validated("pretrain", 4, float("nan"), 9)]
    card, data = report_of(record(tmp_path / "world", events))
    assert data["stages"][0]["after"]["val_loss"] is None
    assert "nan" in card


@pytest.mark.parametrize(
    "missing", ["profile.toml", "resolved.json", "state.json", "events.jsonl", "sft/metrics.jsonl"]
)
@pytest.mark.parametrize("damage", ["gone", "cut off", "of other types"])
def test_a_missing_or_damaged_file_costs_its_part_alone(tmp_path: Path, missing: str, damage: str) -> None:
    directory = complete_run(tmp_path / "world")
    path = directory / missing
    if damage == "gone":
        path.unlink()
    elif damage == "cut off":
        path.write_bytes(path.read_bytes()[:-20])
    else:
        path.write_text('stage = 3\nmodel = "x"\n' if missing == "profile.toml" else "[1, 2]\n3\n", encoding="utf-8")
    card, _ = report_of(directory)
    assert card.startswith("# world")
    outside_fences(card)


def test_a_directory_without_a_run_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no run"):
        write_report(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_report_needs_no_torch(tmp_path: Path) -> None:
    program = "import sys; from workbench.evaluation.report import write_report; print('torch' in sys.modules)"
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "False"


def test_a_fence_is_longer_than_any_in_the_text() -> None:
    assert fenced("a ````` b").startswith("``````text\n")
    assert fenced("a").startswith("```text\n")


def test_escaped_text_is_one_line_without_markup() -> None:
    assert escaped("a\n# b | <c> `d` *e* \x1b[m") == r"a \# b \| \<c\> \`d\` \*e\* ␛\[m"


@pytest.mark.parametrize(
    ("seconds", "told"), [(1.25, "1.2 s"), (59.7, "1 min 00 s"), (245, "4 min 05 s"), (7260, "2 h 01 min")]
)
def test_durations_are_told_for_people(seconds: float, told: str) -> None:
    assert duration(seconds) == told


def test_the_change_of_each_measure_is_told(tmp_path: Path) -> None:
    card, _ = report_of(complete_run(tmp_path / "world"))
    assert "| sft | right answers | 1.0% | 90.0% | +89.0 points |" in card
    assert "| pretrain | validation loss | 5.700 | 1.250 | -78.1% |" in card


def test_what_was_recorded_is_drawn_and_what_never_moved_is_not(tmp_path: Path) -> None:
    directory = complete_run(tmp_path / "world")
    metrics = directory / "pretrain" / "metrics.jsonl"
    records = [json.loads(line) for line in metrics.read_text("utf-8").splitlines()]
    for record_ in records:
        step = record_["step"]
        record_ |= {"learning_rate": 1e-3 / (step + 1), "grad_norm": 5.0 - step / 20, "utilisation": 0.5 + step / 100}
        record_ |= {"expert_load": [[0.25, 0.25, 0.25, 0.25], [0.7, 0.1, 0.1, 0.1]]}
        record_ |= {"val_perplexity": 9.0 - step / 10} if "val_loss" in record_ else {}
    metrics.write_text("".join(json.dumps(each) + "\n" for each in records), encoding="utf-8")
    card, _ = report_of(directory)
    pretrain, sft = card.split("## Stage pretrain")[1].split("## Stage sft")
    for legend in ("Learning rate", "Gradient norm", "Utilisation of the device", "Validation perplexity"):
        assert legend in pretrain and legend not in sft, legend
    assert "Load of the busiest expert" not in pretrain, "it never moved"
    assert "| 2 | 10.0% | 70.0% | 70% | 10% | 10% | 10% |" in pretrain
    assert "| pretrain | pretrain | 40 | 4,000 | 38.0 s | 105 | 200 MiB | 70% | – |" in card


@pytest.mark.parametrize("load", ["x", [], [[]], [["x"]], [[None, 0.5]], 3, {"a": 1}])
def test_a_damaged_load_breaks_no_report(tmp_path: Path, load: Any) -> None:
    directory = complete_run(tmp_path / "world")
    path = directory / "pretrain" / "metrics.jsonl"
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps({"step": 41, "expert_load": load, "learning_rate": "fast"}) + "\n")
    card, _ = report_of(directory)
    outside_fences(card)


def test_how_a_stage_was_trained_is_told_from_its_settings(tmp_path: Path) -> None:
    directory = complete_run(tmp_path / "world")
    settings = (
        'batch_size = 8\nsequence_length = 64\nlearning_rate = 0.002\nschedule = "wsd"\nwarmup = 5\nema = 0.99\n'
        'result = "best"\n[stage.optimizer]\nname = "muon"\nstate = "int8"\n'
    )
    (directory / "profile.toml").write_text(PROFILE + settings, encoding="utf-8")
    card, _ = report_of(directory)
    told = card.split("## Stage sft")[1].split("\n\n")[1]
    assert told == (
        "123,456 of 123,456 parameters trained; 8 rows of 64 tokens a step; muon with state in int8; "
        "learning rate 0.002, wsd, warmup 5; moving average of 0.99; the weights are those of the best validation."
    )
