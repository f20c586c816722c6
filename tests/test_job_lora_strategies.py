"""LoRA and preferences together with averages, short optimizer state, best weights, mixtures and experts."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests import test_job_dpo, test_job_lora
from tests.test_job_lora import job, logits, losses
from tests.test_job_strategies import worse_after
from workbench import events
from workbench.control import Control
from workbench.jobs import resume_job
from workbench.runs.metrics import read_metrics

folder = test_job_lora.folder  # the fixture of that file
ADAPTER = "adapter_model.safetensors"


@pytest.fixture
def pair_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return test_job_dpo.folder.__wrapped__(tmp_path, monkeypatch)  # type: ignore[attr-defined]


def stopped_at(job: Any, control: Control, stage: str, step: int) -> None:
    job.emitter.subscribe(
        lambda event: (
            control.stop()
            if isinstance(event, events.StepFinished) and (event.stage, event.step) == (stage, step)
            else None
        )
    )
    assert job.run().status == "stopped"


def same(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> bool:
    return ours.keys() == theirs.keys() and all(torch.equal(value, theirs[name]) for name, value in ours.items())


@pytest.mark.parametrize(
    "overrides",
    [
        ("stage.sft.ema=0.9",),
        ("stage.sft.ema=0.9", "stage.sft.optimizer.state=int8", "stage.sft.lora.quantize=int8"),
        ("stage.sft.optimizer.state=bf16", "stage.sft.optimizer.name=muon", "stage.sft.lora.rank=128"),
        ("stage.sft.gradient_checkpointing=true",),
        ("run.precision=fp16",),
    ],
    ids=lambda overrides: ",".join(each.partition("=")[0].rpartition(".")[2] for each in overrides),
)
def test_a_stopped_stage_goes_on_bit_by_bit(folder: Path, overrides: tuple[str, ...]) -> None:
    job(folder, *overrides, name="whole")[0].run()
    control = Control()
    stopped_at(job(folder, *overrides, name="cut", control=control)[0], control, "sft", 3)
    resume_job(folder / "runs/cut").run()
    whole, cut = folder / "runs/whole", folder / "runs/cut"
    assert losses(cut) == losses(whole)
    assert same(load_file(cut / "sft/adapter" / ADAPTER), load_file(whole / "sft/adapter" / ADAPTER))
    assert torch.equal(logits(cut / "sft/model"), logits(whole / "sft/model"))


def test_recomputed_activations_change_nothing(folder: Path) -> None:
    job(folder, name="kept")[0].run()
    job(folder, "stage.sft.gradient_checkpointing=true", name="recomputed")[0].run()
    assert losses(folder / "runs/kept") == losses(folder / "runs/recomputed")


def test_the_average_of_an_adapter_is_what_is_saved_and_left(folder: Path) -> None:
    job(folder, name="plain")[0].run()
    job(folder, "stage.sft.ema=0.9", name="averaged")[0].run()
    plain, averaged = folder / "runs/plain/sft", folder / "runs/averaged/sft"
    assert losses(plain.parent) == losses(averaged.parent)
    last = averaged / "checkpoints/step-000006"
    left = load_file(averaged / "adapter" / ADAPTER)
    assert same(left, load_file(last / "adapter" / ADAPTER))
    assert (logits(averaged / "model") - logits(last)).abs().max() < 1e-5
    # the weights in training, adapters alone, are those of the stage without an average
    trained = load_file(last / "resume/trained.safetensors")
    renamed = {f"base_model.model.{name}.weight": value for name, value in trained.items()}
    without = load_file(plain / "adapter" / ADAPTER)
    assert same(renamed, without)
    assert not same(left, without)


@pytest.mark.parametrize("extra", [(), ("stage.sft.ema=0.9",), ("stage.sft.lora.quantize=int8",)])
def test_the_best_adapter_becomes_the_stages_result(
    folder: Path, monkeypatch: pytest.MonkeyPatch, extra: tuple[str, ...]
) -> None:
    worse_after(monkeypatch, best=8)  # pretraining validates at its beginning and its end
    wanted = ("stage.sft.result=best", "stage.sft.evaluate_every=2", "stage.sft.keep=1")
    job(folder, "stage.pretrain.evaluate_every=0", *wanted, *extra)[0].run()
    stage = folder / "runs/mine/sft"
    kept = sorted(path.name for path in (stage / "checkpoints").iterdir())
    records = {
        record["step"]: record["val_loss"] for record in read_metrics(stage / "metrics.jsonl") if "val_loss" in record
    }
    best = min(records, key=records.__getitem__)
    assert best == 4 and kept == ["step-000004", "step-000006"]
    left = load_file(stage / "adapter" / ADAPTER)
    assert same(left, load_file(stage / "checkpoints/step-000004/adapter" / ADAPTER))
    assert not same(left, load_file(stage / "checkpoints/step-000006/adapter" / ADAPTER))
    assert (logits(stage / "model") - logits(stage / "checkpoints/step-000004")).abs().max() < 1e-5
    # 2 layers of 7 matrices: of the best adapter too the report tells every update
    report = json.loads((folder / "runs/mine/report.json").read_text())["stages"][1]
    assert len(report["updates"]) == 14


@pytest.mark.parametrize("family", ["moe", "moe-shared"])
def test_attention_of_a_mixture_of_experts_is_adapted(folder: Path, family: str) -> None:
    wanted = (
        f"model.family={family}",
        "model.num_experts=4",
        'stage.sft.lora.target_modules=["q_proj", "k_proj", "v_proj", "o_proj"]',
        "stage.sft.micro_batch_size=2",
        "stage.sft.steps=12",
        "stage.sft.learning_rate=3e-2",
    )
    _, heard = made = job(folder, *wanted)
    made[0].run()
    run = folder / "runs/mine"
    first, *_, last = losses(run)
    assert last < first
    before, after = (load_file(run / stage / "model/model.safetensors") for stage in ("pretrain", "sft"))
    moved = {name for name, value in after.items() if not torch.equal(value, before[name])}
    ends = tuple(f"{part}_proj.weight" for part in "qkvo")
    assert moved == {name for name in before if ".self_attn." in name and name.endswith(ends)}
    step = [event for event in heard if isinstance(event, events.StepFinished) and event.stage == "sft"][-1]
    assert step.expert_load is not None and step.balance_loss is not None
    card = (run / "report.md").read_text()
    assert "### Experts" in card and "Size of LoRA's update" in card


def test_every_linear_layer_of_a_mixture_can_be_adapted_on_an_int8_base(folder: Path) -> None:
    job(folder, "model.family=moe-shared", "model.num_experts=4", "stage.sft.lora.quantize=int8")[0].run()
    stage = folder / "runs/mine/sft"
    assert (logits(stage / "adapter") - logits(stage / "model")).abs().max() < 1e-5
    report = json.loads((folder / "runs/mine/report.json").read_text())["stages"][1]
    assert {name.rpartition(".")[2] for name in report["updates"]} >= {"q_proj", "gate_proj", "shared_expert_gate"}


def dpo_losses(run: Path) -> list[float]:
    return [record["loss"] for record in read_metrics(run / "dpo/metrics.jsonl") if "loss" in record]


@pytest.mark.parametrize("how", ["stage.dpo.ema=0.9", "stage.dpo.lora.rank=4", "model.family=moe"])
def test_a_step_of_preferences_is_the_same_in_parts_and_at_once(pair_folder: Path, how: str) -> None:
    for name, size in (("parts", 1), ("once", 4)):
        test_job_dpo.job(pair_folder, how, f"stage.dpo.micro_batch_size={size}", name=name)[0].run()
    parts, once = (dpo_losses(pair_folder / "runs" / name) for name in ("parts", "once"))
    assert len(parts) == 8
    assert parts == pytest.approx(once, abs=2e-4)


def test_preferences_with_an_average_go_on_bit_by_bit(pair_folder: Path) -> None:
    wanted = ("stage.dpo.ema=0.9", "stage.dpo.result=best")
    test_job_dpo.job(pair_folder, *wanted, name="whole")[0].run()
    control = Control()
    stopped_at(test_job_dpo.job(pair_folder, *wanted, name="cut", control=control)[0], control, "dpo", 5)
    resume_job(pair_folder / "runs/cut").run()
    whole, cut = pair_folder / "runs/whole", pair_folder / "runs/cut"
    assert test_job_dpo.learnt(cut) == test_job_dpo.learnt(whole)
    assert same(*(load_file(run / "dpo/model/model.safetensors") for run in (cut, whole)))


@pytest.mark.parametrize("extra", [(), ("stage.dpo.lora.rank=4",)])
def test_preferences_of_several_data_sets_are_mixed(pair_folder: Path, extra: tuple[str, ...]) -> None:
    said = test_job_dpo.said
    longer = [
        {
            "chosen": [said("user", f"And {n}?"), said("assistant", f"It is {n}, I am sure.")],
            "rejected": [said("user", f"And {n}?"), said("assistant", "No.")],
        }
        for n in range(20)
    ]
    test_job_dpo.write_rows(pair_folder / "longer.jsonl", longer)
    mixed = 'stage.dpo.data=[{path = "pairs.jsonl", weight = 3}, {path = "longer.jsonl", weight = 1}]'
    made, heard = test_job_dpo.job(pair_folder, mixed, *extra)
    made.run()
    run = pair_folder / "runs/mine"
    first = next(record for record in test_job_dpo.records(run) if "val_loss" in record)
    assert first["val_loss"] == pytest.approx(0.693147, abs=1e-5), "each pair meets its own reference"
    assert dpo_losses(run)[0] == pytest.approx(0.693147, abs=1e-5)
    assert (run / "dpo/reference").exists() != bool(extra)
    data = next(event for event in heard if isinstance(event, events.DataReady) and event.stage == "dpo")
    assert (data.documents + data.validation_documents, data.rows_read) == (60, 60)
