"""A small world that is the same on every machine: runs, data and a profile, and a machine that is always as busy."""

import json
import shutil
import time
from collections import deque
from collections.abc import Generator, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
from textual.widgets import Input, TextArea

from tests.tui.conftest import beginning, step
from workbench import estimate, events
from workbench.config import TokenizerSettings
from workbench.events import Event
from workbench.inference import chat
from workbench.inference.reply import Reply, ReplyStats
from workbench.profile import ProfileEntry
from workbench.runs.metrics import encode_record
from workbench.runs.store import RunDirectory, RunState, create_run
from workbench.tokenizer.tokenizer import Tokenizer
from workbench.tui import data_sources
from workbench.tui.device import HISTORY, DeviceMeter, Gauge
from workbench.tui.screens import profile as profile_screen

NOW = 1_790_000_000.0
GIGA = 2**30
SENTENCES = ["the old fish and the old fisherman sell fish", "老渔夫卖鱼，[/INST] 鱼很大 🙂", "a fox tells of the sea"]
QUESTIONS = (("Who sells fish?", "the old fisherman sell fish"), ("谁卖鱼？", "老渔夫卖鱼"))
PROFILE = """\
# A small life: it learns to write, then to answer.
description = "a fisherman's life"

[run]
seed = 7

[tokenizer]
vocab_size = 320

[model]
hidden_size = 64
num_hidden_layers = 2

[[stage]]
kind = "pretrain"
data = "../data/pretrain.jsonl"
sequence_length = 64
batch_size = 16
steps = 400
learning_rate = 0.004
prompts = ["the old"]

[[stage]]
kind = "sft"
data = "../data/sft.jsonl"
sequence_length = 32
epochs = 3
"""


def build_world(folder: Path) -> None:
    """Write everything that the screens read."""
    texts = [{"text": f"{SENTENCES[number % 3]} {number}"} for number in range(40)]
    talks = [
        {"messages": [{"role": "user", "content": asked}, {"role": "assistant", "content": told}]}
        for asked, told in QUESTIONS * 6
    ]
    (folder / "data").mkdir()
    for name, rows in (("pretrain", [*texts, {"txt": "no text"}]), ("sft", talks)):
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (folder / "data" / f"{name}.jsonl").write_text(lines, encoding="utf-8", newline="\n")
    (folder / "profiles").mkdir()
    (folder / "profiles" / "fisher.toml").write_text(PROFILE, encoding="utf-8", newline="\n")
    workspace = folder / "runs"
    workspace.mkdir()
    _run(workspace, "fisher", 0.010, RunState("done", ("pretrain", "sft"), "sft", 36, 36, 1.9, 1.71, 4100.0), 300)
    _run(workspace, "fisher-slow", 0.004, RunState("stopped", ("pretrain",), "pretrain", 260, 400, 3, 3.4, 3900), 7500)
    failed = RunState("failed", ("pretrain",), "pretrain", 12, 400, message="ran out of memory [/b] in the 3rd layer")
    _run(workspace, "fisher-with-a-name-of-some-length", 0.020, failed, 260_000)
    _model(workspace / "fisher", folder)


def _run(workspace: Path, name: str, speed: float, state: RunState, age: float) -> None:
    run = create_run(workspace, name, PROFILE.replace("0.004", str(speed)).replace("../data", "bundled:none"))
    run.write_state(replace(state, updated_at=NOW - age, heartbeat=NOW - age))
    run.write_resolved({"device": "cpu", "precision": "bf16", "threads": 2})
    for stage in state.stages:
        (run.path / stage).mkdir()
        _figures(run, stage, speed, state.steps if stage == state.stage else 400, state.step)


def _figures(run: RunDirectory, stage: str, speed: float, steps: int, last: int) -> None:
    records = [
        {
            **{"step": number, "tokens": number * 1024, "seconds": number * 0.25, "loss": _loss(number, speed)},
            **{"learning_rate": 0.004, "grad_norm": 0.5 + 20 / (number + 10), "tokens_per_second": 4096.0},
            **({"val_loss": _loss(number, speed) + 0.1, "val_bits_per_byte": 1.5} if number % 40 == 0 else {}),
        }
        for number in range(4, (last if stage == run.state().stage else steps) + 1, 4)
    ]
    folder = run.stage(stage)
    folder.metrics.write_text("".join(map(encode_record, records)), encoding="utf-8")
    sample = {"step": steps, "prompt": "the old", "text": f" fish [/INST] of {run.name}", "seed": 1}
    folder.samples.write_text(encode_record(sample), encoding="utf-8")


def _loss(number: int, speed: float) -> float:
    """Falls as losses do; by products alone, as powers differ in the last digit between machines."""
    return 1.5 + 4.3 / (1 + speed * number) + (number * 7 % 5) / 40


