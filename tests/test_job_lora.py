"""A stage with LoRA, from a profile to what it leaves: adapters in checkpoints, merged weights, a report."""

import io
import json
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from workbench import events
from workbench.cli.main import main
from workbench.control import Control
from workbench.errors import ModelError, ProfileError
from workbench.inference.loading import load_both
from workbench.jobs import Job, resume_job
from workbench.model.lora import lora_layers
from workbench.profile import read_profile
from workbench.runs.metrics import read_metrics

PROFILE = """
[run]
seed = 3
precision = "fp32"
threads = 1
[tokenizer]
kind = "bytes"
[model]
hidden_size = 32
num_hidden_layers = 2
num_attention_heads = 2
max_position_embeddings = 64
[[stage]]
kind = "pretrain"
data = "text.jsonl"
sequence_length = 32
batch_size = 4
steps = 4
log_every = 1
[[stage]]
kind = "sft"
data = "chat.jsonl"
sequence_length = 64
batch_size = 4
steps = 6
log_every = 1
checkpoint_every = 2
keep = 9
learning_rate = 1e-2
[stage.lora]
rank = 4
dropout = 0.1
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LLM_WORKBENCH_HOME", str(tmp_path / "home"))
    texts = [{"text": f"The number {n} follows {n - 1}."} for n in range(80)]
    talks = [
        {"messages": [{"role": "user", "content": f"Who is {n}?"}, {"role": "assistant", "content": f"{n}."}]}
        for n in range(40)
    ]
    for name, rows in (("text", texts), ("chat", talks)):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    (tmp_path / "mine.toml").write_text(PROFILE, encoding="utf-8")
    return tmp_path


def job(folder: Path, *overrides: str, control: Control | None = None, **settings: Any) -> tuple[Job, list[Any]]:
    heard: list[Any] = []
    emitter = events.Emitter()
    emitter.subscribe(heard.append)
    profile = read_profile(str(folder / "mine.toml"), overrides)
    return Job(profile, workspace=folder / "runs", emitter=emitter, control=control, **settings), heard


def losses(run: Path) -> list[float]:
    return [record["loss"] for record in read_metrics(run / "sft/metrics.jsonl") if "loss" in record]


def logits(directory: Path) -> torch.Tensor:
    model, _ = load_both(directory)
    with torch.no_grad():
        return model(torch.arange(20).view(1, -1))


@pytest.mark.parametrize("quantize", ["none", "int8"])
def test_a_stage_leaves_adapters_merged_weights_and_a_report(folder: Path, quantize: str) -> None:
    lora, heard = job(folder, f'stage.sft.lora.quantize="{quantize}"')
    lora.run()
    stage = folder / "runs/mine/sft"
    checkpoint = stage / "checkpoints/step-000006"
    assert not (checkpoint / "model.safetensors").exists()
    note = json.loads((checkpoint / "adapter/base.json").read_text())
    assert (checkpoint / "adapter" / note["path"]).resolve() == (folder / "runs/mine/pretrain/model").resolve()
    assert note["quantize"] == quantize
    moved = load_file(checkpoint / "resume/optimizer.safetensors")
    assert moved and all(".lora_" in name for name in moved)
    # the merged weights, the adapter alone and the last checkpoint are one model
    merged = logits(stage / "model")
    for other in (stage / "adapter", checkpoint):
        assert (logits(other) - merged).abs().max() < 1e-5
    assert not torch.equal(merged, logits(folder / "runs/mine/pretrain/model"))
    started = [event for event in heard if isinstance(event, events.StageStarted)][-1]
    # 2 layers, rank 4: q k v o are 32 x 32, the feed-forward's three 32 x 96
    assert started.trained_parameters == 2 * 4 * (4 * 64 + 3 * 128)
    report = json.loads((folder / "runs/mine/report.json").read_text())["stages"][1]
    assert report["trained_parameters"] == started.trained_parameters
    assert len(report["updates"]) == 14 and all(size > 0 for size in report["updates"].values())
    card = (folder / "runs/mine/report.md").read_text()
    assert "5,120 parameters of LoRA trained beside 35,264 that" in card and "| layer | q\\_proj |" in card


def test_without_merging_the_adapter_alone_is_left_and_the_next_stage_starts_from_it(folder: Path) -> None:
    job(folder, "stage.sft.lora.merge=false")[0].run()
    stage = folder / "runs/mine/sft"
    assert not (stage / "model").exists() and (stage / "adapter/adapter_model.safetensors").is_file()
    upper = (folder / "mine.toml").read_text().replace("from-", "")
    upper += (
        '\n[[stage]]\nkind = "sft"\nname = "more"\ndata = "chat.jsonl"\nsequence_length = 64\nsteps = 2\n[stage.lora]\n'
    )
    (folder / "mine.toml").write_text(upper)
    again, _ = job(folder, "stage.sft.lora.merge=false", name="upper")
    again.run()
    base = json.loads((folder / "runs/upper/more/adapter/base.json").read_text())
    assert (folder / "runs/upper/more/adapter" / base["path"]).resolve() == (
        folder / "runs/upper/sft/adapter"
    ).resolve()
    assert (logits(folder / "runs/upper/more/adapter") - logits(folder / "runs/upper/more/model")).abs().max() < 1e-5


@pytest.mark.parametrize("quantize", ["none", "int8"])
def test_a_stopped_stage_goes_on_bit_by_bit(folder: Path, quantize: str) -> None:
    wanted = f'stage.sft.lora.quantize="{quantize}"'
    job(folder, wanted, name="whole")[0].run()
    control = Control()
    stopped, _ = job(folder, wanted, name="cut", control=control)
    stopped.emitter.subscribe(
        lambda event: (
            control.stop()
            if isinstance(event, events.StepFinished) and (event.stage, event.step) == ("sft", 3)
            else None
        )
    )
    assert stopped.run().status == "stopped"
    resume_job(folder / "runs/cut").run()
    whole, cut = folder / "runs/whole", folder / "runs/cut"
    assert losses(cut) == losses(whole)
    ours, theirs = (load_file(run / "sft/adapter/adapter_model.safetensors") for run in (cut, whole))
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())


def test_chat_and_the_snapshot_of_a_stage_in_training_have_plain_weights(folder: Path) -> None:
    lora, _ = job(folder)
    seen: list[Any] = []

    def ask(event: events.Event) -> None:
        if isinstance(event, events.StepFinished) and event.stage == "sft" and event.step == 2:
            seen.append(lora._stage_run.trainer.snapshot())  # type: ignore[union-attr]

    lora.emitter.subscribe(ask)
    lora.run()
    assert not lora_layers(seen[0].result(timeout=5))


def test_random_weights_and_unknown_layers_are_refused_before_anything_starts(folder: Path) -> None:
    with pytest.raises(ModelError, match=r"stage\.sft\.lora\.target_modules: no linear layer is called q_prj; did you"):
        job(folder, "stage.sft.lora.target_modules=q_prj")
    with pytest.raises(ProfileError, match=r"stage\.pretrain\.lora: there are only random weights to adapt"):
        job(folder, "stage.pretrain.lora.rank=4")
    with pytest.raises(ProfileError, match=r"unknown key stage\.sft\.lora\.rnak; did you mean rank\?"):
        job(folder, "stage.sft.lora.rnak=4")
    with pytest.raises(ProfileError, match=r"stage\.sft\.lora\.rank: 0 is not allowed"):
        job(folder, "stage.sft.lora.rank=0")
    assert not (folder / "runs").exists()


def test_an_adapter_of_pefts_is_chatted_with_and_imported(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("Who is 1?\n"))
    job(folder)[0].run()
    base, theirs = folder / "runs/mine/sft/model", folder / "theirs"
    torch.manual_seed(1)
    config = peft.LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False, task_type="CAUSAL_LM")
    peft.get_peft_model(AutoModelForCausalLM.from_pretrained(base), config).save_pretrained(theirs)
    expected = logits(theirs)
    assert not torch.equal(expected, logits(base))
    assert main(["chat", str(theirs), "--max-new-tokens", "2"]) == 0
    base.rename(folder / "elsewhere")
    with pytest.raises(ModelError, match="needs its base"):
        logits(theirs)
    assert main(["import", str(theirs), "--base", str(folder / "elsewhere"), "--out", str(folder / "made")]) == 0
    assert torch.equal(logits(folder / "made"), expected)
    assert main(["import", str(folder / "made"), "--base", str(base)]) == 2
