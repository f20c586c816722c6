"""config.json between its spellings: what the files of transformers 4 and 5 say, checked, and what is written.

Which class of transformers computes what is written: LlamaForCausalLM and Qwen3ForCausalLM without experts;
Qwen3MoeForCausalLM with experts (and normed queries and keys); Qwen2MoeForCausalLM where every token also visits a
shared expert, the one layout there whose attention, router and expert names are otherwise the same.
"""

import sys
from collections.abc import Mapping
from typing import Any

_ARCHITECTURES: dict[Any, str] = {
    "llama": "LlamaForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
    "qwen3_moe": "Qwen3MoeForCausalLM",
    "qwen2_moe": "Qwen2MoeForCausalLM",
}
_MIXTURES = ("qwen3_moe", "qwen2_moe")
_EXPERT_SIZES = ("num_experts", "num_experts_per_tok", "moe_intermediate_size")
# What a file means where it leaves a key out: the defaults of transformers' own classes.
_DEFAULTS: dict[Any, dict[str, Any]] = {
    "llama": {},
    "qwen3": {"head_dim": 128, "num_key_value_heads": 32},
    "qwen3_moe": {
        "num_key_value_heads": 4,
        "num_experts": 128,
        "num_experts_per_tok": 8,
        "moe_intermediate_size": 768,
        "router_aux_loss_coef": 0.001,
    },
    "qwen2_moe": {
        "num_key_value_heads": 16,
        "qkv_bias": True,
        "num_experts": 60,
        "num_experts_per_tok": 4,
        "moe_intermediate_size": 1408,
        "shared_expert_intermediate_size": 5632,
        "router_aux_loss_coef": 0.001,
    },
}
_ROPE_THETA = 10_000.0
_ROPE_KEYS: dict[Any, tuple[str, ...]] = {
    "linear": ("factor",),
    "llama3": ("factor", "original_max_position_embeddings", "low_freq_factor", "high_freq_factor"),
    "yarn": ("factor", "original_max_position_embeddings", "beta_fast", "beta_slow", "attention_factor", "truncate"),
}
_ROPE_NEEDED = {"linear": ("factor",), "llama3": ("factor", "low_freq_factor", "high_freq_factor"), "yarn": ("factor",)}
_COEFFICIENTS = ("router_aux_loss_coef", "router_z_loss_coef")


