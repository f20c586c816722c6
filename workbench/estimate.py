"""Parameters, FLOPs, memory, disk and time of a profile, by arithmetic: will it fit, and how long will it take?"""

import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import psutil

from workbench.bundled import find_data
from workbench.config import LoraSettings, Profile, StageSettings, TokenizerSettings
from workbench.errors import DataError
from workbench.machine import fast_at_bf16

# By parameter: weights, gradients and AdamW's two memories in float32, and a copy of the weights in bf16.
TRAINING_BYTES = 18
PROGRAM_BYTES = 600_000_000  # torch and the program itself, resident on a CPU before any model
BYTES_PER_TOKEN = 3.3  # of a small byte-level BPE on mixed text; only for lengths given in epochs
# What training reaches, as a share of a bare float32 product in numpy, measured on CPUs without and with fast bf16.
SHARE_FP32, SHARE_BF16 = 0.7, 1.0
# What a step costs however small it is, measured with rows of a few tokens: at all, and by layer.
STEP_SECONDS, LAYER_SECONDS = 0.0012, 0.001
RACE_SECONDS = 0.3  # between other programs' turns there is a quiet moment in this time


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


@dataclass(frozen=True)
class StageEstimate:
    """What a stage takes.

    Args:
        steps: None where the length is in epochs of data whose size is not known.
        flops: of all steps.
        memory_bytes: at the peak; `training_bytes` of it are weights, gradients and what the optimizer remembers.
        trained_parameters: how many numbers move.
        disk_bytes: of its checkpoints and its model.
        seconds: rough; None where steps is.
    """

    stage: str
    steps: int | None
    tokens: int | None
    flops: float | None
    memory_bytes: int
    training_bytes: int
    trained_parameters: int
    disk_bytes: int
    seconds: float | None


@dataclass(frozen=True)
class Estimate:
    """What a profile takes, and whether this machine has it.

    Args:
        problems: what does not suffice, each with the arithmetic; empty when all fits.
    """

    parameters: Parameters
    stages: tuple[StageEstimate, ...]
    memory_bytes: int
    memory_available_bytes: int
    disk_bytes: int
    disk_free_bytes: int
    problems: tuple[str, ...]

    @property
    def seconds(self) -> float | None:
        """Training time of all stages; None where one is not known."""
        times = [stage.seconds for stage in self.stages]
        return None if None in times else sum(seconds for seconds in times if seconds is not None)


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


