"""Parameters, FLOPs, memory, disk and time of a profile, by arithmetic: will it fit, and how long will it take?"""

import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil

from workbench.arithmetic import Parameters as Parameters
from workbench.arithmetic import Sizes as Sizes
from workbench.arithmetic import Trained as Trained
from workbench.arithmetic import activation_bytes_per_token as activation_bytes_per_token
from workbench.arithmetic import cached_bytes_by_target as cached_bytes_by_target
from workbench.arithmetic import count_lora as count_lora
from workbench.arithmetic import count_parameters as count_parameters
from workbench.arithmetic import count_trained as count_trained
from workbench.arithmetic import linear_shapes as linear_shapes
from workbench.arithmetic import rows_per_unit as rows_per_unit
from workbench.arithmetic import state_bytes as state_bytes
from workbench.arithmetic import train_flops_per_token as train_flops_per_token
from workbench.arithmetic import training_bytes as training_bytes
from workbench.baselines import with_baselines
from workbench.bundled import find_data
from workbench.config import STAGE_PREFIX, Profile, StageSettings, TokenizerSettings
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
LEAST_LAPS = 5  # a program that was put to sleep in one of them is not slow for that


@dataclass(frozen=True)
class StageEstimate:
    """What a stage takes.

    Args:
        steps: None where the length is in epochs of data whose size is not known.
        flops: of all steps.
        memory_bytes: at the peak; `training_bytes` of it are weights, gradients and what the optimizer remembers, and
            `teacher_bytes` what a distill stage holds of its teacher.
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
    teacher_bytes: int = 0


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


def choose_micro_batch_size(sizes: Sizes, vocab_size: int, stage: StageSettings, room: int) -> int:
    """The most rows, or pairs, at once, up to a whole batch, whose activations take at most half of `room` bytes."""
    fixed = training_bytes(sizes, vocab_size, stage)
    return max(1, min(stage.batch_size, int((room - fixed) // 2 // _unit_bytes(sizes, stage))))


def _unit_bytes(sizes: Sizes, stage: StageSettings) -> int:
    """Activations of a row, or of a pair of rows."""
    by_token = activation_bytes_per_token(sizes, stage.gradient_checkpointing)
    return by_token * stage.sequence_length * rows_per_unit(stage)


@dataclass(frozen=True)
class StageModels:
    """The models that a stage holds: its own, and the teacher of a distill stage."""

    own: Sizes
    teacher: Sizes | None = None


def stage_models(profile: Profile, first: Sizes, named: Mapping[str, Sizes]) -> dict[str, StageModels]:
    """The models of every stage, by its name.

    Args:
        first: what the first stage starts with where it has no model of its own.
        named: the sizes of the model directories that the profile names.
    """
    found = dict[str, StageModels]()
    before = first
    for stage in profile.stage:
        if stage.model is not None:
            own: Sizes = named.get(stage.model.path, first) if stage.model.path is not None else stage.model
        elif stage.from_ is not None:
            own = found[stage.from_].own if stage.from_ in found else named.get(stage.from_, first)
        else:
            own = before
        teacher = None
        if stage.teacher is not None:
            teacher = found[stage.teacher].own if stage.teacher in found else named.get(stage.teacher)
        found[stage.name] = StageModels(own, teacher)
        before = before if stage.kind == "generate" else own
    return found


def estimate_profile(
    profile: Profile,
    workspace: Path,
    sizes: Sizes | None = None,
    vocab_size: int | None = None,
    named: Mapping[str, Sizes] | None = None,
) -> Estimate:
    """What `profile` takes on this machine, were it run in `workspace`.

    Args:
        sizes: of the first stage's model, where the profile names a model directory; the caller has read its
            config.json.
        vocab_size: likewise, where it names a model or a tokenizer.
        named: sizes by model directory, where it names some.
    """
    profile = with_baselines(profile)
    models = stage_models(profile, sizes or profile.model, named or {})
    vocab_size = vocab_size or expected_vocab_size(profile.tokenizer)
    trained = [models[stage.name].own for stage in profile.stage if stage.kind != "generate"]
    parameters = count_parameters((trained or [sizes or profile.model])[0], vocab_size)
    room = psutil.virtual_memory().available
    flops_per_second = _flops_per_second(profile)
    stages = tuple(
        _stage(stage, models[stage.name], vocab_size, room, flops_per_second)
        if stage.kind != "generate"
        else _writing(stage, models[stage.name].own, vocab_size, flops_per_second)
        for stage in profile.stage
    )
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


def teacher_bytes(teacher: Sizes | None, vocab_size: int, stage: StageSettings) -> int:
    """What a distill stage holds of its teacher: its weights, and its hidden states of a step's rows.

    With a cache it holds the weights for as long as it asks the teacher, beside a student that waits.
    """
    if teacher is None or stage.distill is None:
        return 0
    weights = 4 * count_parameters(teacher, vocab_size).total
    if stage.distill.cache_top_k:
        return weights
    return weights + 4 * teacher.hidden_size * stage.batch_size * stage.sequence_length


def _writing(stage: StageSettings, sizes: Sizes, vocab_size: int, speed: float) -> StageEstimate:
    """A generate stage: weights, and the keys and values of the prompts that are answered at once."""
    assert stage.generate is not None, "filled in where it is absent"
    weights = 4 * count_parameters(sizes, vocab_size).total
    by_token = 8 * sizes.num_hidden_layers * sizes.num_key_value_heads * sizes.head_dim
    written = stage.generate.max_new_tokens
    kept = stage.batch_size * (by_token * 2 * written + 4 * (3 * vocab_size + sizes.intermediate_size))
    prompts, tokens = stage.generate.limit, None
    if prompts is not None:
        tokens = prompts * stage.generate.samples * written
    flops = None if tokens is None else tokens * train_flops_per_token(sizes, vocab_size, written) / 3
    return StageEstimate(
        stage=stage.name,
        steps=None,
        tokens=tokens,
        flops=flops,
        memory_bytes=PROGRAM_BYTES + weights + kept,
        training_bytes=weights,
        trained_parameters=0,
        disk_bytes=0 if tokens is None else int(tokens * BYTES_PER_TOKEN),
        seconds=None if flops is None else flops / speed,
    )


def _stage(stage: StageSettings, models: StageModels, vocab_size: int, room: int, speed: float) -> StageEstimate:
    sizes, steps = models.own, stage.steps
    taught = teacher_bytes(models.teacher, vocab_size, stage)
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
        rows = choose_micro_batch_size(sizes, vocab_size, stage, room - taught)
    else:
        rows = min(stage.micro_batch_size, stage.batch_size)
    trained, fixed = count_trained(sizes, vocab_size, stage), training_bytes(sizes, vocab_size, stage)
    # the newest checkpoints, the best, one being written, and what the stage leaves
    disk = (stage.keep + 2) * (4 * trained.total + state_bytes(trained, stage)) + 4 * trained.total
    if stage.lora is not None and stage.lora.merge:
        disk += 4 * count_parameters(sizes, vocab_size).total
    seconds = None
    if tokens is not None and flops is not None and models.teacher is not None and stage.distill is not None:
        asked, known = tokens, _data_tokens(stage)
        if k := min(stage.distill.cache_top_k, vocab_size):
            asked = tokens if known is None else known
            disk += asked * cached_bytes_by_target(k, vocab_size)
        if stage.distill.alpha < 1:
            flops += asked * train_flops_per_token(models.teacher, vocab_size, stage.sequence_length) / 3
    if steps is not None and flops is not None:
        overhead = STEP_SECONDS + LAYER_SECONDS * sizes.num_hidden_layers
        seconds = flops * _repeated(stage) / speed + steps * -(-stage.batch_size // rows) * overhead
    return StageEstimate(
        stage=stage.name,
        steps=steps,
        tokens=tokens,
        flops=flops,
        memory_bytes=PROGRAM_BYTES + fixed + taught + rows * _unit_bytes(sizes, stage),
        training_bytes=fixed,
        teacher_bytes=taught,
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
    if any(file.startswith(STAGE_PREFIX) for file in stage.data_files):
        return None  # it is not written yet
    try:
        files = [file for reference in stage.data_files for file in find_data(reference, [Path.cwd()])]
    except DataError:
        return None
    return int(sum(file.stat().st_size for file in files) / BYTES_PER_TOKEN)


def _flops_per_second(profile: Profile) -> float:
    """What training reaches on this CPU, from short products in numpy and what the processor says it can do."""
    a = np.ones((256, 256), dtype=np.float32)  # short enough to be over before another program gets its turn
    best, laps = float("inf"), 0
    deadline = time.perf_counter() + RACE_SECONDS
    while (start := time.perf_counter()) < deadline or laps < LEAST_LAPS:
        a @ a
        best, laps = min(best, time.perf_counter() - start), laps + 1
    share = SHARE_BF16 if profile.run.precision != "fp32" and fast_at_bf16() else SHARE_FP32
    return share * 2 * 256**3 / best


def _existing(folder: Path) -> Path:
    folder = folder.resolve()
    while not folder.exists():
        folder = folder.parent
    return folder
