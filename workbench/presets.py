"""Published models by name: their sizes as `[model] preset = "NAME"` fills them in, and where each figure stands."""

from dataclasses import dataclass
from typing import Any, Literal

PresetName = Literal["minimind-3", "minimind-3-moe", "smollm2-135m", "qwen3-0.6b", "tinyllama-1.1b"]


@dataclass(frozen=True)
class Preset:
    """The sizes of a published model; its vocabulary is its tokenizer's, and a profile has its own.

    Args:
        settings: keys of the `[model]` table.
        vocab_size: of the published tokenizer.
        source: the file that holds the figures.
        note: where the settings differ from the published model; empty where they do not.
    """

    settings: dict[str, Any]
    vocab_size: int
    source: str
    note: str = ""


_MINIMIND_3 = {
    "hidden_size": 768,
    "intermediate_size": 2432,
    "num_hidden_layers": 8,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 96,
    "max_position_embeddings": 32768,
    "rope_theta": 1e6,
    "rms_norm_eps": 1e-6,
    "tie_word_embeddings": True,
}

PRESETS: dict[PresetName, Preset] = {
    "minimind-3": Preset(
        {"family": "qwen3", **_MINIMIND_3}, 6400, "github.com/jingyaogong/minimind, model/model_minimind.py"
    ),
    "minimind-3-moe": Preset(
        {
            "family": "moe",
            **_MINIMIND_3,
            "num_experts": 4,
            "num_experts_per_tok": 1,
            "moe_intermediate_size": 2432,
            "norm_topk_prob": False,
            "router_aux_loss_coef": 4e-3,
            "router_z_loss_coef": 0.0,
        },
        6400,
        "github.com/jingyaogong/minimind, model/model_minimind.py",
        "there the weight of the one expert is renormalised to 1, which takes its router the gradient: off here; "
        "and the balance loss is the sum over 8 layers at 5e-4: here their mean at 4e-3, which is the same",
    ),
    "smollm2-135m": Preset(
        {
            "family": "llama3",
            "hidden_size": 576,
            "intermediate_size": 1536,
            "num_hidden_layers": 30,
            "num_attention_heads": 9,
            "num_key_value_heads": 3,
            "head_dim": 64,
            "max_position_embeddings": 8192,
            "rope_theta": 100_000.0,
            "rms_norm_eps": 1e-5,
            "tie_word_embeddings": True,
            "initializer_range": 576**-0.5,
        },
        49152,
        "huggingface.co/HuggingFaceTB/SmolLM2-135M, config.json",
    ),
    "qwen3-0.6b": Preset(
        {
            "family": "qwen3",
            "hidden_size": 1024,
            "intermediate_size": 3072,
            "num_hidden_layers": 28,
            "num_attention_heads": 16,
            "num_key_value_heads": 8,
            "head_dim": 128,
            "max_position_embeddings": 40960,
            "rope_theta": 1e6,
            "rms_norm_eps": 1e-6,
            "tie_word_embeddings": True,
        },
        151936,
        "huggingface.co/Qwen/Qwen3-0.6B, config.json",
    ),
    "tinyllama-1.1b": Preset(
        {
            "family": "llama2",
            "hidden_size": 2048,
            "intermediate_size": 5632,
            "num_hidden_layers": 22,
            "num_attention_heads": 32,
            "num_key_value_heads": 4,
            "head_dim": 64,
            "max_position_embeddings": 2048,
            "rope_theta": 10_000.0,
            "rms_norm_eps": 1e-5,
            "tie_word_embeddings": False,
        },
        32000,
        "huggingface.co/TinyLlama/TinyLlama-1.1B-Chat-v1.0, config.json",
    ),
}
