"""What a model of certain sizes has, computes and holds: parameters, FLOPs and bytes, by arithmetic."""

from dataclasses import dataclass
from typing import Protocol

from workbench.config import LoraSettings, StageSettings


class Sizes(Protocol):
    """The sizes that the arithmetic needs, as a profile or a config.json has them."""

    @property
    def hidden_size(self) -> int: ...
    @property
    def intermediate_size(self) -> int: ...
    @property
    def num_hidden_layers(self) -> int: ...
    @property
    def num_attention_heads(self) -> int: ...
    @property
    def num_key_value_heads(self) -> int: ...
    @property
    def head_dim(self) -> int: ...
    @property
    def tie_word_embeddings(self) -> bool: ...
    @property
    def qk_norm(self) -> bool: ...
    @property
    def num_experts(self) -> int | None: ...
    @property
    def num_experts_per_tok(self) -> int | None: ...
    @property
    def moe_intermediate_size(self) -> int | None: ...
    @property
    def shared_expert_intermediate_size(self) -> int | None: ...


@dataclass(frozen=True)
class Parameters:
    """Numbers of a model by part.

    Args:
        feed_forward: experts and their routers included.
        inactive: those of feed_forward in experts that a token does not visit.
    """

    embeddings: int
    attention: int
    feed_forward: int
    norms: int
    head: int
    inactive: int = 0

    @property
    def total(self) -> int:
        """All of them; a tied head is counted once, as an embedding."""
        return self.embeddings + self.attention + self.feed_forward + self.norms + self.head

    @property
    def active(self) -> int:
        """Those that one token is computed with."""
        return self.total - self.inactive


def count_parameters(sizes: Sizes, vocab_size: int) -> Parameters:
    """The parameters of a decoder of any family by part."""
    hidden, layers = sizes.hidden_size, sizes.num_hidden_layers
    queries, keys = sizes.num_attention_heads * sizes.head_dim, sizes.num_key_value_heads * sizes.head_dim
    experts, visited = sizes.num_experts or 0, sizes.num_experts_per_tok or 0
    expert, shared = 3 * hidden * (sizes.moe_intermediate_size or 0), sizes.shared_expert_intermediate_size or 0
    feed_forward = 3 * hidden * sizes.intermediate_size
    if experts:
        gate_of_shared = hidden if shared else 0
        feed_forward = experts * (expert + hidden) + 3 * hidden * shared + gate_of_shared
    return Parameters(
        embeddings=vocab_size * hidden,
        attention=layers * hidden * (2 * queries + 2 * keys),
        feed_forward=layers * feed_forward,
        norms=(2 * layers + 1) * hidden + (2 * layers * sizes.head_dim if sizes.qk_norm else 0),
        head=0 if sizes.tie_word_embeddings else vocab_size * hidden,
        inactive=layers * (experts - visited) * expert,
    )


def linear_shapes(sizes: Sizes) -> dict[str, tuple[int, int]]:
    """The linear layers of a block by name: (in_features, out_features). Routed experts are none."""
    hidden, inner = sizes.hidden_size, sizes.intermediate_size
    queries, keys = sizes.num_attention_heads * sizes.head_dim, sizes.num_key_value_heads * sizes.head_dim
    shapes = {
        "q_proj": (hidden, queries),
        "k_proj": (hidden, keys),
        "v_proj": (hidden, keys),
        "o_proj": (queries, hidden),
    }
    if sizes.num_experts:
        inner = sizes.shared_expert_intermediate_size or 0
        if not inner:
            return shapes
        shapes["shared_expert_gate"] = (hidden, 1)
    return {**shapes, "gate_proj": (hidden, inner), "up_proj": (hidden, inner), "down_proj": (inner, hidden)}


def rows_per_unit(stage: StageSettings) -> int:
    """Rows that count as one of a batch: a chosen and a rejected answer, or a row of text."""
    return 2 if stage.kind == "dpo" else 1


def count_lora(sizes: Sizes, lora: LoraSettings) -> int:
    """The parameters that LoRA adds and trains."""
    wanted = [name.rpartition(".")[2] for name in lora.target_modules]
    chosen = [shape for name, shape in linear_shapes(sizes).items() if name in wanted or "all-linear" in wanted]
    return sizes.num_hidden_layers * lora.rank * sum(inputs + outputs for inputs, outputs in chosen)


