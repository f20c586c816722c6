"""Small models to test with."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from workbench.model.configuration import ModelConfig
from workbench.model.initialize import initialize
from workbench.model.transformer import Transformer

SMALL = ModelConfig(
    vocab_size=97,
    hidden_size=48,
    intermediate_size=80,
    num_hidden_layers=3,
    num_attention_heads=4,
    num_key_value_heads=2,
    head_dim=12,
    max_position_embeddings=64,
    initializer_range=0.1,
    bos_token_id=1,
    eos_token_id=2,
    pad_token_id=2,
)


@pytest.fixture
def small() -> ModelConfig:
    return SMALL


@pytest.fixture
def build() -> Callable[..., Transformer]:
    """A model with weights; sizes that differ from SMALL by name."""

    def make(seed: int = 0, **sizes: object) -> Transformer:
        model = Transformer(replace(SMALL, **sizes))
        initialize(model, seed)
        return model

    return make


@pytest.fixture
def ids() -> torch.Tensor:
    return torch.randint(0, SMALL.vocab_size, (2, 20), generator=torch.Generator().manual_seed(1))
