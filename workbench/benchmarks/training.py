"""How fast training goes here: steps of the Trainer on made-up tokens, the precisions taking turns.

What is compared is measured in one run and in turn, since a machine's speed drifts by more than most differences.
"""

import functools
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from workbench.config import Profile, TokenizerSettings
from workbench.control import Control
from workbench.data.loader import Loader
from workbench.data.stores import TokenStore
from workbench.estimate import expected_vocab_size
from workbench.events import Emitter
from workbench.model.allocator import keep_freed_memory
from workbench.model.configuration import ModelConfig, model_config
from workbench.model.initialize import initialize
from workbench.model.precision import Precision, resolve_device, resolve_precision, suggest_threads
from workbench.model.transformer import Transformer
from workbench.tokenizer.bpe import train_tokenizer
from workbench.training.probe import Measured, Sample
from workbench.training.surroundings import Machine, Shelf
from workbench.training.trainer import Trainer

Contender = Literal["auto", "fp32", "bf16", "transformers"]


@dataclass
class Entry:
    """One way to train the model, and the seconds of each of its steps.

    Args:
        precision: that it computes in.
        threads: of the CPU.
        run: takes one step.
    """

    name: str
    precision: Precision
    threads: int
    run: Callable[[], object]
    seconds: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Speed:
    """What came of an entry: tokens by second at its median step, and the range over all its steps."""

    name: str
    precision: str
    threads: int
    tokens_per_second: float
    slowest: float
    fastest: float


def compare_training(profile: Profile, contenders: list[Contender], rounds: int, steps: int) -> Iterator[Speed]:
    """Train the first stage's sizes of `profile` in each way, `steps` at a time in turn.

    Args:
        contenders: "auto" is what a run of the profile would do here; "transformers" is its class of the same
            architecture, in the same precision as auto's, with fused AdamW and autocast.
        rounds: turns of each contender; one more comes before, which is not counted.
    Yields:
        The speeds, in the order of the contenders.
    Raises:
        ImportError: transformers is asked for and not installed.
    """
    keep_freed_memory()
    entries = [_entry(profile, contender) for contender in contenders]
    before = torch.get_num_threads()
    try:
        for turn in range(rounds + 1):
            for entry in entries:
                _take_steps(entry, steps, counted=turn > 0)
    finally:
        torch.set_num_threads(before)
    tokens = tokens_per_step(profile)
    for entry in entries:
        rates = [tokens / seconds for seconds in entry.seconds]
        median = tokens / statistics.median(entry.seconds)
        yield Speed(entry.name, entry.precision, entry.threads, median, min(rates), max(rates))


def tokens_per_step(profile: Profile) -> int:
    """Of the profile's first stage."""
    return profile.stage[0].batch_size * profile.stage[0].sequence_length


def _take_steps(entry: Entry, steps: int, counted: bool) -> None:
    torch.set_num_threads(entry.threads)
    for _ in range(steps):
        start = time.perf_counter()
        entry.run()
        if counted:
            entry.seconds.append(time.perf_counter() - start)


def _entry(profile: Profile, contender: Contender) -> Entry:
    """The contender with its model in memory; decides what `auto` means as a run does."""
    device = resolve_device(profile.run.device)
    config = model_config(profile.model, expected_vocab_size(profile.tokenizer))
    tokens = tokens_per_step(profile)
    wanted = contender if contender in ("fp32", "bf16") else profile.run.precision
    precision = resolve_precision(wanted, device, config, tokens)
    threads = profile.run.threads
    if threads == "auto":
        threads = suggest_threads(config, tokens, precision)
    run: Callable[[], object]
    if contender == "transformers":
        run = _transformers_step(profile, config, precision, device)
    else:
        run = _trainer(profile, config, precision, device).take_step
    return Entry(contender, precision, threads, run)


class _Nothing:
    """A probe that looks at nothing."""

    def validate(self, model: Transformer) -> Measured | None:
        return None

    def sample(self, model: Transformer) -> list[Sample]:
        return []


def _trainer(profile: Profile, config: ModelConfig, precision: Precision, device: torch.device) -> Trainer:
    stage = profile.stage[0]
    settings = TokenizerSettings(kind="bytes")
    tokenizer = train_tokenizer(settings, [], on_progress=lambda *_: None, should_stop=lambda: False)
    assert tokenizer is not None
    model = Transformer(config)
    initialize(model, profile.run.seed)
    rows = stage.micro_batch_size if stage.micro_batch_size != "auto" else stage.batch_size
    trainer = Trainer(
        model=model.to(device),
        tokenizer=tokenizer,
        loader=Loader(
            _made_up_tokens(config.vocab_size),
            sequence_length=stage.sequence_length,
            batch_size=stage.batch_size,
            seed=profile.run.seed,
            packing="stream",
            isolate_documents=stage.isolate_documents,
        ),
        settings=stage,
        steps=1_000_000,
        machine=Machine(precision, rows, profile.run.compile is True),
        probe=_Nothing(),
        shelf=Shelf({}, lambda step: Path(), lambda: None),
        emitter=Emitter(),
        control=Control(),
        poll=lambda: None,
    )
    trainer.model.train()
    return trainer


def _made_up_tokens(vocab_size: int) -> TokenStore:
    """Documents of 20 to 400 random tokens: what they say does not change how long they take."""
    generator = np.random.default_rng(0)
    lengths = generator.integers(20, 400, size=1000)
    return TokenStore.from_documents([generator.integers(0, vocab_size, size=length).tolist() for length in lengths])


def _transformers_step(
    profile: Profile, config: ModelConfig, precision: Precision, device: torch.device
) -> Callable[[], object]:
    """A step as the manual of transformers has it, on the same sizes."""
    from transformers import AutoConfig, AutoModelForCausalLM

    sizes: dict[str, Any] = config.to_dict()
    model_type = sizes.pop("model_type")
    del sizes["torch_dtype"]
    make: Any = AutoModelForCausalLM.from_config
    peer: Any = make(AutoConfig.for_model(model_type, **sizes))
    peer.to(device)
    peer.train()
    optimizer = torch.optim.AdamW(peer.parameters(), lr=1e-4, betas=(0.9, 0.95), weight_decay=0.1, fused=True)
    stage = profile.stage[0]
    draw = functools.partial(torch.randint, 0, config.vocab_size, (stage.batch_size, stage.sequence_length))

    def step() -> None:
        ids = draw(device=device)
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16"):
            loss = peer(input_ids=ids, labels=ids).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(peer.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        float(loss.detach())

    return step
