"""The `[model]` table: family, sizes under their Hugging Face names, presets, rope scaling, experts."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from workbench.presets import PRESETS, PresetName
from workbench.setting_types import PositiveInt, Settings, WholeNumber, as_whole

Family = Literal["llama1", "llama2", "llama3", "qwen3", "moe", "moe-shared"]
ModelType = Literal["llama", "qwen3", "qwen3_moe", "qwen2_moe"]
MOST_EXPERTS = 1024
EXPERT_FAMILIES = ("moe", "moe-shared")
QK_NORM_FAMILIES = ("qwen3", "moe")
MODEL_TYPES: dict[Family, ModelType] = {
    "llama1": "llama",
    "llama2": "llama",
    "llama3": "llama",
    "qwen3": "qwen3",
    "moe": "qwen3_moe",
    "moe-shared": "qwen2_moe",
}
"""What config.json calls a family: the classes of transformers that compute exactly the same."""

_THETA: dict[Any, float] = {"llama1": 10_000.0, "llama2": 10_000.0, "llama3": 500_000.0}  # others: Qwen's million
_EXPERT_KEYS = (
    "num_experts",
    "num_experts_per_tok",
    "moe_intermediate_size",
    "shared_expert_intermediate_size",
    "norm_topk_prob",
    "router_aux_loss_coef",
    "router_z_loss_coef",
)
Positive = Annotated[float, Field(gt=0)]
Coefficient = Annotated[float, Field(ge=0, le=1)]


class RopeScalingSettings(Settings):
    """How a model reads beyond the context that its rotary positions were made for."""

    rope_type: Literal["default", "linear", "llama3", "yarn"] = "default"
    """default: not scaled; linear: every position divided; llama3 and yarn: slow rotations divided, fast ones kept."""
    factor: Annotated[float, Field(ge=1)] | None = None
    """How many times the original context is stretched."""
    original_max_position_embeddings: PositiveInt | None = None
    """Context before stretching, in tokens (llama3, yarn); max_position_embeddings / factor when absent."""
    low_freq_factor: Positive | None = None
    """Rotations within the original context up to which a frequency is divided (llama3); 1 when absent."""
    high_freq_factor: Positive | None = None
    """Rotations within the original context from which on a frequency is kept (llama3); 4 when absent."""
    beta_fast: Positive | None = None
    """Rotations within the original context from which on a frequency is kept (yarn); 32 when absent."""
    beta_slow: Positive | None = None
    """Rotations within the original context up to which a frequency is divided (yarn); 1 when absent."""
    attention_factor: Positive | None = None
    """Factor on cosines and sines (yarn); 0.1 ln(factor) + 1 when absent."""

    @model_validator(mode="before")
    @classmethod
    def _fill_in(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        defaults = {
            "llama3": {"low_freq_factor": 1.0, "high_freq_factor": 4.0},
            "yarn": {"beta_fast": 32.0, "beta_slow": 1.0},
        }
        kind = given.get("rope_type")
        return {**defaults.get(kind if isinstance(kind, str) else "", {}), **given}

    @model_validator(mode="after")
    def _possible(self) -> "RopeScalingSettings":
        own = {
            "default": (),
            "linear": ("factor",),
            "llama3": ("factor", "original_max_position_embeddings", "low_freq_factor", "high_freq_factor"),
            "yarn": ("factor", "original_max_position_embeddings", "beta_fast", "beta_slow", "attention_factor"),
        }[self.rope_type]
        given = [name for name in type(self).model_fields if name != "rope_type" and getattr(self, name) is not None]
        problems = [
            f"{name}: has no effect with rope_type = '{self.rope_type}'; leave it out, or choose another type"
            for name in given
            if name not in own
        ]
        if own and self.factor is None:
            problems.append(f"factor: is missing; rope_type = '{self.rope_type}' stretches the context by it")
        low, high = self.low_freq_factor, self.high_freq_factor
        if low is not None and high is not None and low >= high:
            problems.append(f"low_freq_factor: {low:g} is not below high_freq_factor {high:g}")
        if self.beta_fast is not None and self.beta_slow is not None and self.beta_slow >= self.beta_fast:
            problems.append(f"beta_slow: {self.beta_slow:g} is not below beta_fast {self.beta_fast:g}")
        if problems:
            raise ValueError("\n".join(problems))
        return self


class ModelSettings(Settings):
    """The sizes of the model, under their Hugging Face names."""

    path: str | None = None
    """A model directory to start from; the sizes are then those of its config.json and are left out here."""
    preset: PresetName | None = None
    """A published model whose sizes hold where none are given here; see `llm-workbench model presets`."""
    family: Family = "llama3"
    """llama1: every head has its own keys; llama2: keys may be shared; llama3: also a longer rotary base; qwen3: also
    norms queries and keys; moe: qwen3 with experts; moe-shared: llama3 with experts and one that every token visits."""
    hidden_size: PositiveInt = 256
    """Width of the residual stream."""
    intermediate_size: PositiveInt = 704
    """Width inside the feed-forward layers; 8/3 of hidden_size, rounded up to a multiple of 32, when absent."""
    num_hidden_layers: PositiveInt = 4
    """Number of blocks."""
    num_attention_heads: PositiveInt = 4
    """Heads that ask."""
    num_key_value_heads: PositiveInt = 4
    """Heads that answer, shared by groups of asking heads; num_attention_heads when absent."""
    head_dim: PositiveInt = 64
    """Width of a head; hidden_size / num_attention_heads when absent."""
    max_position_embeddings: PositiveInt = 512
    """Longest context in tokens."""
    rope_theta: Positive = 500_000.0
    """Base of the rotary frequencies; when absent 10,000 for llama1 and llama2, a million for qwen3 and experts."""
    rope_scaling: RopeScalingSettings = RopeScalingSettings()
    rms_norm_eps: Positive = 1e-5
    """Added to the mean square before the root in every norm; 1e-6 for qwen3 and experts when absent."""
    tie_word_embeddings: bool = True
    """Use the input embedding as the output matrix too."""
    initializer_range: Positive = 0.02
    """Standard deviation of the initial weights."""
    num_experts: Annotated[WholeNumber, Field(ge=2, le=MOST_EXPERTS)] | None = None
    """Experts of a layer that tokens are routed to; 8 when absent from a mixture."""
    num_experts_per_tok: PositiveInt | None = None
    """Experts that each token visits; 2 when absent from a mixture."""
    moe_intermediate_size: PositiveInt | None = None
    """Width inside an expert; what makes a token's experts together as wide as intermediate_size, when absent."""
    shared_expert_intermediate_size: PositiveInt | None = None
    """Width inside the expert that every token visits (moe-shared); moe_intermediate_size when absent."""
    norm_topk_prob: bool | None = None
    """Make the weights of a token's experts sum to one; when absent, on for moe with more than one expert a token."""
    router_aux_loss_coef: Coefficient | None = None
    """Weight of the balance loss, which is 1 where all experts are equally busy; 0.001 when absent from a mixture."""
    router_z_loss_coef: Coefficient | None = None
    """Weight of the router's z-loss, which keeps its logits small; 0.001 when absent from a mixture."""

    @property
    def qk_norm(self) -> bool:
        """Whether queries and keys are normed head by head."""
        return self.family in QK_NORM_FAMILIES

    @model_validator(mode="before")
    @classmethod
    def _fill_in(cls, given: Any) -> Any:
        """Take the preset's sizes, and derive those that follow from others."""
        if not isinstance(given, dict) or "path" in given:
            return given
        name = given.get("preset")
        preset = PRESETS.get(name) if isinstance(name, str) else None  # type: ignore[call-overload]
        sizes = {**(preset.settings if preset else {}), **given}
        hidden = as_whole(sizes.get("hidden_size", cls.model_fields["hidden_size"].default))
        heads = as_whole(sizes.get("num_attention_heads", cls.model_fields["num_attention_heads"].default))
        if isinstance(hidden, int) and isinstance(heads, int) and hidden > 0 and heads > 0:
            sizes.setdefault("intermediate_size", _multiple_of_32(hidden * 8 / 3))
            sizes.setdefault("num_key_value_heads", heads)
            if hidden % heads == 0:
                sizes.setdefault("head_dim", hidden // heads)
        family = sizes.get("family", "llama3")
        if family != "llama3":
            sizes.setdefault("rope_theta", _THETA.get(family, 1e6) if isinstance(family, str) else 1e6)
        if family not in _THETA:
            sizes.setdefault("rms_norm_eps", 1e-6)
        if family in EXPERT_FAMILIES:
            _fill_in_experts(sizes)
        if isinstance(scaling := sizes.get("rope_scaling"), dict):
            sizes["rope_scaling"] = _with_original_context(scaling, sizes.get("max_position_embeddings", 512))
        return sizes

    @model_validator(mode="after")
    def _possible(self) -> "ModelSettings":
        problems = []
        if self.path is not None:
            extra = sorted(self.model_fields_set - {"path"})
            if extra:
                told = f"{', '.join(extra)}: has no effect beside path, whose config.json holds the sizes"
                raise ValueError(told)
            return self
        if self.hidden_size % self.num_attention_heads and "head_dim" not in self.model_fields_set:
            problems.append(
                f"num_attention_heads: {self.num_attention_heads} heads do not divide hidden_size {self.hidden_size}; "
                "change one, or give head_dim"
            )
        if self.head_dim % 2:
            problems.append(f"head_dim: {self.head_dim} is odd; rotary embeddings turn pairs")
        if self.num_attention_heads % self.num_key_value_heads:
            problems.append(
                f"num_key_value_heads: {self.num_key_value_heads} does not divide "
                f"num_attention_heads {self.num_attention_heads}"
            )
        if self.family == "llama1" and self.num_key_value_heads != self.num_attention_heads:
            problems.append("num_key_value_heads: llama1 shares no keys; choose family = 'llama2' or 'llama3'")
        original = self.rope_scaling.original_max_position_embeddings
        if original is not None and original > self.max_position_embeddings:
            problems.append(
                f"rope_scaling.original_max_position_embeddings: {original} is more than "
                f"max_position_embeddings {self.max_position_embeddings}, the stretched context"
            )
        problems += self._expert_problems()
        if problems:
            raise ValueError("\n".join(problems))
        return self

    def _expert_problems(self) -> list[str]:
        if self.family not in EXPERT_FAMILIES:
            given = [key for key in _EXPERT_KEYS if getattr(self, key) is not None]
            remedy = "choose family = 'moe' or 'moe-shared', or leave it out"
            return [f"{key}: {self.family} has no experts; {remedy}" for key in given]
        problems = []
        assert self.num_experts is not None and self.num_experts_per_tok is not None, "they were filled in"
        if self.num_experts_per_tok > self.num_experts:
            problems.append(f"num_experts_per_tok: {self.num_experts_per_tok} experts a token, of {self.num_experts}")
        if self.norm_topk_prob and self.num_experts_per_tok == 1:
            problems.append(
                "norm_topk_prob: the weight of a single expert would always be 1, and its router would learn nothing "
                "from the text; leave it out"
            )
        if self.family == "moe" and self.shared_expert_intermediate_size is not None:
            problems.append("shared_expert_intermediate_size: moe has no such expert; choose family = 'moe-shared'")
        return problems


def _multiple_of_32(size: float) -> int:
    return -int(-size // 32) * 32


def _fill_in_experts(sizes: dict[str, Any]) -> None:
    """The keys of a mixture that are absent; what is given is checked later."""
    sizes.setdefault("num_experts", 8)
    sizes.setdefault("num_experts_per_tok", 2)
    sizes.setdefault("router_aux_loss_coef", 0.001)
    sizes.setdefault("router_z_loss_coef", 0.001)
    shared = sizes["family"] == "moe-shared"
    visited, width = as_whole(sizes["num_experts_per_tok"]), as_whole(sizes.get("intermediate_size"))
    if isinstance(visited, int) and isinstance(width, int) and visited > 0 and width > 0:
        sizes.setdefault("moe_intermediate_size", _multiple_of_32(width / (visited + shared)))
        sizes.setdefault("norm_topk_prob", visited > 1 and not shared)
    if shared and "moe_intermediate_size" in sizes:
        sizes.setdefault("shared_expert_intermediate_size", sizes["moe_intermediate_size"])


def _with_original_context(scaling: dict[str, Any], context: Any) -> dict[str, Any]:
    """`scaling` with the context before stretching, where it has one and does not say it."""
    context, factor = as_whole(context), scaling.get("factor")
    numbers = isinstance(context, int) and isinstance(factor, int | float) and factor >= 1
    if scaling.get("rope_type") not in ("llama3", "yarn") or not numbers:
        return scaling
    return {"original_max_position_embeddings": max(1, int(context / factor)), **scaling}
