"""Small random models of transformers, one for each family and each way of stretching a context."""

from typing import Any

import torch
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    Qwen2MoeConfig,
    Qwen2MoeForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
    Qwen3MoeConfig,
    Qwen3MoeForCausalLM,
)

SIZES: dict[str, Any] = {
    "vocab_size": 97,
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "initializer_range": 0.1,
    "eos_token_id": None,
    "pad_token_id": None,
}
PLAIN = {"rope_type": "default", "rope_theta": 10_000.0}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500_000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}
YARN = {"rope_type": "yarn", "rope_theta": 10_000.0, "factor": 4.0, "original_max_position_embeddings": 16}
EXPERTS = {"num_experts": 5, "num_experts_per_tok": 2, "moe_intermediate_size": 24, "head_dim": 20}
SHARED = {**EXPERTS, "head_dim": 12, "shared_expert_intermediate_size": 40, "qkv_bias": False}
CASES: dict[str, tuple[type, type, dict[str, Any]]] = {
    "llama1": (LlamaConfig, LlamaForCausalLM, {"num_key_value_heads": 4, "rope_parameters": PLAIN}),
    "llama2": (LlamaConfig, LlamaForCausalLM, {"tie_word_embeddings": True, "rope_parameters": PLAIN}),
    "llama3": (
        LlamaConfig,
        LlamaForCausalLM,
        {"num_key_value_heads": 1, "tie_word_embeddings": True, "rope_parameters": {**PLAIN, "rope_theta": 5e5}},
    ),
    "llama3-scaled": (LlamaConfig, LlamaForCausalLM, {"rope_parameters": LLAMA3}),
    "linear": (LlamaConfig, LlamaForCausalLM, {"rope_parameters": {**PLAIN, "rope_type": "linear", "factor": 2.5}}),
    "yarn": (LlamaConfig, LlamaForCausalLM, {"rope_parameters": YARN}),
    "yarn-smooth": (
        LlamaConfig,
        LlamaForCausalLM,
        {"rope_parameters": {**YARN, "beta_fast": 8.0, "beta_slow": 0.5, "attention_factor": 1.3, "truncate": False}},
    ),
    "qwen3": (
        Qwen3Config,
        Qwen3ForCausalLM,
        {"head_dim": 20, "tie_word_embeddings": True, "rope_parameters": {**PLAIN, "rope_theta": 1e6}},
    ),
    "moe": (Qwen3MoeConfig, Qwen3MoeForCausalLM, {**EXPERTS, "norm_topk_prob": True, "rope_parameters": PLAIN}),
    "moe-top-1": (
        Qwen3MoeConfig,
        Qwen3MoeForCausalLM,
        {**EXPERTS, "num_experts_per_tok": 1, "norm_topk_prob": False, "tie_word_embeddings": True},
    ),
    "moe-yarn": (Qwen3MoeConfig, Qwen3MoeForCausalLM, {**EXPERTS, "norm_topk_prob": False, "rope_parameters": YARN}),
    "moe-shared": (Qwen2MoeConfig, Qwen2MoeForCausalLM, {**SHARED, "rope_parameters": PLAIN}),
    "moe-shared-norm": (
        Qwen2MoeConfig,
        Qwen2MoeForCausalLM,
        {**SHARED, "norm_topk_prob": True, "num_experts_per_tok": 3, "tie_word_embeddings": True},
    ),
    "qwen3-yarn": (Qwen3Config, Qwen3ForCausalLM, {"head_dim": 16, "rope_parameters": YARN}),
}


def foreign_model(case: str) -> PreTrainedModel:
    """The model of a case, its norms random too: weights of one would hide a norm that is left out."""
    config_class, model_class, changes = CASES[case]
    torch.manual_seed(0)
    model = model_class(config_class(**{**SIZES, **changes}))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.uniform_(0.5, 1.5)
    return model.eval()