def read_config_json(values: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The sizes in a config.json with what it leaves out filled in, and what is wrong or not supported, a line each."""
    model_type = values.get("model_type")
    if not isinstance(model_type, str) or model_type not in _ARCHITECTURES:
        known = ", ".join(map(repr, _ARCHITECTURES))
        return {}, [f"model_type is {model_type!r}, none of {known}"]
    said = {key: value for key, value in values.items() if value is not None}
    if "num_local_experts" in said:  # as transformers 5 writes it for qwen3_moe
        said.setdefault("num_experts", said["num_local_experts"])
    given = {**_DEFAULTS[model_type], **said}
    rope = _rope(given)
    problems = _unsupported(given, rope) or _wrong_types(given, rope)
    if problems:
        return {}, problems
    sizes = _with_derived_sizes(given, rope)
    return sizes, _impossible_sizes(sizes)


def write_config_json(sizes: dict[str, Any], dtype: str) -> dict[str, Any]:
    """The contents of a config.json that transformers 4 and 5 both read.

    Args:
        sizes: the fields of a ModelConfig.
        dtype: of the weights beside it, as torch names it.
    """
    model_type, scaling = sizes["model_type"], sizes["rope_scaling"] or {}
    scaling = {key: value for key, value in scaling.items() if value is not None}
    mixture = model_type in _MIXTURES
    plain = {key: value for key, value in sizes.items() if key not in ("model_type", "rope_scaling")}
    expert_keys = [key for key in plain if "expert" in key or key.startswith(("moe_", "norm_topk", "router_"))]
    experts = {key: plain.pop(key) for key in expert_keys}
    if model_type != "qwen2_moe":
        experts.pop("shared_expert_intermediate_size")
    eos = list(sizes["eos_token_id"]) if isinstance(sizes["eos_token_id"], tuple) else sizes["eos_token_id"]
    return {
        "architectures": [_ARCHITECTURES[model_type]],
        "model_type": model_type,
        **plain,
        **(_of_experts(experts, model_type) if mixture else {}),
        "eos_token_id": eos,
        "hidden_act": "silu",
        "attention_bias": False,
        "attention_dropout": 0.0,
        **({"mlp_bias": False} if model_type == "llama" else {"use_sliding_window": False}),
        # Transformers 4 reads these two and rope_theta, and passes over the newer keys in silence; 5 reads either.
        "rope_scaling": scaling or None,
        "torch_dtype": dtype,
        "rope_parameters": {"rope_type": "default", **scaling, "rope_theta": sizes["rope_theta"]},
        "dtype": dtype,
        "use_cache": True,
    }


def _of_experts(experts: dict[str, Any], model_type: str) -> dict[str, Any]:
    layout: dict[str, Any] = {"decoder_sparse_step": 1, "mlp_only_layers": []}
    if model_type == "qwen2_moe":
        layout["qkv_bias"] = False
    return {**experts, **layout}


def _rope(given: Mapping[str, Any]) -> Any:
    """The table of rotary positions, under one name for its type; anything else as it stands."""
    rope = given.get("rope_parameters") or given.get("rope_scaling") or {}
    if not isinstance(rope, Mapping):
        return rope
    rope = {key: value for key, value in rope.items() if value is not None}
    kind = rope.pop("type", "default")
    return {"rope_type": kind, **rope}


def _unsupported(given: Mapping[str, Any], rope: Any) -> list[str]:
    """What a config.json asks for beyond these models: one line each."""
    problems = []
    if given.get("hidden_act", "silu") != "silu":
        problems.append(f"hidden_act {given['hidden_act']!r} is not supported, only 'silu'")
    flags = ("attention_bias", "mlp_bias", "qkv_bias", "use_sliding_window", "mlp_only_layers")
    problems += [f"{key} is not supported" for key in flags if given.get(key)]
    if given.get("quantization_config"):
        problems.append("quantised weights (quantization_config) are not supported")
    if given.get("decoder_sparse_step", 1) != 1:
        problems.append(f"decoder_sparse_step is {given['decoder_sparse_step']!r}: every layer must have experts")
    kind = rope.get("rope_type") if isinstance(rope, Mapping) else rope
    if not isinstance(kind, str) or (kind != "default" and kind not in _ROPE_KEYS):
        problems.append(f"rope scaling of type {kind!r} is not supported")
    elif isinstance(rope, Mapping):
        known = ("rope_type", "rope_theta", "partial_rotary_factor", *_ROPE_KEYS.get(kind, ()))
        extra = [key for key in rope if key not in known] if kind != "default" else []
        problems += [f"{key} of rope scaling {kind!r} is not supported" for key in extra]
    partial = [given.get("partial_rotary_factor")]
    if isinstance(rope, Mapping):
        partial.append(rope.get("partial_rotary_factor"))
    if any(factor not in (None, 1.0) for factor in partial):
        problems.append("partial_rotary_factor is not supported")
    return problems


def _wrong_types(given: Mapping[str, Any], rope: Mapping[str, Any]) -> list[str]:
    """What the arithmetic could not be done with, where a config.json gives it."""
    numbers = {name: given.get(name) for name in ("rope_theta", "rms_norm_eps", "initializer_range")}
    numbers |= {f"rope_parameters.{key}": value for key, value in rope.items() if key not in ("rope_type", "truncate")}
    problems = [
        f"{name} is {value!r}, not a positive number"
        for name, value in numbers.items()
        if value is not None and not (_is_a(value, int, float) and 0 < value <= sys.float_info.max)
    ]
    for name in _COEFFICIENTS:
        if name in given and not (_is_a(given[name], int, float) and 0 <= given[name] <= sys.float_info.max):
            problems.append(f"{name} is {given[name]!r}, not a number from 0")
    kind = rope["rope_type"]
    problems += [f"rope scaling {kind!r} does not say {key}" for key in _ROPE_NEEDED.get(kind, ()) if key not in rope]
    switches = {name: given.get(name, False) for name in ("tie_word_embeddings", "norm_topk_prob")}
    switches["rope_parameters.truncate"] = rope.get("truncate", False)
    problems += [
        f"{name} is {value!r}, not true or false" for name, value in switches.items() if not isinstance(value, bool)
    ]
    for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
        value = given.get(name)
        ids = value if name == "eos_token_id" and isinstance(value, list) else [value]
        if value is not None and not all(_is_a(token_id, int) for token_id in ids):
            problems.append(f"{name} is {value!r}, not the number of a token")
    return problems


def _is_a(value: object, *kinds: type) -> bool:
    return isinstance(value, kinds) and not isinstance(value, bool)


def _with_derived_sizes(given: Mapping[str, Any], rope: Mapping[str, Any]) -> dict[str, Any]:
    """`given` with what config.json files leave out: the sizes that follow from others, and the rotary positions."""
    sizes = dict(given)
    heads, hidden = sizes.get("num_attention_heads"), sizes.get("hidden_size")
    sizes.setdefault("num_key_value_heads", heads)
    if sizes.get("head_dim") is None and isinstance(heads, int) and isinstance(hidden, int) and heads > 0:
        sizes["head_dim"] = hidden // heads
    sizes["rope_theta"] = float(rope.get("rope_theta") or sizes.get("rope_theta") or _ROPE_THETA)
    kind = rope["rope_type"]
    scaling = {key: rope[key] for key in _ROPE_KEYS.get(kind, ()) if key in rope}
    if kind in ("llama3", "yarn"):
        scaling.setdefault("original_max_position_embeddings", sizes.get("max_position_embeddings"))
    sizes["rope_scaling"] = {"rope_type": kind, **scaling} if scaling else None
    sizes.setdefault("rms_norm_eps", 1e-6)  # transformers' own default, not ours
    sizes.setdefault("tie_word_embeddings", False)  # likewise
    if sizes["model_type"] not in _MIXTURES:
        for key in (*_EXPERT_SIZES, "shared_expert_intermediate_size", "norm_topk_prob", *_COEFFICIENTS):
            sizes.pop(key, None)
    elif sizes["model_type"] == "qwen3_moe":
        sizes.pop("shared_expert_intermediate_size", None)
    return sizes


def _impossible_sizes(sizes: Mapping[str, Any]) -> list[str]:
    required = [
        "vocab_size",
        "hidden_size",
        "intermediate_size",
        "num_hidden_layers",
        "num_attention_heads",
        "num_key_value_heads",
        "head_dim",
        "max_position_embeddings",
    ]
    if sizes["model_type"] in _MIXTURES:
        required += _EXPERT_SIZES
    if sizes["model_type"] == "qwen2_moe":
        required.append("shared_expert_intermediate_size")
    problems = [
        f"{name} is {sizes.get(name)!r}, not a positive whole number"
        for name in required
        if not _is_a(sizes.get(name), int) or sizes[name] < 1
    ]
    if problems:
        return problems
    if sizes["num_attention_heads"] % sizes["num_key_value_heads"]:
        problems.append(
            f"num_key_value_heads {sizes['num_key_value_heads']} does not divide "
            f"num_attention_heads {sizes['num_attention_heads']}"
        )
    if sizes["head_dim"] % 2:
        problems.append(f"head_dim {sizes['head_dim']} is odd: rotary embeddings turn pairs")
    if sizes["model_type"] in _MIXTURES and sizes["num_experts_per_tok"] > sizes["num_experts"]:
        problems.append(f"num_experts_per_tok {sizes['num_experts_per_tok']} of {sizes['num_experts']} experts")
    return problems
