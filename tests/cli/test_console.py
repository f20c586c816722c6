"""What a headless run tells: people on stderr, programs on stdout."""

import json
import math
import sys
from pathlib import Path
from typing import Any

import pytest

from workbench.cli import console as console_module
from workbench.cli.console import Console, JsonLines, start_check
from workbench.cli.screen import Screen
from workbench.events import (
    Diagnosed,
    Event,
    RunFailed,
    RunStarted,
    SampleMade,
    StageStarted,
    StepFinished,
    Validated,
    Warned,
    WorkProgressed,
    from_json,
)

RUN_STARTED = RunStarted(
    run="tiny", directory="runs/tiny", stages=("base", "chat"), device="cpu", precision="fp32", threads=1, resumed=False
)
WARNED = Warned(stage="base", message="the data repeats")


def stage_started(stage: str = "base", kind: str = "pretrain", step: int = 0) -> StageStarted:
    return StageStarted(
        stage=stage,
        kind=kind,
        step=step,
        steps=1000,
        parameters=100,
        trained_parameters=100,
        vocab_size=1024,
        tokens_per_step=8,
        flops_per_token=1.0,
        micro_batch_size=1,
    )


def step_finished(step: int, loss: float = 7.01) -> StepFinished:
    return StepFinished(
        stage="base",
        step=step,
        steps=1000,
        tokens=step * 8,
        seconds=step * 0.5,
        loss=loss,
        learning_rate=3e-4,
        grad_norm=1.0,
        tokens_per_second=41_200.0,
        mfu=None,
        memory_bytes=1,
        eta_seconds=65.0,
    )


def validated(loss: float) -> Validated:
    return Validated(
        stage="base", step=0, val_loss=loss, val_perplexity=1.0, val_bits_per_byte=1.0, best=True, seconds=1.0
    )


def narrate(*events: Event, quiet: bool = False) -> None:
    console = Console(Screen(Path("log")), quiet=quiet)
    for event in events:
        console(event)
    console.close()


def told(capsys: pytest.CaptureFixture[str]) -> str:
    captured = capsys.readouterr()
    assert captured.out == "", "stdout is data"
    return captured.err


def test_a_report_shows_loss_rate_speed_and_time_left(capsys: pytest.CaptureFixture[str]) -> None:
    narrate(RUN_STARTED, stage_started(), step_finished(500, loss=2.5))
    line = told(capsys).splitlines()[-1]
    for part in ("500/1,000", "loss 2.500", "3.00e-4", "41.2k tok/s", "1 m 05 s left"):
        assert part in line


def test_the_start_of_a_new_model_is_checked_once(capsys: pytest.CaptureFixture[str]) -> None:
    narrate(RUN_STARTED, stage_started(), validated(7.01), step_finished(1, 7.0), stage_started("chat", "sft"))
    text = told(capsys)
    assert "starts at 7.01, ln(1,024) = 6.93: as expected" in text
    assert text.count("ln(1,024)") == 1


@pytest.mark.parametrize(
    "stage",
    [stage_started("chat", "sft"), stage_started("chat"), stage_started(step=10)],
    ids=["sft", "second", "resumed"],
)
def test_a_model_that_has_learned_is_not_checked_against_a_guess(
    stage: StageStarted, capsys: pytest.CaptureFixture[str]
) -> None:
    narrate(RUN_STARTED, stage, step_finished(11))
    assert "ln(" not in told(capsys)


@pytest.mark.parametrize(
    ("loss", "words", "fine"),
    [
        (6.93, "as expected", True),
        (2.0, "learned before", True),
        (60.0, "higher than", False),
        (math.nan, "higher", False),
    ],
)
def test_a_first_loss_is_judged(loss: float, words: str, fine: bool) -> None:
    text, expected = start_check(loss, "loss", 1024)
    assert words in text
    assert expected == fine


def test_a_finding_is_told_with_cause_and_cure_even_quietly(capsys: pytest.CaptureFixture[str]) -> None:
    finding = Diagnosed(
        stage="base", step=40, finding="spike", severity="warning", since=30, cause="it [/jumped]", cure="wait"
    )
    narrate(RUN_STARTED, finding, quiet=True)
    assert "base, step 40: it [/jumped]. Cure: wait" in told(capsys)


