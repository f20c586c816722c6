"""Which device, precision and number of threads to compute with: measured on this machine, not guessed."""

import functools
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from typing import Literal, cast, get_args

import torch

from workbench.errors import DeviceError
from workbench.model.configuration import ModelConfig
from workbench.model.initialize import initialize
from workbench.model.transformer import Transformer

Precision = Literal["fp32", "bf16", "fp16"]
DTYPES: dict[str, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}

_RACE_SECONDS = 0.25  # a race ends after this, or after _RACE_ROUNDS of every runner
_RACE_ROUNDS = 8
_RACE_FLOPS = 1e10  # of one round, at most: a tenth of a second where a core is slow
_FEWEST_TOKENS = 64  # of a round, however wide the model
_SECOND_LOOKS = 2  # at a machine where fewer threads than there are processors seem faster
_MARGIN = 1.1  # what rounder numbers, or fewer threads, must win by
_TYPICAL = ModelConfig(
    vocab_size=1024,
    hidden_size=512,
    intermediate_size=1408,
    num_hidden_layers=1,
    num_attention_heads=8,
    num_key_value_heads=8,
    head_dim=64,
    max_position_embeddings=1024,
)


def resolve_device(wanted: str = "auto") -> torch.device:
    """The device that `wanted` ("auto", "cpu", "cuda", "mps", "cuda:1") means here.

    Raises:
        DeviceError: it is not there; says what is.
    """
    present = available_devices()
    if wanted == "auto":
        return torch.device(present[0])
    kind, _, index = wanted.partition(":")
    if kind not in present or (index and not (index.isdigit() and int(index) < _count(kind))):
        listed = ", ".join(f"device = {name!r}" for name in present)
        raise DeviceError(f"device {wanted!r}", "is not there", f"this machine offers: {listed}")
    return torch.device(wanted)


def available_devices() -> list[str]:
    """The kinds of device PyTorch can use here, the fastest first."""
    cuda = ["cuda"] if torch.cuda.is_available() else []
    mps = ["mps"] if torch.backends.mps.is_available() else []
    return [*cuda, *mps, "cpu"]


def resolve_precision(
    wanted: str, device: torch.device | str, config: ModelConfig | None = None, tokens: int = 512
) -> Precision:
    """The precision to compute in: as `wanted`, or for "auto" the faster one here.

    On a CPU one block of the model is trained in both for a moment: bf16 is many times faster on some machines, slower
    on others, and of little use to a narrow model.

    Args:
        config: the model's; without it, a typical small model stands for it.
        tokens: of a micro-batch.
    """
    if wanted in get_args(Precision):
        return cast(Precision, wanted)
    kind = torch.device(device).type
    if kind == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    if kind != "cpu":
        return "fp32"
    block = _one_block(config or _TYPICAL)
    return _faster_precision(block, _affordable(block, tokens))


def suggest_threads(config: ModelConfig, tokens: int, precision: Precision = "fp32") -> int:
    """The number of CPU threads that trains `config` fastest: one, where splitting the work costs more than it saves.

    Args:
        tokens: of a micro-batch.
    """
    block = _one_block(config)
    return _fastest_threads(block, _affordable(block, tokens), precision)


def autocast(device: torch.device | str, precision: str) -> AbstractContextManager[object]:
    """Inside, matrix products are computed in `precision`; parameters stay in float32."""
    if precision == "fp32":
        return nullcontext()
    return torch.autocast(torch.device(device).type, dtype=DTYPES[precision])


def _count(kind: str) -> int:
    return torch.cuda.device_count() if kind == "cuda" else 1


@functools.cache
def _faster_precision(config: ModelConfig, tokens: int) -> Precision:
    """Cached for this process, by everything the answer depends on."""
    step = _training_step(config, tokens)
    with _threads_restored():
        torch.set_num_threads(1)  # threads that wait for each other on a busy machine would drown the difference
        seconds = _race({"fp32": lambda: step("fp32"), "bf16": lambda: step("bf16")})
    return "bf16" if seconds["bf16"] * _MARGIN < seconds["fp32"] else "fp32"


@functools.cache
def _fastest_threads(config: ModelConfig, tokens: int, precision: Precision) -> int:
    most = _cpus()
    choices = sorted({most, *(1 << power for power in range(most.bit_length()))})
    step = _training_step(config, tokens)

    def with_threads(threads: int) -> Callable[[], None]:
        def run() -> None:
            torch.set_num_threads(threads)
            step(precision)

        return run

    def fastest() -> int:
        return min(choices, key=lambda threads: seconds[str(threads)] * (1 if threads == most else _MARGIN))

    runners = {str(threads): with_threads(threads) for threads in choices}
    with _threads_restored():
        seconds = _race(runners)
        for _ in range(_SECOND_LOOKS):
            if fastest() == most:
                break
            # A moment of other work on the machine must not cost a long run its threads.
            time.sleep(_RACE_SECONDS)
            again = _race(runners)
            seconds = {name: min(seconds[name], again[name]) for name in runners}
    return fastest()


def _cpus() -> int:
    """Processors that PyTorch would use by itself: it leaves out hyperthreads, and heeds OMP_NUM_THREADS."""
    return torch.get_num_threads()


@contextmanager
def _threads_restored() -> Iterator[None]:
    before = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _one_block(config: ModelConfig) -> ModelConfig:
    """What decides the speed of one block, so that models which differ elsewhere share a measurement."""
    return replace(
        config,
        num_hidden_layers=1,
        vocab_size=min(config.vocab_size, 1024),
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=None,
    )


def _affordable(config: ModelConfig, tokens: int) -> int:
    """`tokens`, or as many of them as a short race can bear."""
    width = (config.num_attention_heads + config.num_key_value_heads) * config.head_dim
    inner = config.intermediate_size
    if config.num_experts:
        inner = config.num_experts_per_tok * config.moe_intermediate_size + config.shared_expert_intermediate_size
    parameters = config.hidden_size * (2 * width + 3 * inner + config.vocab_size)
    return max(min(tokens, int(_RACE_FLOPS / (6 * parameters))), min(tokens, _FEWEST_TOKENS))


def _training_step(config: ModelConfig, tokens: int) -> Callable[[Precision], None]:
    """Forward and backward of a one-block model; no random numbers but its own are drawn."""
    with torch.device("meta"):
        model = Transformer(config)
    model.to_empty(device="cpu")
    initialize(model, seed=0)
    length = max(1, min(tokens, config.max_position_embeddings, 256))
    ids = torch.arange(max(1, tokens // length) * length).view(-1, length) % config.vocab_size

    def step(precision: Precision) -> None:
        with autocast("cpu", precision):
            loss, _ = model.loss(ids, ids)
        loss.backward()

    return step


def _race(runners: dict[str, Callable[[], None]]) -> dict[str, float]:
    """Seconds of each runner's best round, taking turns; the first round is a warm-up where time allows another."""
    best = dict.fromkeys(runners, float("inf"))
    deadline = time.perf_counter() + _RACE_SECONDS
    for turn in range(_RACE_ROUNDS):
        for name, run in runners.items():
            start = time.perf_counter()
            run()
            best[name] = min(best[name], time.perf_counter() - start)
        if turn > 0 and time.perf_counter() > deadline:
            break
    return best
