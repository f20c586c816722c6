"""A model directory as one GGUF file, for llama.cpp and what is built on it."""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import gguf
import numpy as np
import tokenizers
from gguf import GGMLQuantizationType, LlamaFileType
from torch import Tensor

from workbench.errors import ModelError
from workbench.inference.loading import load_both
from workbench.interop.gguf_layout import (
    ARCHITECTURES,
    CONTROL_TOKEN,
    GATE_OF_SHARED,
    INNER,
    NORMAL_TOKEN,
    OUTER,
    PRE_TOKENIZERS,
    ROPE_FACTORS,
    STACKED,
    UNUSED_TOKEN,
    USER_TOKEN,
    llama3_factors,
    side_by_side,
)
from workbench.model.configuration import ModelConfig
from workbench.model.transformer import Transformer
from workbench.tokenizer.pre_tokenizers import build_pre_tokenizer
from workbench.tokenizer.tokenizer import Tokenizer

NumberType = Literal["f32", "f16", "bf16", "q8_0"]
_TYPES: dict[NumberType, tuple[GGMLQuantizationType, LlamaFileType]] = {
    "f32": (GGMLQuantizationType.F32, LlamaFileType.ALL_F32),
    "f16": (GGMLQuantizationType.F16, LlamaFileType.MOSTLY_F16),
    "bf16": (GGMLQuantizationType.BF16, LlamaFileType.MOSTLY_BF16),
    "q8_0": (GGMLQuantizationType.Q8_0, LlamaFileType.MOSTLY_Q8_0),
}
_ROW_OF_Q8 = 32  # rows of other lengths stay in 16 bits
_BETA_FAST, _BETA_SLOW = 32.0, 1.0  # of yarn, as llama.cpp has them


def export_gguf(directory: Path, target: Path, number_type: NumberType = "f16") -> None:
    """Write the model and the tokenizer of `directory` into the file `target`, whole or not at all.

    Args:
        number_type: of the matrices; vectors and routers stay in float32.
    Raises:
        ModelError: llama.cpp would compute another model, or has no such tokenizer; says what it cannot do.
    """
    model, tokenizer = load_both(directory)
    problems = [*_not_computed(model.config), *_not_tokenised(tokenizer)]
    if problems:
        raise ModelError(str(directory), "; ".join(problems), "the directory itself is what transformers loads")
    if target.exists():
        raise ModelError(str(target), "exists already", "give another file, or remove it")
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.partial")
    try:
        _write(partial, model, tokenizer, number_type, directory.resolve().name)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


def _not_computed(config: ModelConfig) -> Iterator[str]:
    """What of `config` llama.cpp has no way to compute."""
    if config.model_type == "qwen3_moe" and not config.norm_topk_prob:
        yield (
            "its experts' weights are not renormalised (norm_topk_prob is false), and llama.cpp always does that in "
            "this architecture"
        )
    if config.model_type == "qwen2_moe" and config.norm_topk_prob:
        yield (
            "its experts' weights are renormalised (norm_topk_prob is true), and llama.cpp never does that in this "
            "architecture"
        )
    if config.model_type == "qwen2_moe" and config.num_attention_heads * config.head_dim != config.hidden_size:
        yield (
            f"its {config.num_attention_heads} heads of {config.head_dim} are not as wide as hidden_size "
            f"{config.hidden_size}, which llama.cpp takes for granted in this architecture"
        )
    scaling = config.rope_scaling
    if scaling is None or scaling.rope_type == "linear":
        return
    if scaling.rope_type == "llama3":
        if config.model_type != "llama":
            yield "llama.cpp knows rope scaling 'llama3' of llama models only"
        elif (scaling.low_freq_factor, scaling.high_freq_factor) != (1.0, 4.0):
            yield "rope scaling 'llama3' with other frequency factors than 1 and 4 could not be read back"
        return
    usual = 0.1 * math.log(scaling.factor) + 1.0
    given = usual if scaling.attention_factor is None else scaling.attention_factor
    betas = (scaling.beta_fast or _BETA_FAST, scaling.beta_slow or _BETA_SLOW)
    if betas != (_BETA_FAST, _BETA_SLOW) or not math.isclose(given, usual) or scaling.truncate is False:
        yield "rope scaling 'yarn' with its own beta_fast, beta_slow, attention_factor or truncate cannot be said"


def _not_tokenised(tokenizer: Tokenizer) -> Iterator[str]:
    if tokenizer.kind != "bpe" or not tokenizer.byte_level:
        yield f"its tokenizer is of kind {tokenizer.kind!r}, and only byte-level BPE can be written"
    elif _pre_tokenizer_name(tokenizer) is None:
        yield f"its tokenizer cuts text in none of the ways known to both: {', '.join(PRE_TOKENIZERS)}"