def test_plain_lines_come_every_so_often_and_at_both_ends(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]
    monkeypatch.setattr(console_module.time, "monotonic", lambda: clock[0])
    console = Console(Screen(Path("log")))
    for step in range(1, 1001):
        clock[0] += 0.1
        console(step_finished(step))
    steps = [line.split()[2].split("/")[0] for line in told(capsys).splitlines()]
    assert steps[0] == "1"
    assert steps[-1] == "1,000"
    assert 10 <= len(steps) <= 12  # 100 seconds, a line each 10


def test_a_bar_is_drawn_in_place_and_taken_away(terminal: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", terminal)
    console = Console(Screen(Path("log")))
    console(step_finished(250, 3.0))
    assert "\n" not in terminal.getvalue()
    assert "base ██████░░░░░░░░░░░░░░░░░░ 250/1,000  loss 3.000" in terminal.getvalue()
    console(WARNED)
    drawn = terminal.getvalue()
    assert drawn.count("250/1,000") == 2, "the bar stands below the warning again"
    assert drawn.rindex("250/1,000") > drawn.index("the data repeats")
    console.close()
    assert terminal.getvalue().endswith("\r\x1b[2K")


def test_a_bar_is_no_wider_than_the_terminal(terminal: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setattr(sys, "stderr", terminal)
    console = Console(Screen(Path("log")))
    console(step_finished(250))
    assert 0 < len(terminal.getvalue()) <= 39


def test_model_text_and_data_are_never_obeyed(terminal: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", terminal)
    sample = SampleMade(stage="base", step=5, prompt="say\n", text="\x1b]0;owned\x07\x1b[2J[/INST]", seed=1)
    task = WorkProgressed(stage="", task="read \x1b[31m", done=1, total=2, unit="rows")
    narrate(sample, task, Warned(stage="", message="row \x1b[0m"))
    text = terminal.getvalue()
    for ours in ("\r\x1b[2K", "\x1b[33m", "\x1b[0m"):
        text = text.replace(ours, "")
    assert "\x1b" not in text
    assert "say⏎  → \\x1b]0;owned\\x07\\x1b[2J[/INST]" in text


def test_quiet_keeps_warnings_only(capsys: pytest.CaptureFixture[str]) -> None:
    narrate(RUN_STARTED, stage_started(), step_finished(1), WARNED, quiet=True)
    lines = told(capsys).splitlines()
    assert len(lines) == 1
    assert "the data repeats" in lines[0]


def test_work_of_unknown_length_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    narrate(WorkProgressed(stage="", task="tokenizer", done=1200, total=None, unit="texts"))
    assert "tokenizer: 1,200 texts" in told(capsys)


def test_a_failure_is_left_to_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    narrate(RunFailed(run="tiny", message="no memory", log=""))
    assert told(capsys) == ""


def test_json_lines_read_back_as_the_events(capsys: pytest.CaptureFixture[str]) -> None:
    events = [RUN_STARTED, step_finished(1), WARNED, SampleMade(stage="b", step=1, prompt="春", text="\x1b", seed=1)]
    writer = JsonLines()
    for event in events:
        writer(event)
    lines = capsys.readouterr().out.splitlines()
    assert [from_json(json.loads(line)) for line in lines] == events


def test_a_diverged_loss_is_valid_json(capsys: pytest.CaptureFixture[str]) -> None:
    JsonLines()(step_finished(1, math.nan))
    record = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert (record["loss"], record["nonfinite"]) == (None, {"loss": "nan"})


def test_a_terminal_that_is_gone_is_replaced_by_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lost = []

    class Gone:
        encoding = "utf-8"

        def isatty(self) -> bool:
            return True

        def write(self, text: str) -> int:
            lost.append(text)
            raise OSError(5, "Input/output error")

        def flush(self) -> None:
            pass

    monkeypatch.setattr(sys, "stderr", Gone())
    screen = Screen(tmp_path / "console.log")
    screen.line("still here")  # must not raise, nor try for ever
    assert 1 <= len(lost) <= 3
    assert (tmp_path / "console.log").exists()
