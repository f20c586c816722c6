"""A small LLaMA with random weights and a byte tokenizer, with and without a chat template."""

import pytest
import torch

from workbench.model.configuration import ModelConfig
from workbench.model.transformer import Transformer
from workbench.tokenizer.characters import byte_tokenizer
from workbench.tokenizer.chatml import DEFAULT_TEMPLATE
from workbench.tokenizer.tokenizer import Tokenizer


@pytest.fixture
def model() -> Transformer:
    config = ModelConfig(
        vocab_size=300,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        max_position_embeddings=128,
    )
    model = Transformer(config)
    generator = torch.Generator().manual_seed(11)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.4)
    return model.eval()


@pytest.fixture
def tokenizer() -> Tokenizer:
    return Tokenizer(byte_tokenizer(), {}, DEFAULT_TEMPLATE)


@pytest.fixture
def plain_tokenizer() -> Tokenizer:
    return Tokenizer(byte_tokenizer(), {}, None)
