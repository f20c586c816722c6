"""A small LLaMA in GGUF, as llama.cpp's converter would write it."""

import json
from pathlib import Path

import gguf
import numpy as np
import pytest
import tokenizers
import torch
from tokenizers import models, pre_tokenizers, trainers

from workbench.model.configuration import ModelConfig
from workbench.model.initialize import initialize
from workbench.model.transformer import Transformer

TEXT = ["The cat sat on the mat, 12 times.", "the other cat ran to the other mat", "唐诗三百首"] * 4
TEMPLATE = "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
NAMES = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
OUTER = {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight"}


@pytest.fixture
def backend() -> tokenizers.Tokenizer:
    """The tokenizer that the GGUF file carries."""
    tokenizer = tokenizers.Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXT, trainer)
    return tokenizer


@pytest.fixture(params=[True, False], ids=["tied", "untied"])
def model(request: pytest.FixtureRequest, backend: tokenizers.Tokenizer) -> Transformer:
    """The model that the GGUF file carries."""
    own = Transformer(
        ModelConfig(
            vocab_size=backend.get_vocab_size(),
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            head_dim=8,
            max_position_embeddings=64,
            rope_theta=100_000.0,
            tie_word_embeddings=request.param,
            initializer_range=0.2,
            bos_token_id=1,
            eos_token_id=2,
            pad_token_id=2,
        )
    )
    initialize(own, seed=0)
    return own


@pytest.fixture
def gguf_file(tmp_path: Path, model: Transformer, backend: tokenizers.Tokenizer) -> Path:
    path = tmp_path / "source" / "small.gguf"
    path.parent.mkdir()
    write_gguf(path, model, backend)
    return path


@pytest.fixture
def incomplete_gguf_file(tmp_path: Path, model: Transformer, backend: tokenizers.Tokenizer) -> Path:
    path = tmp_path / "incomplete.gguf"
    write_gguf(path, model, backend, without="model.norm.weight")
    return path


def write_gguf(path: Path, model: Transformer, backend: tokenizers.Tokenizer, without: str = "") -> None:
    config = model.config
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_rope_freq_base(config.rope_theta)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    tokens = [backend.id_to_token(index) for index in range(config.vocab_size)]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    writer.add_token_types([3 if token.startswith("<|") else 1 for token in tokens])
    writer.add_token_merges([" ".join(merge) for merge in merges_of(backend)])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_pad_token_id(2)
    writer.add_chat_template(TEMPLATE)
    for name, value in model.state_dict().items():
        if name == without:
            continue
        writer.add_tensor(gguf_name(name), interleaved(name, value, config).numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def merges_of(backend: tokenizers.Tokenizer) -> list[list[str]]:
    return json.loads(backend.to_str())["model"]["merges"]


def gguf_name(name: str) -> str:
    if name in OUTER or name == "lm_head.weight":
        return OUTER.get(name, "output.weight")
    _, _, layer, inner = name.removesuffix(".weight").split(".", 3)
    return f"blk.{layer}.{NAMES[inner]}.weight"


def interleaved(name: str, weights: torch.Tensor, config: ModelConfig) -> torch.Tensor:
    """GGUF's order of query and key rows, written by index: row 2i of a head is row i, row 2i + 1 is row i + half."""
    if "q_proj" not in name and "k_proj" not in name:
        return weights
    half = config.head_dim // 2
    order = np.arange(config.head_dim).reshape(2, half).T.reshape(-1)
    heads = weights.view(-1, config.head_dim, weights.shape[1])
    return heads[:, torch.from_numpy(order)].reshape(weights.shape).contiguous()
