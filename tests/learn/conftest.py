"""Two tiny runs, done once: text, LoRA and preferences; and a mixture of experts."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from workbench.jobs import Job
from workbench.profile import read_profile

LIFE = """
[run]
seed = 3
precision = "fp32"
threads = 1
[tokenizer]
vocab_size = 320
[model]
hidden_size = 32
num_hidden_layers = 2
num_attention_heads = 4
num_key_value_heads = 2
max_position_embeddings = 64
tie_word_embeddings = false
[[stage]]
kind = "pretrain"
data = "text.jsonl"
sequence_length = 32
batch_size = 4
steps = 8
warmup = 3
log_every = 1
evaluate_every = 4
sample_tokens = 2
[[stage]]
kind = "sft"
data = "chat.jsonl"
sequence_length = 64
batch_size = 4
steps = 4
log_every = 1
schedule = "linear"
sample_tokens = 2
[stage.lora]
rank = 4
alpha = 8.0
[[stage]]
kind = "dpo"
data = "pairs.jsonl"
sequence_length = 64
batch_size = 2
steps = 4
log_every = 1
learning_rate = 1e-4
schedule = "wsd"
[evaluate]
questions = "questions.jsonl"
max_new_tokens = 2
"""
EXPERTS = """
[run]
precision = "fp32"
threads = 1
[tokenizer]
kind = "bytes"
[model]
family = "moe"
hidden_size = 32
num_hidden_layers = 2
num_attention_heads = 2
num_experts = 4
max_position_embeddings = 64
[[stage]]
kind = "pretrain"
data = "text.jsonl"
sequence_length = 32
batch_size = 4
steps = 3
log_every = 1
"""


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A workspace with the runs `life` and `experts`."""
    folder = tmp_path_factory.mktemp("learn")
    before = os.environ.get("LLM_WORKBENCH_HOME")
    os.environ["LLM_WORKBENCH_HOME"] = str(folder / "home")
    _write(folder / "text.jsonl", [{"text": f"The number {n} follows the number {n - 1}."} for n in range(80)])
    _write(folder / "chat.jsonl", [{"messages": _talk(n, f"It is {n}.")} for n in range(40)])
    pairs = [{"prompt": f"Who is {n}?", "chosen": f"It is {n}.", "rejected": "Go away."} for n in range(40)]
    _write(folder / "pairs.jsonl", pairs)
    _write(folder / "questions.jsonl", [{"question": "Who is 1?", "answer": "It is 1.", "language": "en"}])
    for name, text in (("life", LIFE), ("experts", EXPERTS)):
        (folder / f"{name}.toml").write_text(text, encoding="utf-8")
        Job(read_profile(str(folder / f"{name}.toml")), workspace=folder / "runs").run()
    yield folder / "runs"
    if before is None:
        del os.environ["LLM_WORKBENCH_HOME"]
    else:
        os.environ["LLM_WORKBENCH_HOME"] = before


def _talk(n: int, answer: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": f"Who is {n}?"}, {"role": "assistant", "content": answer}]


def _write(path: Path, rows: list[dict[str, object]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
