"""Trainings that give the same figures whatever the number of processes; as a program, what one of several does.

python ranks_worker.py FOLDER: all scenarios with DDP and with FSDP; rank 0 leaves FOLDER/figures.json and checkpoints.
"""

import json
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from workbench import events
from workbench.config import LoraSettings, StageSettings, TokenizerSettings
from workbench.control import Control
from workbench.data.loader import Loader
from workbench.data.stores import TokenStore
from workbench.job_ranks import together
from workbench.model.adapter import Base
from workbench.model.configuration import ModelConfig
from workbench.model.initialize import initialize
from workbench.model.lora import attach_lora
from workbench.model.transformer import Transformer
from workbench.tokenizer.bpe import train_tokenizer
from workbench.training.checkpoint import Adaptation
from workbench.training.distributed import Spread
from workbench.training.objectives.distill import DistillObjective
from workbench.training.probe import Measured, Sample
from workbench.training.surroundings import Machine, Shelf
from workbench.training.trainer import Trainer

DENSE = ModelConfig(
    vocab_size=272,
    hidden_size=32,
    intermediate_size=48,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    head_dim=8,
    max_position_embeddings=32,
)
MIXTURE = replace(
    DENSE,
    num_experts=3,  # which two ranks cannot halve
    num_experts_per_tok=2,
    moe_intermediate_size=16,
    norm_topk_prob=True,
    router_aux_loss_coef=0.5,
    router_z_loss_coef=0.1,
)
STEPS = 4
BASE = Base(Path("nowhere"), "0")  # which nobody looks for


@dataclass(frozen=True)
class Scenario:
    """A training; `micro` is its micro-batch size, `kinds` how several processes do it."""

    config: ModelConfig = DENSE
    micro: int = 2
    kinds: tuple[str, ...] = ("ddp", "fsdp")
    lora: LoraSettings | None = None
    stage: dict[str, Any] = field(default_factory=dict)


SCENARIOS = {
    "dense": Scenario(stage={"clip": 0.3, "gradient_checkpointing": True}),
    "uneven": Scenario(kinds=("ddp",), stage={"batch_size": 5}),
    "muon and average": Scenario(stage={"optimizer": {"name": "muon"}, "ema": 0.9}),
    "mixture": Scenario(MIXTURE),
    "mixture in one part": Scenario(MIXTURE, micro=8, kinds=("ddp",), stage={"batch_size": 5}),
    "a teacher": Scenario(stage={"kind": "distill", "teacher": "x", "distill": {"alpha": 0.5, "temperature": 2.0}}),
    "preferences": Scenario(stage={"kind": "dpo", "dpo": {"loss": "sigmoid"}}),
    "its own reference": Scenario(
        lora=LoraSettings(rank=4, quantize="int8"), stage={"kind": "dpo", "dpo": {"loss": "ipo"}}
    ),
}


class Looker:
    """Measures the model on a fixed row."""

    def validate(self, model: Transformer) -> Measured | None:
        with torch.no_grad():
            ids = torch.arange(16).view(1, 16)
            total, count = model.loss(ids, ids)
        return Measured(float(total) / int(count), 1.0, 1.0)

    def sample(self, model: Transformer) -> list[Sample]:
        return [Sample("one", str(float(model(torch.arange(8).view(1, 8)).detach().sum())), 3)]


def train(scenario: Scenario, spread: Spread, folder: Path) -> list[dict[str, Any]]:
    """The figures of each step, and the last validation; the last checkpoint lies in `folder`."""
    generator = np.random.default_rng(0)
    documents = [generator.integers(9, 250, size=generator.integers(5, 18)).tolist() for _ in range(40)]
    length = {"sequence_length": 16, "batch_size": 6, **scenario.stage}
    pairs = length.get("kind") == "dpo"
    store = TokenStore.from_documents(documents, [[True] * len(each) for each in documents] if pairs else None)
    if pairs and scenario.lora is None:
        store.reference = -generator.random(store.tokens, dtype=np.float32)
    settings = StageSettings(
        **{
            "kind": "pretrain",
            "data": ["unused"],
            "steps": STEPS,
            "learning_rate": 1e-2,
            "log_every": 1,
            "evaluate_every": 2,
            "sample_every": 2,
            **length,
            "lora": scenario.lora,
        }
    )
    model = Transformer(scenario.config)
    initialize(model, seed=1)
    adaptation = None
    if scenario.lora is not None:
        attach_lora(model, scenario.lora, seed=2)
        adaptation = Adaptation(scenario.lora, BASE)
    objective = None
    if settings.distill is not None:
        teacher = Transformer(scenario.config)
        initialize(teacher, seed=9)
        objective = DistillObjective(settings.distill, teacher)
    tokenizer = train_tokenizer(
        TokenizerSettings(kind="bytes"), [], on_progress=lambda *_: None, should_stop=lambda: False
    )
    assert tokenizer is not None
    heard: list[events.Event] = []
    emitter = events.Emitter()
    emitter.subscribe(heard.append)
    trainer = Trainer(
        model=model,
        tokenizer=tokenizer,
        loader=Loader(
            store,
            sequence_length=16,
            batch_size=settings.batch_size,
            seed=7,
            packing="pairs" if pairs else "stream",
        ),
        settings=settings,
        steps=STEPS,
        machine=Machine("fp32", scenario.micro, False, spread),
        probe=Looker(),
        shelf=Shelf({}, lambda step: folder, lambda: None, adaptation),
        emitter=emitter,
        control=Control(),
        poll=lambda: None,
        objective=objective,
    )
    assert trainer.run()
    return [figures_of(event) for event in heard if isinstance(event, (events.StepFinished, events.Validated))]


def figures_of(event: events.StepFinished | events.Validated) -> dict[str, Any]:
    if isinstance(event, events.Validated):
        return {"val_loss": event.val_loss}
    told = {"loss": event.loss, "grad_norm": event.grad_norm, **event.measures}
    routed = {"balance_loss": event.balance_loss, "router_z_loss": event.router_z_loss}
    return {**told, **(routed if event.expert_load else {}), "tokens": event.tokens}


def name_of(scenario: str, kind: str) -> str:
    return f"{scenario.replace(' ', '-')}-{kind}"


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    figures = {}
    with together() as meeting:
        for name, scenario in SCENARIOS.items():
            for kind in scenario.kinds:
                key = name_of(name, kind)
                figures[key] = train(scenario, Spread(meeting.ranks, kind, "cpu", seed=1), folder / key)
        if meeting.ranks.leads:
            (folder / "figures.json").write_text(json.dumps(figures), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
