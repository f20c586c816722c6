"""`bench`: what is measured, and how it is told; no figure is promised."""

import json
import sys
from pathlib import Path

import pytest

from workbench.cli.main import main

TINY = """
[tokenizer]
kind = "bytes"

[model]
hidden_size = 16
num_hidden_layers = 1
num_attention_heads = 2
max_position_embeddings = 16

[[stage]]
kind = "pretrain"
data = "text.txt"
steps = 10
batch_size = 2
sequence_length = 16
"""


@pytest.fixture
def tiny() -> str:
    Path("text.txt").write_text("some text\n", encoding="utf-8")
    Path("tiny.toml").write_text(TINY, encoding="utf-8")
    return "tiny.toml"


def test_every_precision_is_measured_with_the_sizes_of_the_profile(
    tiny: str, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["bench", "train", tiny, "--rounds", "2", "--steps", "1", "--transformers"]
    assert main([*arguments, "--json"]) == 0
    speeds = json.loads(capsys.readouterr().out)["speeds"]
    assert [speed["name"] for speed in speeds] == ["auto", "fp32", "bf16", "transformers"]
    assert [speed["precision"] for speed in speeds[1:3]] == ["fp32", "bf16"]
    assert speeds[3]["precision"] == speeds[0]["precision"]
    assert all(0 < speed["slowest"] <= speed["tokens_per_second"] <= speed["fastest"] for speed in speeds)
    assert main(arguments) == 0
    table = capsys.readouterr().out
    assert "2 rows of 16 tokens a step" in table
    assert next(line for line in table.splitlines() if line.startswith("fp32")).endswith("1.00")


def test_measuring_leaves_nothing_behind(tiny: str, home: Path) -> None:
    assert main(["bench", "train", tiny, "--rounds", "1", "--steps", "1"]) == 0
    assert sorted(path.name for path in Path().iterdir()) == ["text.txt", "tiny.toml"]


def test_without_transformers_the_error_says_what_to_install(
    tiny: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    assert main(["bench", "train", tiny, "--rounds", "1", "--transformers"]) == 2
    assert "pip install transformers" in capsys.readouterr().err