def choose_micro_batch_size(sizes: Sizes, vocab_size: int, stage: StageSettings, room: int) -> int:
    """The most rows, or pairs, at once, up to a whole batch, whose activations take at most half of `room` bytes."""
    fixed = training_bytes(sizes, vocab_size, stage)
    return max(1, min(stage.batch_size, int((room - fixed) // 2 // _unit_bytes(sizes, stage))))


def _unit_bytes(sizes: Sizes, stage: StageSettings) -> int:
    """Activations of a row, or of a pair of rows."""
    by_token = activation_bytes_per_token(sizes, stage.gradient_checkpointing)
    return by_token * stage.sequence_length * rows_per_unit(stage)


def estimate_profile(
    profile: Profile, workspace: Path, sizes: Sizes | None = None, vocab_size: int | None = None
) -> Estimate:
    """What `profile` takes on this machine, were it run in `workspace`.

    Args:
        sizes: of the model, where the profile names a model directory; the caller has read its config.json.
        vocab_size: likewise, where it names a model or a tokenizer.
    """
    model = sizes or profile.model
    vocab_size = vocab_size or expected_vocab_size(profile.tokenizer)
    parameters = count_parameters(model, vocab_size)
    room = psutil.virtual_memory().available
    flops_per_second = _flops_per_second(profile)
    stages = tuple(_stage(stage, model, vocab_size, parameters, room, flops_per_second) for stage in profile.stage)
    memory, disk = max(stage.memory_bytes for stage in stages), sum(stage.disk_bytes for stage in stages)
    free = shutil.disk_usage(_existing(workspace)).free
    problems = []
    if memory > room:
        problems.append(
            f"memory: needs about {gigabytes(memory)}, {gigabytes(room)} are available; "
            f"lower micro_batch_size, sequence_length or the model's sizes{_size_that_fits(room, vocab_size)}"
        )
    if disk > free:
        problems.append(
            f"disk: needs about {gigabytes(disk)}, {gigabytes(free)} are free; "
            "lower keep, or choose another --workspace"
        )
    return Estimate(parameters, stages, memory, room, disk, free, tuple(problems))


def expected_vocab_size(settings: TokenizerSettings) -> int:
    """Tokens that the tokenizer will have: exact for bytes, the wish for BPE, a guess for characters."""
    return {"bpe": settings.vocab_size, "bytes": 272, "characters": 128}[settings.kind]


def gigabytes(size: float) -> str:
    """A size for people."""
    return f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e6:.1f} MB"


def _stage(
    stage: StageSettings, sizes: Sizes, vocab_size: int, parameters: Parameters, room: int, speed: float
) -> StageEstimate:
    steps = stage.steps
    row = stage.sequence_length * rows_per_unit(stage)
    tokens_per_step = stage.batch_size * row
    if stage.tokens is not None:
        steps = -(-stage.tokens // tokens_per_step)
    elif stage.epochs is not None and (known := _data_tokens(stage)) is not None:
        steps = max(1, round(known * stage.epochs / tokens_per_step))
    tokens = None if steps is None else steps * tokens_per_step
    flops = (
        None if tokens is None else tokens * train_flops_per_token(sizes, vocab_size, stage.sequence_length, stage.lora)
    )
    if stage.micro_batch_size == "auto":
        rows = choose_micro_batch_size(sizes, vocab_size, stage, room)
    else:
        rows = min(stage.micro_batch_size, stage.batch_size)
    trained, fixed = count_trained(sizes, vocab_size, stage), training_bytes(sizes, vocab_size, stage)
    # the newest checkpoints, the best, one being written, and what the stage leaves
    disk = (stage.keep + 2) * (4 * trained.total + state_bytes(trained, stage)) + 4 * trained.total
    if stage.lora is not None and stage.lora.merge:
        disk += 4 * parameters.total
    seconds = None
    if steps is not None and flops is not None:
        overhead = STEP_SECONDS + LAYER_SECONDS * sizes.num_hidden_layers
        seconds = flops * _repeated(stage) / speed + steps * -(-stage.batch_size // rows) * overhead
    return StageEstimate(
        stage=stage.name,
        steps=steps,
        tokens=tokens,
        flops=flops,
        memory_bytes=PROGRAM_BYTES + fixed + rows * _unit_bytes(sizes, stage),
        training_bytes=fixed,
        trained_parameters=trained.total,
        disk_bytes=disk,
        seconds=seconds,
    )


def _repeated(stage: StageSettings) -> float:
    """The work of a step as a multiple of one forward and one backward pass.

    Gradient checkpointing makes the forward pass twice, and so do adapters that are switched off for a reference. It
    is a third of the work, or half where the weights stand still and need no gradient.
    """
    forward = 1 / 3 if stage.lora is None else 1 / 2
    own_reference = stage.lora is not None and stage.dpo is not None and stage.dpo.has_reference
    return 1 + forward * (stage.gradient_checkpointing + own_reference)


def _size_that_fits(room: int, vocab_size: int) -> str:
    """Which model could be trained in `room` bytes, leaving half of it to its rows; empty where none could."""
    millions = (room - PROGRAM_BYTES) // 2 // TRAINING_BYTES // 1_000_000
    if millions < 1:
        return ""
    return f", to about {millions}M parameters (llm-workbench model sizes {millions}M --vocab-size {vocab_size})"


def _data_tokens(stage: StageSettings) -> int | None:
    try:
        files = [file for reference in stage.data_files for file in find_data(reference, [Path.cwd()])]
    except DataError:
        return None
    return int(sum(file.stat().st_size for file in files) / BYTES_PER_TOKEN)


def _flops_per_second(profile: Profile) -> float:
    """What training reaches on this CPU, from short products in numpy and what the processor says it can do."""
    a = np.ones((256, 256), dtype=np.float32)  # short enough to be over before another program gets its turn
    best = float("inf")
    deadline = time.perf_counter() + RACE_SECONDS
    while (start := time.perf_counter()) < deadline:
        a @ a
        best = min(best, time.perf_counter() - start)
    share = SHARE_BF16 if profile.run.precision != "fp32" and fast_at_bf16() else SHARE_FP32
    return share * 2 * 256**3 / best


def _existing(folder: Path) -> Path:
    folder = folder.resolve()
    while not folder.exists():
        folder = folder.parent
    return folder
