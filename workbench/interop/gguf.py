"""GGUF, llama.cpp's single file of model and tokenizer, made into a Hugging Face style directory."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers
import torch
from gguf import GGUFReader, dequantize
from torch import Tensor

from workbench.errors import ModelError
from workbench.interop.gguf_layout import (
    ARCHITECTURES,
    CONTROL_TOKEN,
    GATE_OF_SHARED,
    INNER,
    OUTER,
    PRE_TOKENIZERS,
    ROPE_FACTORS,
    STACKED,
    in_halves,
    llama3_scaling,
)
from workbench.model.configuration import ModelConfig
from workbench.model.weights import WEIGHTS_FILE, save_tensors, write_config
from workbench.tokenizer.pre_tokenizers import build_pre_tokenizer
from workbench.tokenizer.tokenizer import Tokenizer


class GgufFile:
    """An opened GGUF file.

    Raises:
        ModelError: it is not one.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._reader = GGUFReader(str(path))
        except (OSError, ValueError, IndexError) as error:
            raise ModelError(str(path), f"cannot be read as GGUF ({error})", "fetch it again") from error

    def value(self, key: str, default: Any = None) -> Any:
        """What the file says under `key`; `default` where it says nothing."""
        field = self._reader.fields.get(key)
        return default if field is None else field.contents()

    def required(self, key: str) -> Any:
        """As `value`, for what must be there.

        Raises:
            ModelError: it is not.
        """
        value = self.value(key)
        if value is None:
            raise ModelError(str(self.path), f"does not say {key}", "this file is incomplete")
        return value

    @property
    def architecture(self) -> str:
        """What it calls its architecture; the settings of the model bear that name.

        Raises:
            ModelError: none that this program knows.
        """
        name = str(self.value("general.architecture"))
        if name not in ARCHITECTURES:
            known = ", ".join(map(repr, ARCHITECTURES))
            raise ModelError(str(self.path), f"is a {name!r} model", f"only {known} can be read")
        return name

    def setting(self, key: str, default: Any = None) -> Any:
        """What the file says of its architecture under `key`; `default` where it says nothing."""
        return self.value(f"{self.architecture}.{key}", default)

    def tensors(self) -> dict[str, Tensor]:
        """All weights in float32, under the names that Hugging Face's files have."""
        queries = self.required(f"{self.architecture}.attention.head_count")
        heads = {"self_attn.q_proj": queries, "self_attn.k_proj": self.setting("attention.head_count_kv", queries)}
        found = {}
        for name, weights in self.raw_tensors():
            if name == ROPE_FACTORS:
                continue
            for module, part in self._modules(name, weights):
                inner = module.removesuffix(".weight").partition(".layers.")[2].partition(".")[2]
                if self.architecture == "llama" and inner in heads:
                    part = in_halves(part, heads[inner])
                found[module] = torch.from_numpy(np.array(part, order="C"))
        return found

    def raw_tensors(self) -> Iterator[tuple[str, np.ndarray]]:
        """Every tensor as it lies, in float32."""
        for tensor in self._reader.tensors:
            shape = [int(size) for size in reversed(tensor.shape)]
            yield tensor.name, np.asarray(dequantize(tensor.data, tensor.tensor_type), dtype=np.float32).reshape(shape)

    def _modules(self, name: str, weights: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
        """The tensors of Hugging Face that one tensor here holds."""
        if name in OUTER:
            yield OUTER[name], weights
            return
        block, _, rest = name.removeprefix("blk.").partition(".")
        kind = rest.removesuffix(".weight")
        if name.startswith("blk.") and block.isdigit() and kind != rest:
            if (inner := INNER[self.architecture].get(kind)) is not None:
                yield f"model.layers.{block}.{inner}.weight", weights[None] if kind == GATE_OF_SHARED else weights
                return
            if kind in STACKED and "ffn_gate_inp" in INNER[self.architecture]:
                for expert, matrix in enumerate(weights):
                    yield f"model.layers.{block}.mlp.experts.{expert}.{STACKED[kind]}.weight", matrix
                return
        raise ModelError(str(self.path), f"holds {name}, which a plain {self.architecture} model does not have")


def convert_gguf(path: Path, directory: Path) -> None:
    """Write the model and the tokenizer of `path` into `directory`; the weights in float32, whatever they were.

    Raises:
        ModelError: not a GGUF file, or of another architecture or tokenizer than this program knows.
    """
    file = GgufFile(path)
    tensors = file.tensors()
    config = _config(file, tied="lm_head.weight" not in tensors)
    tokenizer = _tokenizer(file)
    directory.mkdir(parents=True, exist_ok=True)
    save_tensors(tensors, directory / WEIGHTS_FILE)
    write_config(config, directory)
    tokenizer.save(directory)


def _config(file: GgufFile, tied: bool) -> ModelConfig:
    architecture = file.architecture

    def required(key: str) -> Any:
        return file.required(f"{architecture}.{key}")

    heads, hidden = required("attention.head_count"), required("embedding_length")
    mixture = "ffn_gate_inp" in INNER[architecture]
    experts: dict[str, Any] = {}
    if mixture:
        experts = {
            "num_experts": required("expert_count"),
            "num_experts_per_tok": required("expert_used_count"),
            "moe_intermediate_size": required("expert_feed_forward_length"),
            "norm_topk_prob": architecture == "qwen3moe",  # llama.cpp computes the one so, and the other not
            "qkv_bias": False,
        }
    if architecture == "qwen2moe":
        experts["shared_expert_intermediate_size"] = required("expert_shared_feed_forward_length")
    head_dim = file.setting("attention.key_length", hidden // heads)
    context, theta = required("context_length"), float(file.setting("rope.freq_base", 10_000.0))
    return ModelConfig.from_dict(
        {
            "model_type": ARCHITECTURES[architecture],
            "vocab_size": len(file.required("tokenizer.ggml.tokens")),
            "hidden_size": hidden,
            "intermediate_size": file.setting("feed_forward_length") or (4 * hidden if mixture else None),
            "num_hidden_layers": required("block_count"),
            "num_attention_heads": heads,
            "num_key_value_heads": file.setting("attention.head_count_kv", heads),
            "head_dim": head_dim,
            "max_position_embeddings": context,
            "rope_parameters": {"rope_theta": theta, **_rope_scaling(file, theta, head_dim, context)},
            # Kept as float32, which turns 1e-5 into 9.99999974e-06.
            "rms_norm_eps": float(f"{required('attention.layer_norm_rms_epsilon'):.6g}"),
            "tie_word_embeddings": tied,
            "bos_token_id": file.value("tokenizer.ggml.bos_token_id"),
            "eos_token_id": file.value("tokenizer.ggml.eos_token_id"),
            "pad_token_id": file.value("tokenizer.ggml.padding_token_id"),
            **experts,
        },
        str(file.path),
    )


def _rope_scaling(file: GgufFile, theta: float, head_dim: int, context: int) -> dict[str, Any]:
    """The scaling of rotary positions as config.json says it.

    Raises:
        ModelError: of a kind that config.json cannot say.
    """
    kind = str(file.setting("rope.scaling.type", "none")).replace("none", "default")
    scaling: dict[str, Any] = {"rope_type": kind}
    if kind != "default":
        scaling["factor"] = file.setting("rope.scaling.factor")
        scaling["original_max_position_embeddings"] = file.setting("rope.scaling.original_context_length")
    if kind == "linear":
        del scaling["original_max_position_embeddings"]
    factors = next((weights for name, weights in file.raw_tensors() if name == ROPE_FACTORS), None)
    if factors is None:
        return scaling
    found = llama3_scaling(factors, theta, head_dim, context)
    if kind != "default" or found is None:
        raise ModelError(str(file.path), f"the factors in {ROPE_FACTORS} are not those of Llama 3.1's scaling")
    return dataclasses.asdict(found)


def _tokenizer(file: GgufFile) -> Tokenizer:
    """The byte-level tokenizer of the file.

    Raises:
        ModelError: it is of another kind.
    """
    kind, words = file.required("tokenizer.ggml.model"), file.value("tokenizer.ggml.pre")
    if kind != "gpt2" or words not in PRE_TOKENIZERS:
        known = ", ".join(PRE_TOKENIZERS)
        raise ModelError(str(file.path), f"its tokenizer is {kind!r} with {words!r}", f"known: 'gpt2' with {known}")
    tokens, types = file.required("tokenizer.ggml.tokens"), file.required("tokenizer.ggml.token_type")
    merges = [tuple(merge.split(" ", 1)) for merge in file.required("tokenizer.ggml.merges")]
    vocab = {token: index for index, token in enumerate(tokens)}
    backend = tokenizers.Tokenizer(tokenizers.models.BPE(vocab=vocab, merges=merges, fuse_unk=False))
    backend.pre_tokenizer = build_pre_tokenizer(words)
    backend.decoder = tokenizers.decoders.ByteLevel()
    backend.post_processor = tokenizers.processors.ByteLevel(trim_offsets=False)
    special = [token for token, type_ in zip(tokens, types, strict=True) if type_ == CONTROL_TOKEN]
    backend.add_special_tokens([tokenizers.AddedToken(token, special=True, normalized=False) for token in special])
    return Tokenizer(backend, _named_tokens(file, tokens), file.value("tokenizer.chat_template"), str(file.path))


def _named_tokens(file: GgufFile, tokens: list[str]) -> dict[str, Any]:
    """The tokenizer_config.json: which token is which."""
    keys = {"bos_token": "bos", "eos_token": "eos", "pad_token": "padding", "unk_token": "unknown"}
    ids = {name: file.value(f"tokenizer.ggml.{key}_token_id") for name, key in keys.items()}
    named = {name: tokens[token_id] for name, token_id in ids.items() if token_id is not None}
    context = file.required(f"{file.architecture}.context_length")
    return {**named, "add_prefix_space": False, "model_max_length": context}
