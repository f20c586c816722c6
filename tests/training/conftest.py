from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from workbench import events
from workbench.config import StageSettings, TokenizerSettings
from workbench.control import Control
from workbench.data.loader import Loader
from workbench.data.stores import TokenStore
from workbench.model.configuration import ModelConfig
from workbench.model.initialize import initialize
from workbench.model.transformer import Transformer
from workbench.tokenizer.bpe import train_tokenizer
from workbench.tokenizer.tokenizer import Tokenizer
from workbench.training.probe import Measured, Sample
from workbench.training.surroundings import Machine, Shelf
from workbench.training.trainer import Trainer

CONFIG = ModelConfig(
    vocab_size=272,
    hidden_size=32,
    intermediate_size=64,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    head_dim=8,
    max_position_embeddings=32,
)


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    trained = train_tokenizer(
        TokenizerSettings(kind="bytes"), [], on_progress=lambda *_: None, should_stop=lambda: False
    )
    assert trained is not None
    return trained


class Looker:
    """A probe that draws from the global random numbers and scribbles on gradients' mode, as a careless one might."""

    def __init__(self) -> None:
        self.validated: list[int] = []
        self.calls = 0

    def validate(self, model: Transformer) -> Measured | None:
        self.calls += 1
        with torch.no_grad():
            ids = torch.arange(16).view(1, 16)
            total, count = model.loss(ids, ids)
        loss = float(total) / int(count)
        return Measured(loss, 1.0, 1.0)

    def sample(self, model: Transformer) -> list[Sample]:
        return [Sample("one", "two", 3)]


@dataclass
class Bench:
    """A trainer on a toy corpus, with all it announced."""

    trainer: Trainer
    heard: list[events.Event] = field(default_factory=list)

    def losses(self) -> dict[int, float]:
        return {event.step: event.loss for event in self.heard if isinstance(event, events.StepFinished)}


MakeBench = Callable[..., Bench]


@pytest.fixture
def make_bench(tokenizer: Tokenizer, tmp_path: Path) -> MakeBench:
    def make(
        steps: int = 6,
        micro: int = 4,
        precision: Any = "fp32",
        compiled: bool = False,
        config: ModelConfig = CONFIG,
        **settings: Any,
    ) -> Bench:
        generator = np.random.default_rng(0)
        documents = [generator.integers(9, 250, size=generator.integers(5, 40)).tolist() for _ in range(40)]
        stage = StageSettings(
            **{
                "kind": "pretrain",
                "data": ["unused"],
                "steps": steps,
                "sequence_length": 16,
                "batch_size": 4,
                "learning_rate": 1e-2,
                "log_every": 1,
                "evaluate_every": 2,
                "sample_every": 2,
                "checkpoint_every": 2,
                **settings,
            }
        )
        model = Transformer(config)
        initialize(model, seed=1)
        heard: list[events.Event] = []
        emitter = events.Emitter()
        emitter.subscribe(heard.append)
        loader = Loader(
            TokenStore.from_documents(documents), sequence_length=16, batch_size=4, seed=7, packing="stream"
        )
        trainer = Trainer(
            model=model,
            tokenizer=tokenizer,
            loader=loader,
            settings=stage,
            steps=steps,
            machine=Machine(precision, micro, compiled),
            probe=Looker(),
            shelf=Shelf({"base": None, "stages": []}, lambda step: tmp_path / f"step-{step:06d}", lambda: None),
            emitter=emitter,
            control=Control(),
            poll=lambda: None,
        )
        return Bench(trainer, heard)

    return make
