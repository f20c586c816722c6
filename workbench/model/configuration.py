"""ModelConfig: the sizes of a LLaMA model, under the names that Hugging Face's config.json has."""

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from workbench.config import ModelSettings
from workbench.errors import ModelError

CONFIG_FILE = "config.json"

_DEFAULT_ROPE_THETA = 10_000.0  # what a config.json of a LLaMA means when it does not say
_NUMBERS = ("rope_theta", "rms_norm_eps", "initializer_range")


@dataclass(frozen=True)
class ModelConfig:
    """Everything that decides the shapes and the arithmetic of a model.

    Args:
        rope_theta: base of the rotary frequencies.
        initializer_range: standard deviation of the initial weights.
        bos_token_id: None where the tokenizer has none.
        eos_token_id: one or several tokens that end a text.
    """

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    max_position_embeddings: int
    rope_theta: float = _DEFAULT_ROPE_THETA
    rms_norm_eps: float = 1e-5
    tie_word_embeddings: bool = True
    initializer_range: float = 0.02
    bos_token_id: int | None = None
    eos_token_id: int | tuple[int, ...] | None = None
    pad_token_id: int | None = None

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], where: str = "config.json") -> "ModelConfig":
        """Read the contents of a config.json, of transformers 4 or 5.

        Raises:
            ModelError: another architecture, a feature this model does not have, or impossible sizes; all in one.
        """
        problems = _unsupported(values) or _wrong_types(values)
        if not problems:
            sizes = _with_derived_sizes(values)
            problems = _impossible_sizes(sizes)
        if problems:
            raise ModelError(where, "; ".join(problems), "only plain LLaMA decoders can be loaded")
        given = {field.name: sizes[field.name] for field in fields(cls) if sizes.get(field.name) is not None}
        if isinstance(given.get("eos_token_id"), list):
            given["eos_token_id"] = tuple(given["eos_token_id"])
        return cls(**given)

    def to_dict(self, dtype: str = "float32") -> dict[str, Any]:
        """The contents of a config.json that transformers 4 and 5 both read.

        Args:
            dtype: of the weights beside it, as torch names it.
        """
        eos = list(self.eos_token_id) if isinstance(self.eos_token_id, tuple) else self.eos_token_id
        sizes = {field.name: getattr(self, field.name) for field in fields(self)}
        return {
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            **sizes,
            "eos_token_id": eos,
            "hidden_act": "silu",
            "attention_bias": False,
            "attention_dropout": 0.0,
            "mlp_bias": False,
            # Transformers 4 reads these two and rope_theta, and passes over the newer keys in silence; 5 reads either.
            "rope_scaling": None,
            "torch_dtype": dtype,
            "rope_parameters": {"rope_type": "default", "rope_theta": self.rope_theta},
            "dtype": dtype,
            "use_cache": True,
        }

    @property
    def eos_token_ids(self) -> frozenset[int]:
        """Every token that ends a text."""
        if self.eos_token_id is None:
            return frozenset()
        return frozenset([self.eos_token_id] if isinstance(self.eos_token_id, int) else self.eos_token_id)


def model_config(
    settings: ModelSettings,
    vocab_size: int,
    *,
    bos_token_id: int | None = None,
    eos_token_id: int | tuple[int, ...] | None = None,
    pad_token_id: int | None = None,
) -> ModelConfig:
    """The model that a profile's `[model]` table asks for, over the tokenizer's vocabulary."""
    own = {field.name for field in fields(ModelConfig)}
    sizes = {name: value for name, value in settings.model_dump().items() if name in own}
    return ModelConfig(
        vocab_size=vocab_size,
        bos_token_id=bos_token_id,
        eos_token_id=eos_token_id,
        pad_token_id=pad_token_id,
        **sizes,
    )