@dataclass(frozen=True)
class Trained:
    """How many numbers a stage moves, `matrices` of them in matrices of the blocks."""

    total: int
    matrices: int


def count_trained(sizes: Sizes, vocab_size: int, stage: StageSettings) -> Trained:
    """What a stage moves: the whole model, or what LoRA adds to it."""
    if stage.lora is not None:
        added = count_lora(sizes, stage.lora)
        return Trained(added, added)
    parts = count_parameters(sizes, vocab_size)
    return Trained(parts.total, parts.attention + parts.feed_forward)


def training_bytes(sizes: Sizes, vocab_size: int, stage: StageSettings, copied: bool = True) -> int:
    """What a stage holds beside activations.

    Of what is trained: weights and gradients in float32, weights in bf16 once more, the state. Of what stands still
    under LoRA: the weights and that copy, or a byte for each that is kept in int8.

    Args:
        copied: False leaves out the copy in bf16, which not every precision makes.
    """
    by_weight = 6 if copied else 4
    trained = count_trained(sizes, vocab_size, stage)
    still = 0
    if stage.lora is not None:
        total = count_parameters(sizes, vocab_size).total
        linear = sizes.num_hidden_layers * sum(inputs * outputs for inputs, outputs in linear_shapes(sizes).values())
        still = linear + by_weight * (total - linear) if stage.lora.quantize == "int8" else by_weight * total
    return still + (by_weight + 4) * trained.total + state_bytes(trained, stage)


def state_bytes(trained: Trained, stage: StageSettings) -> int:
    """What a stage remembers between steps beside the weights: the optimizer's memories and the moving average.

    AdamW keeps two memories a parameter, Muon one of each matrix in a block; int8 adds a scale to each 256 numbers.
    """
    memory = {"fp32": 4.0, "bf16": 2.0, "int8": 1.0 + 4 / 256}[stage.optimizer.state]
    alone = trained.matrices if stage.optimizer.name == "muon" else 0
    average = 4 * trained.total if stage.ema else 0
    return int(memory * (2 * trained.total - alone)) + average


def train_flops_per_token(
    sizes: Sizes, vocab_size: int, sequence_length: int, lora: LoraSettings | None = None
) -> float:
    """FLOPs of one training step by token: two a weight forward, four backward, and attention over half a row.

    Weights that stand still beside LoRA's need no gradient of their own, hence two less.

    Source: Kaplan et al. 2020, arXiv:2001.08361, section 2.1, with the output matrix counted and attention causal.
    """
    parts = count_parameters(sizes, vocab_size)
    weights = parts.attention + parts.feed_forward - parts.inactive + vocab_size * sizes.hidden_size
    attention = sizes.num_hidden_layers * sizes.num_attention_heads * sizes.head_dim * sequence_length
    added = 0 if lora is None else count_lora(sizes, lora)
    return (6.0 if lora is None else 4.0) * weights + 6.0 * added + 6.0 * attention


def activation_bytes_per_token(sizes: Sizes, recomputed: bool = False) -> int:
    """What a training step keeps by token for the backward pass, in float32: the inputs of each block's operations.

    Args:
        recomputed: with gradient checkpointing, the input of each block and the inside of one.
    """
    keys = sizes.num_key_value_heads * sizes.head_dim
    queries = sizes.num_attention_heads * sizes.head_dim
    block = 6 * sizes.hidden_size + 3 * queries + 4 * keys + (queries + keys if sizes.qk_norm else 0)
    visited = (sizes.num_experts_per_tok or 0) if sizes.num_experts else 0
    if visited:  # a token is copied for each of its experts, and so is what they give
        block += visited * (2 * sizes.hidden_size + 4 * (sizes.moe_intermediate_size or 0))
        block += 4 * (sizes.shared_expert_intermediate_size or 0) + 4 * (sizes.num_experts or 0)
    else:
        block += 4 * sizes.intermediate_size
    if recomputed:
        return 4 * (sizes.num_hidden_layers * sizes.hidden_size + block + 4 * sizes.hidden_size)
    return 4 * (sizes.num_hidden_layers * block + 4 * sizes.hidden_size)


def cached_bytes_by_target(k: int, vocab_size: int) -> int:
    """What a target takes on the disk where a teacher's `k` likeliest tokens are kept: ids, log-probabilities, sums."""
    return k * ((2 if vocab_size <= 1 << 16 else 4) + 4) + 12
