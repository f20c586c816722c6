"""The numbers of a run under the names that formulas use, and how they are written."""

import math
from collections.abc import Callable
from typing import Any

import psutil

from workbench.config import OptimizerSettings, PreferenceSettings, StageSettings
from workbench.estimate import (
    PROGRAM_BYTES,
    Parameters,
    activation_bytes_per_token,
    choose_micro_batch_size,
    count_lora,
    count_parameters,
    count_trained,
    rows_per_unit,
    state_bytes,
    train_flops_per_token,
    training_bytes,
)
from workbench.learn.facts import Facts
from workbench.schedule import Schedule


class MissingValueError(LookupError):
    """A number is not known (yet); the formula stays without numbers."""


class Values:
    """Looks names up: figures first, then what follows from others, then the stage's settings, then the model's sizes.

    `values.NAME` raises `MissingValueError` where nothing is known.
    """

    def __init__(self, facts: Facts) -> None:
        self._facts = facts

    def __getattr__(self, name: str) -> Any:
        facts = self._facts
        for place in (facts.context, facts.figures):
            if place.get(name) is not None:
                return place[name]
        if name in _DERIVED:
            value = _DERIVED[name](self)
        else:
            value = next(
                (
                    found
                    for place in (facts.stage, facts.config, facts.started, facts.data)
                    if (found := getattr(place, name, None)) is not None
                ),
                None,
            )
        if value is None:
            raise MissingValueError(name)
        return value

    def __getitem__(self, name: str) -> str:
        return number(getattr(self, name))

    def knows(self, name: str) -> bool:
        """Whether there is a value."""
        try:
            getattr(self, name)
        except MissingValueError:
            return False
        return True

    @property
    def facts(self) -> Facts:
        """Where it looks."""
        return self._facts

    @property
    def settings(self) -> StageSettings:
        """The stage's settings."""
        if self._facts.stage is None:
            raise MissingValueError("stage")
        return self._facts.stage

    @property
    def optimizer(self) -> OptimizerSettings:
        """The stage's optimizer."""
        return self.settings.optimizer

    @property
    def preferences(self) -> PreferenceSettings:
        """How the stage learns from pairs."""
        if self.settings.dpo is None:
            raise MissingValueError("dpo")
        return self.settings.dpo

    @property
    def parts(self) -> Parameters:
        """The model's parameters by part."""
        config = self.config
        return count_parameters(config, config.vocab_size)

    @property
    def config(self) -> Any:
        """The model's sizes."""
        if self._facts.config is None:
            raise MissingValueError("config")
        return self._facts.config


def number(value: Any) -> str:
    """A number as a formula shows it: whole ones with commas, others in six digits at most."""
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return str(value)
    if isinstance(value, int) or (isinstance(value, float) and value.is_integer() and abs(value) < 1e15):
        return f"{int(value):,}" if abs(value) < 1e15 else f"{value:.4g}"
    if not math.isfinite(value):
        return str(value)
    return f"{value:,.1f}" if 1000 <= abs(value) < 1e9 else f"{value:.5g}"


def _steps(values: Values) -> int:
    facts = values.facts
    if facts.started is not None:
        return facts.started.steps
    settings = values.settings
    if settings.steps is not None:
        return settings.steps
    if settings.tokens is not None:
        tokens_per_step: int = values.tokens_per_step
        return math.ceil(settings.tokens / tokens_per_step)
    raise MissingValueError("steps")


def _schedule(values: Values) -> Schedule:
    return Schedule(
        values.schedule, values.peak, int(values.warmup), values.steps, values.final_ratio, values.decay_fraction
    )


def _rows_at_once(values: Values) -> int:
    """Rows, or pairs, of a pass: as the run decided, or as it would decide here and now."""
    if values.facts.started is not None:
        return values.facts.started.micro_batch_size
    settings = values.settings
    if settings.micro_batch_size != "auto":
        return min(settings.micro_batch_size, settings.batch_size)
    room = psutil.virtual_memory().available
    return choose_micro_batch_size(values.config, values.config.vocab_size, settings, room)


