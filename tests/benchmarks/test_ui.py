"""What `bench ui` measures: that all is measured and told, on a small model; no time is asserted."""

import json
import os
import sys
from pathlib import Path

import pytest

from workbench.benchmarks import ui
from workbench.benchmarks.pseudo_terminal import PseudoTerminal
from workbench.benchmarks.ui import PARTS, Effort, Measured, measure_ui, percentile
from workbench.cli.arguments import UI_PARTS
from workbench.cli.main import main
from workbench.errors import UsageError

pytest.importorskip("pty", reason="pseudo-terminals are of Unix")

TINY = """
[run]
threads = 1
precision = "fp32"
[tokenizer]
kind = "bytes"
[model]
hidden_size = 32
num_hidden_layers = 1
num_attention_heads = 2
max_position_embeddings = 64
[[stage]]
kind = "pretrain"
data = "bundled:pretrain.jsonl"
sequence_length = 64
batch_size = 4
steps = 10
"""


def test_the_cost_of_the_screens_is_measured_on_a_model_that_trains() -> None:
    figures = list(measure_ui(["keys", "speed"], Effort(keys=2, pairs=1, seconds=1.0), TINY))
    by_name = {figure.name: figure for figure in figures}
    assert by_name["another screen, p50"].value <= by_name["another screen, p95"].value
    assert 0 < by_name["move the cursor, p50"].value <= by_name["move the cursor, p95"].value
    assert by_name["training speed lost"].value < 100  # it came forward under the screens
    assert by_name["steps by second without screens"].value > 0
    assert {figure.name: figure.target for figure in figures if figure.target is not None} == {
        "another screen, p95": 50.0,
        "move the cursor, p95": 50.0,
        "training speed lost": 3.0,
    }


def test_start_idle_and_memory_are_told_beside_their_targets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LLM_WORKBENCH_HOME", str(tmp_path))
    arguments = ["bench", "ui", "start", "idle", "memory", "--starts", "1", "--seconds", "1", "--steps", "1000"]
    assert main([*arguments, "--json"]) == 0
    answer = capsys.readouterr()
    told = {figure["name"]: figure for figure in json.loads(answer.out)["figures"]}
    assert told["modules of torch loaded by these"]["value"] == 0
    assert (told["first paint"]["target"], told["--help"]["target"]) == (1.0, 0.3)
    assert told["processor while idle"]["value"] > 0
    assert told["memory at 10 %"]["value"] > 0 and told["memory at 10 %"]["met"] is None
    assert "idle: processor while idle" in answer.err
    assert {path.name for path in tmp_path.iterdir()} <= {"state"}, "the person's own home was used"


def test_what_the_first_screen_loads_is_seen(tmp_path: Path) -> None:
    from workbench.benchmarks.ui_program import Bench

    assert Bench(tmp_path).modules_after_start("textual") > 100


@pytest.mark.parametrize(("value", "target", "met"), [(1.0, 1.0, True), (1.1, 1.0, False), (1.0, None, None)])
def test_a_target_is_met_up_to_itself(value: float, target: float | None, met: bool | None) -> None:
    assert Measured("start", "first paint", value, "s", target).met is met


def test_percentiles_are_values_that_came() -> None:
    assert percentile([3.0, 1.0, 2.0], 0.95) == 3.0
    assert percentile([float(number) for number in range(100)], 0.95) == 95.0


def test_without_pseudo_terminals_one_line_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    class Elsewhere:
        name = "nt"

    monkeypatch.setattr(ui, "os", Elsewhere)
    with pytest.raises(UsageError, match="bench ui: needs pseudo-terminals; measure on Linux or macOS"):
        list(measure_ui(["idle"], Effort()))


def test_an_unknown_part_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert UI_PARTS == PARTS
    with pytest.raises(SystemExit) as exit_:
        main(["bench", "ui", "speeed"])
    assert exit_.value.code == 2
    assert "'speeed' is none of start, idle, keys, speed, memory" in capsys.readouterr().err


ECHO = """
import sys, time
print("ready", flush=True)
for line in sys.stdin:
    time.sleep(0.05)
    print(f"\\x1b[?2026hgot {line.strip()}", flush=True)
    time.sleep(0.05)
    print("\\x1b[?2026l", flush=True)
"""


def test_an_answer_is_over_with_its_frame(tmp_path: Path) -> None:
    command = [sys.executable, "-c", ECHO]
    with PseudoTerminal(command, environment=os.environ, folder=tmp_path, frames=False) as terminal:
        terminal.wait_for(b"ready")
        assert terminal.answer_seconds(b"a\n", b"got a") >= 0.1  # the program sleeps for that long
        with pytest.raises(TimeoutError, match="no b'got c' after b'b"):
            terminal.answer_seconds(b"b\n", b"got c", timeout_seconds=0.3)
        assert terminal.end() == -15


def test_a_program_that_ends_early_is_noticed(tmp_path: Path) -> None:
    with PseudoTerminal([sys.executable, "-c", "print(7)"], environment=os.environ, folder=tmp_path) as terminal:
        with pytest.raises(TimeoutError, match="never came; the last that was drawn: b'7"):
            terminal.wait_for(b"8")
        assert terminal.finish() == 0