def _model(run: Path, folder: Path) -> None:
    """A random model for both stages, a checkpoint, and the tokenizer."""
    from workbench.model.configuration import ModelConfig
    from workbench.model.initialize import initialize
    from workbench.model.transformer import Transformer
    from workbench.model.weights import save_model
    from workbench.tokenizer.bpe import train_tokenizer

    settings = TokenizerSettings(kind="bpe", vocab_size=320)
    tokenizer = train_tokenizer(settings, SENTENCES * 9, on_progress=lambda *_: None, should_stop=lambda: False)
    assert tokenizer is not None
    model = Transformer(ModelConfig(tokenizer.vocab_size, 32, 64, 2, 4, 2, 8, 128))
    initialize(model, seed=1)
    for place in ("pretrain/checkpoints/step-000200", "pretrain/model", "sft/model"):
        (run / place).mkdir(parents=True)
        save_model(model, run / place)
        tokenizer.save(run / place)
    tokenizer.save(run / "tokenizer")


def hold_still(patch: pytest.MonkeyPatch, folder: Path) -> None:
    """Fix all that differs between machines and moments: time, zone, speed, sizes, and what is bundled."""
    for name, value in (("TZ", "UTC"), ("LLM_WORKBENCH_HOME", str(folder / "home"))):
        patch.setenv(name, value)
    for name in ("TEXTUAL_THEME", "NO_COLOR"):
        patch.delenv(name, raising=False)
    if hasattr(time, "tzset"):
        time.tzset()
    patch.chdir(folder)
    patch.setattr(time, "time", lambda: NOW)
    memory = SimpleNamespace(total=16 * GIGA, available=9 * GIGA, percent=43.8)
    patch.setattr(psutil, "virtual_memory", lambda: memory)
    patch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(total=100 * GIGA, used=60 * GIGA, free=40 * GIGA))
    patch.setattr(estimate, "_flops_per_second", lambda _: 4e10)
    patch.setattr(DeviceMeter, "read", lambda _: GAUGES)
    patch.setattr(RunDirectory, "size_bytes", lambda _: 42_000_000)
    patch.setattr(data_sources, "data_folder", lambda: folder / "data")
    patch.setattr(data_sources, "profiles_folder", lambda: folder / "profiles")
    patch.setattr(profile_screen, "FIRST_PROFILE", str(folder / "profiles" / "fisher.toml"))
    patch.setattr("workbench.profile.list_profiles", lambda: PROFILES)
    patch.setattr(Input, "_toggle_cursor", lambda _: None)  # cursors do not blink
    patch.setattr(TextArea, "_toggle_cursor_blink_visible", lambda _: None)
    _fix_answers(patch, Tokenizer.load(folder / "runs" / "fisher" / "tokenizer"))


GAUGES = [
    Gauge(name, capacity, value, deque(share + place % 4 / 20 for place in range(HISTORY)))
    for name, capacity, value, share in (
        ("cpu", "4 cores", "55 %", 0.4),
        ("memory", "16.0 GB", "7.0 GB", 0.4),
        ("gpu 0", "H100 80GB", "91 %", 0.8),
        ("vram 0", "80.0 GB", "61.3 GB", 0.7),
        ("disk", "100 GB", "40.0 GB free", 0.6),
    )
]
MEASURED = "{} in the end (laptop, 4 cores)"
PROFILES = [
    ProfileEntry(name, Path(f"{name}.toml"), f"what {name} is", MEASURED.format(takes))
    for name, takes in (("quickstart", "5 m"), ("stories", "40 m"), ("experts", "2 h"), ("math", "3 h"))
]


def _fix_answers(patch: pytest.MonkeyPatch, tokenizer: Tokenizer) -> None:
    """Let the model say what is expected, at a fixed speed."""
    said = [told for _, told in QUESTIONS]

    def generate(model: Any, prompt: Sequence[int], *_: Any, **__: Any) -> Generator[int, None, str]:
        yield from tokenizer.encode_with_specials(said[0] if len(prompt) < 40 else said[1])
        return "end"

    measured = Reply.stats

    def stats(reply: Reply, context: Any) -> ReplyStats:
        return replace(measured(reply, context), seconds=0.5, tokens_per_second=38.0)

    patch.setattr(chat, "generate", generate)
    patch.setattr(Reply, "stats", stats)


def story() -> list[Event]:
    """A run of which every pane of Train has something to tell."""
    said = events.SampleMade(stage="pretrain", step=40, prompt="the old", text=" fish [/INST] 🙂 卖鱼 " * 8, seed=1)
    told: list[Event] = [
        *beginning("runs/none"),
        events.DataReady(
            **{"stage": "pretrain", "documents": 1200, "validation_documents": 20, "tokens_trained": 90_000},
            **{"documents_truncated": 0, "tokens": 90_000, "rows_read": 1300, "rows_rejected": 3},
            **{"from_cache": False, "seconds": 2.0},
        ),
        events.Warned(stage="pretrain", message="reading the data [/b]"),
        *(step(number, _loss(number, 0.05)) for number in range(1, 41)),
        events.Validated(
            **{"stage": "pretrain", "step": 40, "val_loss": 3.1, "val_perplexity": 22.2, "val_bits_per_byte": 1.4},
            **{"best": True, "seconds": 1.0},
        ),
        said,
        events.CheckpointSaved(stage="pretrain", step=40, path="x", size_bytes=10**7, seconds=0.4),
        *(step(number, _loss(number, 0.05)) for number in range(41, 61)),
    ]
    return [replace(event, at=NOW - len(told) + place) for place, event in enumerate(told)]