def _write(path: Path, model: Transformer, tokenizer: Tokenizer, number_type: NumberType, name: str) -> None:
    architecture = next(each for each, model_type in ARCHITECTURES.items() if model_type == model.config.model_type)
    matrices, file_type = _TYPES[number_type]
    writer = gguf.GGUFWriter(str(path), architecture)
    writer.add_name(name)
    writer.add_file_type(file_type)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    _add_sizes(writer, model.config)
    _add_tokenizer(writer, tokenizer, model.config)
    for tensor_name, weights in _tensors(model, architecture):
        kind = matrices
        if weights.ndim == 1 or "ffn_gate_inp" in tensor_name:
            kind = GGMLQuantizationType.F32
        elif kind == GGMLQuantizationType.Q8_0 and weights.shape[-1] % _ROW_OF_Q8:
            kind = GGMLQuantizationType.F16
        writer.add_tensor(tensor_name, gguf.quantize(weights, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _add_sizes(writer: gguf.GGUFWriter, config: ModelConfig) -> None:
    writer.add_vocab_size(config.vocab_size)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(config.head_dim)
    writer.add_value_length(config.head_dim)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_rope_freq_base(config.rope_theta)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    if config.num_experts:
        writer.add_expert_count(config.num_experts)
        writer.add_expert_used_count(config.num_experts_per_tok)
        writer.add_expert_feed_forward_length(config.moe_intermediate_size)
    if config.shared_expert_intermediate_size:
        writer.add_expert_shared_feed_forward_length(config.shared_expert_intermediate_size)
    scaling = config.rope_scaling
    if scaling is not None and scaling.rope_type in ("linear", "yarn"):
        writer.add_rope_scaling_type(gguf.RopeScalingType(scaling.rope_type))
        writer.add_rope_scaling_factor(scaling.factor)
        if scaling.original_max_position_embeddings is not None:
            writer.add_rope_scaling_orig_ctx_len(scaling.original_max_position_embeddings)


def _add_tokenizer(writer: gguf.GGUFWriter, tokenizer: Tokenizer, config: ModelConfig) -> None:
    tokens = {token_id: token for token, token_id in tokenizer.vocabulary.items()}
    added = tokenizer.backend.get_added_tokens_decoder()
    names, types = [], []
    for token_id in range(config.vocab_size):
        names.append(tokens.get(token_id, f"[PAD{token_id}]"))  # rows of the embeddings that no token uses
        if token_id not in tokens:
            types.append(UNUSED_TOKEN)
        elif token_id in added:
            types.append(CONTROL_TOKEN if added[token_id].special else USER_TOKEN)
        else:
            types.append(NORMAL_TOKEN)
    words = _pre_tokenizer_name(tokenizer)
    assert words is not None, "it was refused before"
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(words)
    writer.add_token_list(names)
    writer.add_token_types(types)
    merges = json.loads(tokenizer.backend.to_str())["model"]["merges"]
    writer.add_token_merges([merge if isinstance(merge, str) else " ".join(merge) for merge in merges])
    ends = sorted(config.eos_token_ids) or [tokenizer.eos_token_id]
    writer.add_eos_token_id(config.eos_token_id if isinstance(config.eos_token_id, int) else ends[0])
    if len(ends) > 1:
        # of a chat, the token that ends a turn: it stands after the one that ends a text
        writer.add_eot_token_id(next(token_id for token_id in ends if token_id != ends[0]))
    writer.add_pad_token_id(tokenizer.pad_token_id)
    if tokenizer.bos_token_id is not None:
        writer.add_bos_token_id(tokenizer.bos_token_id)
    writer.add_add_bos_token(False)
    if tokenizer.chat is not None:
        writer.add_chat_template(tokenizer.chat.source)


def _tensors(model: Transformer, architecture: str) -> Iterator[tuple[str, np.ndarray]]:
    """Every tensor under its GGUF name, laid out as there, in float32."""
    config, state = model.config, model.state_dict()
    for name, module in OUTER.items():
        if module in state:
            yield name, _array(state[module])
        elif architecture == "qwen2moe":  # where llama.cpp does not look for a shared one
            yield name, _array(model.head_weight)
    if config.rope_scaling is not None and config.rope_scaling.rope_type == "llama3":
        yield ROPE_FACTORS, llama3_factors(config)
    heads = {"self_attn.q_proj": config.num_attention_heads, "self_attn.k_proj": config.num_key_value_heads}
    for layer in range(config.num_hidden_layers):
        for kind, module in INNER[architecture].items():
            weights = _array(state[f"model.layers.{layer}.{module}.weight"])
            if architecture == "llama" and module in heads:
                weights = side_by_side(weights, heads[module])
            yield f"blk.{layer}.{kind}.weight", weights[0] if kind == GATE_OF_SHARED else weights
        if config.num_experts:
            experts = f"model.layers.{layer}.mlp.experts"
            gate, up = state[f"{experts}.gate_up_proj"].chunk(2, dim=1)
            parts = {"gate_proj": gate, "up_proj": up, "down_proj": state[f"{experts}.down_proj"]}
            for kind, part in STACKED.items():
                yield f"blk.{layer}.{kind}.weight", _array(parts[part])


def _array(weights: Tensor) -> np.ndarray:
    return np.ascontiguousarray(weights.detach().cpu().float().numpy())


def _pre_tokenizer_name(tokenizer: Tokenizer) -> str | None:
    """What llama.cpp calls the way the tokenizer cuts text; None where it has no name for it."""
    description = json.loads(tokenizer.backend.to_str())
    # Qwen's own files compose characters first, which llama.cpp leaves out and its converter accepts.
    if (description.get("normalizer") or {"type": "NFC"}).get("type") != "NFC":
        return None
    own = _steps(description["pre_tokenizer"])
    for name in PRE_TOKENIZERS:
        known = tokenizers.Tokenizer(tokenizers.models.BPE())
        known.pre_tokenizer = build_pre_tokenizer(name)
        if _steps(json.loads(known.to_str())["pre_tokenizer"]) == own:
            return name
    return None


def _steps(pre_tokenizer: Any) -> list[dict[str, Any]]:
    """The steps of a pre-tokenizer, without what only moves offsets."""
    if not isinstance(pre_tokenizer, dict):
        return []
    steps = pre_tokenizer.get("pretokenizers") if pre_tokenizer.get("type") == "Sequence" else [pre_tokenizer]
    return [{key: value for key, value in step.items() if key != "trim_offsets"} for step in steps or []]
