"""GGUF, llama.cpp's single file of model and tokenizer, made into a Hugging Face style directory."""

from pathlib import Path
from typing import Any

import numpy as np
import tokenizers
import torch
from gguf import GGUFReader, dequantize
from torch import Tensor

from workbench.errors import ModelError
from workbench.model.configuration import ModelConfig
from workbench.model.weights import WEIGHTS_FILE, save_tensors, write_config
from workbench.tokenizer.pre_tokenizers import build_pre_tokenizer
from workbench.tokenizer.tokenizer import Tokenizer

_CONTROL_TOKEN = 3  # GGUF's token types: what a text cannot say by itself
_PRE_TOKENIZERS = ("gpt-2", "smollm", "qwen2", "llama-bpe")
_OUTER = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}
_INNER = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


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

    def tensors(self) -> dict[str, Tensor]:
        """All weights in float32, under their Hugging Face names."""
        heads = {
            "attn_q": self.required("llama.attention.head_count"),
            "attn_k": self.value("llama.attention.head_count_kv", self.required("llama.attention.head_count")),
        }
        found = {}
        for tensor in self._reader.tensors:
            shape = [int(size) for size in reversed(tensor.shape)]
            weights = np.asarray(dequantize(tensor.data, tensor.tensor_type), dtype=np.float32).reshape(shape)
            kind = tensor.name.removesuffix(".weight").rpartition(".")[2]
            if kind in heads:
                weights = _in_halves(weights, heads[kind])
            found[self._name(tensor.name)] = torch.from_numpy(np.array(weights, order="C"))
        return found

    def _name(self, name: str) -> str:
        if name in _OUTER:
            return _OUTER[name]
        block, _, rest = name.removeprefix("blk.").partition(".")
        inner = _INNER.get(rest.removesuffix(".weight"))
        if not (name.startswith("blk.") and block.isdigit() and inner):
            raise ModelError(str(self.path), f"holds {name}, which a plain LLaMA does not have")
        return f"model.layers.{block}.{inner}.weight"


def convert_gguf(path: Path, directory: Path) -> None:
    """Write the model and the tokenizer of `path` into `directory`; the weights in float32, whatever they were.

    Raises:
        ModelError: not a GGUF file, or of another architecture or tokenizer than this program knows.
    """
    file = GgufFile(path)
    if file.value("general.architecture") != "llama":
        raise ModelError(str(path), f"is a {file.value('general.architecture')!r} model", "only 'llama' can be read")
    tensors = file.tensors()
    config = _config(file, tied="lm_head.weight" not in tensors)
    tokenizer = _tokenizer(file)
    directory.mkdir(parents=True, exist_ok=True)
    save_tensors(tensors, directory / WEIGHTS_FILE)
    write_config(config, directory)
    tokenizer.save(directory)


def _in_halves(weights: np.ndarray, heads: int) -> np.ndarray:
    """Query or key rows with the rotary pairs as Hugging Face has them, i with i + head_dim / 2.

    GGUF keeps those of a llama side by side, 2i with 2i + 1.
    """
    pairs = weights.shape[0] // heads // 2
    return weights.reshape(heads, pairs, 2, *weights.shape[1:]).swapaxes(1, 2).reshape(weights.shape)


def _config(file: GgufFile, tied: bool) -> ModelConfig:
    heads, hidden = file.required("llama.attention.head_count"), file.required("llama.embedding_length")
    theta = float(file.value("llama.rope.freq_base", 10_000.0))
    return ModelConfig.from_dict(
        {
            "model_type": "llama",
            "vocab_size": len(file.required("tokenizer.ggml.tokens")),
            "hidden_size": hidden,
            "intermediate_size": file.required("llama.feed_forward_length"),
            "num_hidden_layers": file.required("llama.block_count"),
            "num_attention_heads": heads,
            "num_key_value_heads": file.value("llama.attention.head_count_kv", heads),
            "head_dim": file.value("llama.attention.key_length", hidden // heads),
            "max_position_embeddings": file.required("llama.context_length"),
            "rope_theta": theta,
            "rope_scaling": {"rope_type": file.value("llama.rope.scaling.type", "default").replace("none", "default")},
            # Kept as float32, which turns 1e-5 into 9.99999974e-06.
            "rms_norm_eps": float(f"{file.required('llama.attention.layer_norm_rms_epsilon'):.6g}"),
            "tie_word_embeddings": tied,
            "bos_token_id": file.value("tokenizer.ggml.bos_token_id"),
            "eos_token_id": file.value("tokenizer.ggml.eos_token_id"),
            "pad_token_id": file.value("tokenizer.ggml.padding_token_id"),
        },
        str(file.path),
    )


def _tokenizer(file: GgufFile) -> Tokenizer:
    """The byte-level tokenizer of the file.

    Raises:
        ModelError: it is of another kind.
    """
    kind, words = file.required("tokenizer.ggml.model"), file.value("tokenizer.ggml.pre")
    if kind != "gpt2" or words not in _PRE_TOKENIZERS:
        known = ", ".join(_PRE_TOKENIZERS)
        raise ModelError(str(file.path), f"its tokenizer is {kind!r} with {words!r}", f"known: 'gpt2' with {known}")
    tokens, types = file.required("tokenizer.ggml.tokens"), file.required("tokenizer.ggml.token_type")
    merges = [tuple(merge.split(" ", 1)) for merge in file.required("tokenizer.ggml.merges")]
    vocab = {token: index for index, token in enumerate(tokens)}
    backend = tokenizers.Tokenizer(tokenizers.models.BPE(vocab=vocab, merges=merges, fuse_unk=False))
    backend.pre_tokenizer = build_pre_tokenizer(words)
    backend.decoder = tokenizers.decoders.ByteLevel()
    backend.post_processor = tokenizers.processors.ByteLevel(trim_offsets=False)
    special = [token for token, type_ in zip(tokens, types, strict=True) if type_ == _CONTROL_TOKEN]
    backend.add_special_tokens([tokenizers.AddedToken(token, special=True, normalized=False) for token in special])
    return Tokenizer(backend, _named_tokens(file, tokens), file.value("tokenizer.chat_template"), str(file.path))


def _named_tokens(file: GgufFile, tokens: list[str]) -> dict[str, Any]:
    """The tokenizer_config.json: which token is which."""
    keys = {"bos_token": "bos", "eos_token": "eos", "pad_token": "padding", "unk_token": "unknown"}
    ids = {name: file.value(f"tokenizer.ggml.{key}_token_id") for name, key in keys.items()}
    named = {name: tokens[token_id] for name, token_id in ids.items() if token_id is not None}
    return {**named, "add_prefix_space": False, "model_max_length": file.required("llama.context_length")}