def load_config(directory: Path) -> ModelConfig:
    """The config of the model in `directory`, without its weights.

    Raises:
        ModelError: there is none, or it is of another kind.
    """
    if not directory.is_dir():
        raise ModelError(str(directory), "is not a folder", "give a folder that holds config.json and safetensors")
    return ModelConfig.from_dict(read_json(directory / CONFIG_FILE), str(directory / CONFIG_FILE))


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file of a model directory.

    Raises:
        ModelError: it is missing, or no such file.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelError(str(path.parent), f"has no {path.name}", "this is not a model directory") from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ModelError(str(path), f"cannot be read as JSON ({error})") from error
    if not isinstance(values, dict):
        raise ModelError(str(path), "is not a JSON object")
    return values


def _wrong_types(values: Mapping[str, Any]) -> list[str]:
    """What the arithmetic could not be done with, where a config.json gives it."""
    rope = values.get("rope_parameters")
    numbers = {name: values.get(name) for name in _NUMBERS}
    if isinstance(rope, dict):
        numbers["rope_parameters.rope_theta"] = rope.get("rope_theta")
    problems = [
        f"{name} is {value!r}, not a positive number"
        for name, value in numbers.items()
        if value is not None and not (_is_a(value, int, float) and 0 < value <= sys.float_info.max)
    ]
    tied = values.get("tie_word_embeddings")
    if not (tied is None or isinstance(tied, bool)):
        problems.append(f"tie_word_embeddings is {tied!r}, not true or false")
    for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
        given = values.get(name)
        ids = given if name == "eos_token_id" and isinstance(given, list) else [given]
        if given is not None and not all(_is_a(token_id, int) for token_id in ids):
            problems.append(f"{name} is {given!r}, not the number of a token")
    return problems


def _is_a(value: object, *kinds: type) -> bool:
    return isinstance(value, kinds) and not isinstance(value, bool)


def _unsupported(values: Mapping[str, Any]) -> list[str]:
    """What a config.json asks for beyond this model: one line each."""
    problems = []
    if values.get("model_type") != "llama":
        problems.append(f"model_type is {values.get('model_type')!r}, not 'llama'")
    if values.get("hidden_act", "silu") != "silu":
        problems.append(f"hidden_act {values['hidden_act']!r} is not supported, only 'silu'")
    problems += [f"{key} is not supported" for key in ("attention_bias", "mlp_bias") if values.get(key)]
    if values.get("quantization_config"):
        problems.append("quantised weights (quantization_config) are not supported")
    rope = values.get("rope_parameters") or values.get("rope_scaling") or {}
    kind = rope.get("rope_type", rope.get("type", "default")) if isinstance(rope, dict) else rope
    if kind != "default":
        problems.append(f"rope scaling of type {kind!r} is not supported")
    if (values.get("partial_rotary_factor") or 1.0) != 1.0:
        problems.append("partial_rotary_factor is not supported")
    return problems


def _with_derived_sizes(values: Mapping[str, Any]) -> dict[str, Any]:
    """`values` with what config.json files leave out: the sizes that follow from others, and the rotary base."""
    sizes = dict(values)
    heads, hidden = sizes.get("num_attention_heads"), sizes.get("hidden_size")
    sizes.setdefault("num_key_value_heads", heads)
    if sizes.get("head_dim") is None and isinstance(heads, int) and isinstance(hidden, int) and heads > 0:
        sizes["head_dim"] = hidden // heads
    rope = sizes.get("rope_parameters") or {}
    sizes["rope_theta"] = float(rope.get("rope_theta") or sizes.get("rope_theta") or _DEFAULT_ROPE_THETA)
    sizes.setdefault("rms_norm_eps", 1e-6)  # transformers' own default, not ours
    sizes.setdefault("tie_word_embeddings", False)  # likewise
    return sizes


def _impossible_sizes(sizes: Mapping[str, Any]) -> list[str]:
    required = (
        "vocab_size",
        "hidden_size",
        "intermediate_size",
        "num_hidden_layers",
        "num_attention_heads",
        "num_key_value_heads",
        "head_dim",
        "max_position_embeddings",
    )
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
    return problems
