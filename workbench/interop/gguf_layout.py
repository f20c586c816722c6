"""What a GGUF file calls the tensors and the settings of each architecture, and how it lays them out."""

from dataclasses import replace

import numpy as np

from workbench.model.configuration import ModelConfig, RopeScaling
from workbench.model.rotary import rotary_frequencies
from workbench.model_settings import ModelType

CONTROL_TOKEN, NORMAL_TOKEN, UNUSED_TOKEN, USER_TOKEN = 3, 1, 5, 4  # GGUF's token types
PRE_TOKENIZERS = ("gpt-2", "smollm", "qwen2", "llama-bpe")
"""Ways of cutting text into words that llama.cpp and this program know by the same name."""

ARCHITECTURES: dict[str, ModelType] = {
    "llama": "llama",
    "qwen3": "qwen3",
    "qwen3moe": "qwen3_moe",
    "qwen2moe": "qwen2_moe",
}
OUTER = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}
_ATTENTION = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
}
_QK_NORM = {"attn_q_norm": "self_attn.q_norm", "attn_k_norm": "self_attn.k_norm"}
_DENSE = {"ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj"}
_EXPERTS = {"ffn_gate_inp": "mlp.gate"}
_SHARED = {
    "ffn_gate_inp_shexp": "mlp.shared_expert_gate",
    "ffn_gate_shexp": "mlp.shared_expert.gate_proj",
    "ffn_up_shexp": "mlp.shared_expert.up_proj",
    "ffn_down_shexp": "mlp.shared_expert.down_proj",
}
INNER: dict[str, dict[str, str]] = {
    "llama": {**_ATTENTION, **_DENSE},
    "qwen3": {**_ATTENTION, **_QK_NORM, **_DENSE},
    "qwen3moe": {**_ATTENTION, **_QK_NORM, **_EXPERTS},
    "qwen2moe": {**_ATTENTION, **_EXPERTS, **_SHARED},
}
"""Modules of a block by architecture; the experts' own matrices are stacked, under `STACKED`."""
GATE_OF_SHARED = "ffn_gate_inp_shexp"
"""A vector there, a matrix of one row elsewhere."""
STACKED = {"ffn_gate_exps": "gate_proj", "ffn_up_exps": "up_proj", "ffn_down_exps": "down_proj"}
ROPE_FACTORS = "rope_freqs.weight"
"""What the frequencies of llama3's scaling are divided by, pair by pair."""


def in_halves(weights: np.ndarray, heads: int) -> np.ndarray:
    """Query or key rows with the rotary pairs as Hugging Face has them, i with i + head_dim / 2.

    GGUF keeps those of a llama, and of no other architecture here, side by side, 2i with 2i + 1.
    """
    pairs = weights.shape[0] // heads // 2
    return weights.reshape(heads, pairs, 2, *weights.shape[1:]).swapaxes(1, 2).reshape(weights.shape)


def side_by_side(weights: np.ndarray, heads: int) -> np.ndarray:
    """The reverse of `in_halves`."""
    pairs = weights.shape[0] // heads // 2
    return weights.reshape(heads, 2, pairs, *weights.shape[1:]).swapaxes(1, 2).reshape(weights.shape)


def llama3_factors(config: ModelConfig) -> np.ndarray:
    """What the scaling of `config` divides each pair's frequency by, (head_dim / 2,) float32."""
    plain, _ = rotary_frequencies(replace(config, rope_scaling=None))
    scaled, _ = rotary_frequencies(config)
    return (plain / scaled).numpy().astype(np.float32)


def llama3_scaling(factors: np.ndarray, theta: float, head_dim: int, context: int) -> RopeScaling | None:
    """The scaling that divides frequencies by `factors`, with the rotations of Llama 3.1; None where there is none.

    A file keeps the quotients alone; the original context, a power of two, is found by trying.
    """
    plain = 1.0 / theta ** (np.arange(0, head_dim, 2) / head_dim)
    for power in range(3, context.bit_length()):
        scaling = RopeScaling("llama3", float(factors.max()), 1 << power, low_freq_factor=1.0, high_freq_factor=4.0)
        rotations = (1 << power) * plain / (2 * np.pi)
        kept = ((rotations - 1) / 3).clip(0, 1)
        if np.allclose(1 / ((1 - kept) / scaling.factor + kept), factors, rtol=1e-3):
            return scaling
    return None