def _lora(values: Values) -> Any:
    lora = values.settings.lora
    if lora is None:
        raise MissingValueError("lora")
    return lora


_DERIVED: dict[str, Callable[[Values], Any]] = {
    "steps": _steps,
    "step_index": lambda v: v.step - 1,
    "peak": lambda v: v.facts.peak or v.settings.learning_rate,
    "decay_start": lambda v: _schedule(v).decay_start,
    "progress": lambda v: _schedule(v).progress(v.step_index),
    "height": lambda v: _schedule(v).height(v.step_index),
    "final_ratio": lambda v: v.settings.min_learning_rate_ratio,
    "rows": lambda v: rows_per_unit(v.settings),
    "tokens_per_step": lambda v: v.settings.batch_size * v.settings.sequence_length * rows_per_unit(v.settings),
    "bytes_per_token": lambda v: v.facts.tokenizer.bytes_per_token if v.facts.tokenizer is not None else None,
    "queries": lambda v: v.num_attention_heads * v.head_dim,
    "keys": lambda v: v.num_key_value_heads * v.head_dim,
    "group": lambda v: v.num_attention_heads // v.num_key_value_heads,
    "embedding_parameters": lambda v: v.parts.embeddings,
    "attention_parameters": lambda v: v.parts.attention,
    "feed_forward_parameters": lambda v: v.parts.feed_forward,
    "norm_parameters": lambda v: v.parts.norms,
    "head_parameters": lambda v: v.parts.head,
    "inactive_parameters": lambda v: v.parts.inactive or None,
    "all_parameters": lambda v: v.parts.total,
    "trained_count": lambda v: count_trained(v.config, v.config.vocab_size, v.settings).total,
    "lora": _lora,
    "rank": lambda v: v.lora.rank,
    "alpha": lambda v: v.lora.alpha,
    "lora_parameters": lambda v: count_lora(v.config, v.lora),
    "beta": lambda v: v.preferences.beta,
    "gamma": lambda v: v.preferences.gamma,
    "beta1": lambda v: v.optimizer.betas[0],
    "beta2": lambda v: v.optimizer.betas[1],
    "weight_decay": lambda v: v.optimizer.weight_decay,
    "momentum": lambda v: v.optimizer.momentum,
    "eps": lambda v: v.optimizer.eps,
    "experts": lambda v: v.config.num_experts or None,
    "visited": lambda v: v.config.num_experts_per_tok or None,
    "data_tokens": lambda v: v.facts.data.tokens if v.facts.data is not None else None,
    "busiest": lambda v: max(share for layer in v.expert_load for share in layer),
    "idlest": lambda v: min(share for layer in v.expert_load for share in layer),
    "two_inner": lambda v: 2 * v.moe_intermediate_size,
    "larger_side": lambda v: max(v.hidden_size, v.intermediate_size),
    "mean_update": lambda v: sum(updates) / len(updates) if (updates := v.facts.updates.values()) else None,
    "flop_weights": lambda v: (
        v.parts.active - v.parts.embeddings - v.parts.norms - v.parts.head + v.config.vocab_size * v.config.hidden_size
    ),
    "flop_attention": lambda v: (
        6 * v.num_hidden_layers * v.num_attention_heads * v.head_dim * v.settings.sequence_length
    ),
    "flops_per_token": lambda v: (
        v.facts.started.flops_per_token
        if v.facts.started is not None
        else train_flops_per_token(v.config, v.config.vocab_size, v.settings.sequence_length, v.settings.lora)
    ),
    "program_bytes": lambda v: PROGRAM_BYTES,
    "fixed_bytes": lambda v: training_bytes(v.config, v.config.vocab_size, v.settings),
    "row_bytes": lambda v: (
        activation_bytes_per_token(v.config, v.settings.gradient_checkpointing) * v.settings.sequence_length * v.rows
    ),
    "rows_at_once": _rows_at_once,
    "checkpoint_bytes": lambda v: (
        4 * v.trained_count + state_bytes(count_trained(v.config, v.config.vocab_size, v.settings), v.settings)
    ),
    "distill_alpha": lambda v: v.distill.alpha,
    "distill_temperature": lambda v: v.distill.temperature,
}
