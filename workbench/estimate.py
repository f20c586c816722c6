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


@dataclass(frozen=True)
class Parameters:
    """Numbers of a model by part."""

    embeddings: int
    attention: int
    feed_forward: int
    norms: int
    head: int

    @property
    def total(self) -> int:
        """All of them; a tied head is counted once, as an embedding."""
        return self.embeddings + self.attention + self.feed_forward + self.norms + self.head


@dataclass(frozen=True)
class StageEstimate:
    """What a stage takes.

    Args:
        steps: None where the length is in epochs of data whose size is not known.
        flops: of all steps.
        memory_bytes: at the peak, `weights_bytes` of it for weights, gradients and the optimizer.
        trained_parameters: how many numbers move.
        disk_bytes: of its checkpoints and its model.
        seconds: rough; None where steps is.
    """

    stage: str
    steps: int | None
    tokens: int | None
    flops: float | None
    memory_bytes: int
    weights_bytes: int
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
    """The parameters of a LLaMA-style decoder by part."""
    hidden, layers = sizes.hidden_size, sizes.num_hidden_layers
    queries, keys = sizes.num_attention_heads * sizes.head_dim, sizes.num_key_value_heads * sizes.head_dim
    return Parameters(
        embeddings=vocab_size * hidden,
        attention=layers * hidden * (2 * queries + 2 * keys),
        feed_forward=layers * 3 * hidden * sizes.intermediate_size,
        norms=(2 * layers + 1) * hidden,
        head=0 if sizes.tie_word_embeddings else vocab_size * hidden,
    )


def linear_shapes(sizes: Sizes) -> dict[str, tuple[int, int]]:
    """The linear layers of a block by name: (in_features, out_features)."""
    hidden, inner = sizes.hidden_size, sizes.intermediate_size
    queries, keys = sizes.num_attention_heads * sizes.head_dim, sizes.num_key_value_heads * sizes.head_dim
    return {
        "q_proj": (hidden, queries),
        "k_proj": (hidden, keys),
        "v_proj": (hidden, keys),
        "o_proj": (queries, hidden),
        "gate_proj": (hidden, inner),
        "up_proj": (hidden, inner),
        "down_proj": (inner, hidden),
    }


def rows_per_unit(stage: StageSettings) -> int:
    """Rows that count as one of a batch: a chosen and a rejected answer, or a row of text."""
    return 2 if stage.kind == "dpo" else 1


def count_lora(sizes: Sizes, lora: LoraSettings) -> int:
    """The parameters that LoRA adds and trains."""
    wanted = [name.rpartition(".")[2] for name in lora.target_modules]
    chosen = [shape for name, shape in linear_shapes(sizes).items() if name in wanted or "all-linear" in wanted]
    return sizes.num_hidden_layers * lora.rank * sum(inputs + outputs for inputs, outputs in chosen)


def training_bytes(sizes: Sizes, vocab_size: int, lora: LoraSettings | None) -> int:
    """What training keeps beside activations.

    Of what is trained: weights, gradients and AdamW's two memories in float32, and a copy of the weights in bf16. Of
    what stands still: the weights and that copy, or a byte for each that is kept in int8.
    """
    parts = count_parameters(sizes, vocab_size)
    if lora is None:
        return 18 * parts.total
    linear = parts.attention + parts.feed_forward
    still = linear + 6 * (parts.total - linear) if lora.quantize == "int8" else 6 * parts.total
    return still + 18 * count_lora(sizes, lora)


def train_flops_per_token(
    sizes: Sizes, vocab_size: int, sequence_length: int, lora: LoraSettings | None = None
) -> float:
    """FLOPs of one training step by token: two a weight forward, four backward, and attention over half a row.

    Weights that stand still beside LoRA's need no gradient of their own, hence two less.

    Source: Kaplan et al. 2020, arXiv:2001.08361, section 2.1, with the output matrix counted and attention causal.
    """
    parts = count_parameters(sizes, vocab_size)
    weights = parts.attention + parts.feed_forward + vocab_size * sizes.hidden_size
    attention = sizes.num_hidden_layers * sizes.num_attention_heads * sizes.head_dim * sequence_length
    added = 0 if lora is None else count_lora(sizes, lora)
    return (6.0 if lora is None else 4.0) * weights + 6.0 * added + 6.0 * attention


def activation_bytes_per_token(sizes: Sizes) -> int:
    """What a training step keeps by token for the backward pass, in float32: the inputs of each block's operations."""
    keys = sizes.num_key_value_heads * sizes.head_dim
    queries = sizes.num_attention_heads * sizes.head_dim
    block = 6 * sizes.hidden_size + 3 * queries + 4 * keys + 4 * sizes.intermediate_size
    return 4 * (sizes.num_hidden_layers * block + 4 * sizes.hidden_size)


def choose_micro_batch_size(
    sizes: Sizes,
    vocab_size: int,
    sequence_length: int,
    batch_size: int,
    room: int,
    lora: LoraSettings | None = None,
) -> int:
    """The most rows at once, up to a whole batch, whose activations take at most half of `room` bytes."""
    fixed = training_bytes(sizes, vocab_size, lora)
    by_row = activation_bytes_per_token(sizes) * sequence_length
    return max(1, min(batch_size, int((room - fixed) // 2 // by_row)))


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
            "lower micro_batch_size, sequence_length or the model's sizes"
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
        rows = choose_micro_batch_size(sizes, vocab_size, row, stage.batch_size, room, stage.lora)
    else:
        rows = min(stage.micro_batch_size, stage.batch_size)
    activations = rows * row * activation_bytes_per_token(sizes)
    weights = training_bytes(sizes, vocab_size, stage.lora)
    added = 0 if stage.lora is None else count_lora(sizes, stage.lora)
    disk = _disk_bytes(stage, parameters, added)
    seconds = None
    if steps is not None and flops is not None:
        overhead = STEP_SECONDS + LAYER_SECONDS * sizes.num_hidden_layers
        seconds = flops / speed + steps * -(-stage.batch_size // rows) * overhead
    return StageEstimate(
        stage=stage.name,
        steps=steps,
        tokens=tokens,
        flops=flops,
        memory_bytes=PROGRAM_BYTES + weights + activations,
        weights_bytes=weights,
        trained_parameters=added or parameters.total,
        disk_bytes=disk,
        seconds=seconds,
    )


def _disk_bytes(stage: StageSettings, parameters: Parameters, added: int) -> int:
    """Of the checkpoints, weights and AdamW's two memories each, and of the result."""
    if stage.lora is None:
        return (stage.keep + 2) * 12 * parameters.total + 4 * parameters.total
    return (stage.keep + 2) * 12 * added + 4 * added + (4 * parameters.total if stage.lora.merge else 0)


def _data_tokens(stage: StageSettings) -> int | None:
    try:
        files = [file for reference in stage.data for file in find_data(reference, [Path.cwd()])]
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
