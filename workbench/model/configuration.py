"""ModelConfig: the sizes of a model, under the names that Hugging Face's config.json has."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from workbench.errors import ModelError
from workbench.model.config_json import read_config_json, write_config_json
from workbench.model_settings import MODEL_TYPES, ModelSettings, ModelType

CONFIG_FILE = "config.json"


@dataclass(frozen=True)
class RopeScaling:
    """How the rotary frequencies are stretched; what a type does not use is None.

    Args:
        rope_type: linear, llama3 or yarn.
        factor: of the stretched context to the original one.
        truncate: yarn rounds the range of frequencies between kept and divided ones to whole dimensions.
    """

    rope_type: str
    factor: float
    original_max_position_embeddings: int | None = None
    low_freq_factor: float | None = None
    high_freq_factor: float | None = None
    beta_fast: float | None = None
    beta_slow: float | None = None
    attention_factor: float | None = None
    truncate: bool | None = None


@dataclass(frozen=True)
class ModelConfig:
    """Everything that decides the shapes and the arithmetic of a model.

    Args:
        model_type: the family, as config.json names it: llama, qwen3, qwen3_moe or qwen2_moe.
        rope_theta: base of the rotary frequencies.
        initializer_range: standard deviation of the initial weights.
        bos_token_id: None where the tokenizer has none.
        eos_token_id: one or several tokens that end a text.
        num_experts: of a layer; 0 in a model without experts, and the figures below then mean nothing.
        norm_topk_prob: the weights of a token's experts sum to one.
        router_aux_loss_coef: weight of the balance loss; router_z_loss_coef: of the router's z-loss.
    """

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    max_position_embeddings: int
    model_type: ModelType = "llama"
    rope_theta: float = 10_000.0
    rope_scaling: RopeScaling | None = None
    rms_norm_eps: float = 1e-5
    tie_word_embeddings: bool = True
    initializer_range: float = 0.02
    bos_token_id: int | None = None
    eos_token_id: int | tuple[int, ...] | None = None
    pad_token_id: int | None = None
    num_experts: int = 0
    num_experts_per_tok: int = 0
    moe_intermediate_size: int = 0
    shared_expert_intermediate_size: int = 0
    norm_topk_prob: bool = False
    router_aux_loss_coef: float = 0.0
    router_z_loss_coef: float = 0.0

    @property
    def qk_norm(self) -> bool:
        """Whether queries and keys are normed head by head."""
        return self.model_type in ("qwen3", "qwen3_moe")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], where: str = "config.json") -> "ModelConfig":
        """Read the contents of a config.json, of transformers 4 or 5.

        Raises:
            ModelError: another architecture, a feature this model does not have, or impossible sizes; all in one.
        """
        sizes, problems = read_config_json(values)
        if problems:
            remedy = "plain llama, qwen3, qwen3_moe and qwen2_moe decoders can be loaded"
            raise ModelError(where, "; ".join(problems), remedy)
        given = {field.name: sizes[field.name] for field in fields(cls) if sizes.get(field.name) is not None}
        if isinstance(given.get("eos_token_id"), list):
            given["eos_token_id"] = tuple(given["eos_token_id"])
        if (scaling := given.pop("rope_scaling", None)) is not None:
            given["rope_scaling"] = RopeScaling(**scaling)
        return cls(**given)

    def to_dict(self, dtype: str = "float32") -> dict[str, Any]:
        """The contents of a config.json that transformers 4 and 5 both read.

        Args:
            dtype: of the weights beside it, as torch names it.
        """
        return write_config_json(asdict(self), dtype)

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
    own = {field.name for field in fields(ModelConfig)} - {"rope_scaling"}
    sizes = {name: value for name, value in settings.model_dump().items() if name in own and value is not None}
    scaling = settings.rope_scaling
    if scaling.rope_type != "default":
        sizes["rope_scaling"] = RopeScaling(**scaling.model_dump())
    return ModelConfig(
        vocab_size=vocab_size,
        model_type=MODEL_TYPES[settings.family],
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
