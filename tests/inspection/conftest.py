"""Small random models of transformers and the same ones here, to hold the instruments against."""

from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, Qwen3Config, Qwen3ForCausalLM

from workbench.model.transformer import Transformer
from workbench.model.weights import load_model

IDS = [5, 17, 42, 8, 3, 17, 90, 11, 2]


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session", params=["llama, tied", "llama, grouped", "qwen3"])
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Transformer]:
    """A random model of transformers that shows its attention, and the same one here."""
    family, _, kind = request.param.partition(", ")
    torch.manual_seed(0)
    sizes = {
        "vocab_size": 97,
        "hidden_size": 48,
        "intermediate_size": 80,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 4 if kind == "tied" else 2,
        "head_dim": 12 if family == "llama" else 16,
        "max_position_embeddings": 64,
        "tie_word_embeddings": kind == "tied",
        "initializer_range": 0.1,
        "eos_token_id": None,
        "pad_token_id": None,
        "attn_implementation": "eager",
    }
    if family == "llama":
        foreign: Any = LlamaForCausalLM(LlamaConfig(**sizes)).eval()
    else:
        foreign = Qwen3ForCausalLM(Qwen3Config(**sizes)).eval()
    directory = tmp_path_factory.mktemp("model")
    foreign.save_pretrained(directory)
    return foreign, load_model(directory)


@pytest.fixture
def model(pair: tuple[Any, Transformer]) -> Transformer:
    """The model alone."""
    return pair[1]


@pytest.fixture
def ids() -> list[int]:
    """A text."""
    return list(IDS)
