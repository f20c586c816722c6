"""The tables that a stage may have beside its own keys: LoRA, and what its kind needs."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from workbench.setting_types import (
    Fraction,
    NonNegativeInt,
    OneOrMoreFiles,
    PositiveInt,
    Settings,
    WholeNumber,
)

OneOrMoreNames = OneOrMoreFiles


class LoraSettings(Settings):
    """Small matrices that are trained beside the weights, which stand still."""

    rank: Annotated[WholeNumber, Field(gt=0, le=4096)] = 8
    """Width of the added matrices."""
    alpha: Annotated[float, Field(gt=0)] = 16.0
    """Weight of the update: it is scaled by alpha / rank."""
    dropout: Fraction = 0.0
    """Share of the inputs that a training step hides from the added matrices."""
    target_modules: OneOrMoreNames = ["all-linear"]
    """Layers to adapt, such as `q_proj`; `all-linear` for every linear layer of the blocks."""
    rank_stabilized: bool = False
    """Scale by alpha / sqrt(rank), so that wide matrices learn as fast as narrow ones."""
    quantize: Literal["none", "int8"] = "none"
    """Keep the weights that stand still in int8, in a quarter of the memory; merged weights are floats again."""
    merge: bool = True
    """Write the weights with the update in them as the stage's model; otherwise the adapter alone is its result."""


class PreferenceSettings(Settings):
    """How a `dpo` stage learns from pairs of a better and a worse answer."""

    loss: Literal["sigmoid", "ipo", "simpo", "orpo"] = "sigmoid"
    """sigmoid: DPO; ipo: bounded, for clear preferences; simpo and orpo: by mean log-probability, no reference."""
    beta: Annotated[float, Field(gt=0)] = 0.1
    """Hold of the reference: the larger, the less answers drift from it. Of orpo the weight of the odds ratio; simpo
    takes 2 and more."""
    label_smoothing: Annotated[float, Field(ge=0, lt=0.5)] = 0.0
    """Share of pairs taken to be the wrong way round; for sigmoid and simpo."""
    gamma: Annotated[float, Field(ge=0)] = 0.5
    """By how much simpo wants the better answer to lead, before beta."""
    sft_weight: Annotated[float, Field(ge=0)] = 0.0
    """Weight of plain fine-tuning on the better answers beside it: without, both answers may get rarer, as long as the
    worse does faster. orpo has it already, with weight 1."""

    @property
    def imitation(self) -> float:
        """The weight of fine-tuning on the better answers, whatever the loss calls it."""
        return 1.0 if self.loss == "orpo" else self.sft_weight

    @property
    def has_reference(self) -> bool:
        """Whether the loss compares with a frozen reference."""
        return self.loss not in ("simpo", "orpo")

    @model_validator(mode="after")
    def _possible(self) -> "PreferenceSettings":
        problems = []
        if self.label_smoothing and self.loss in ("ipo", "orpo"):
            problems.append(f"label_smoothing: has no effect with loss = {self.loss!r}; leave it out")
        if self.gamma != type(self).model_fields["gamma"].default and self.loss != "simpo":
            problems.append(f"gamma: has no effect with loss = {self.loss!r}; leave it out")
        if self.sft_weight and self.loss == "orpo":
            problems.append("sft_weight: orpo imitates the better answers already; leave it out")
        if problems:
            raise ValueError("\n".join(problems))
        return self


class DistillSettings(Settings):
    """How a `distill` stage learns from its teacher."""

    alpha: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Share of the data itself: the loss is alpha * cross-entropy + (1 - alpha) * temperature^2 * divergence."""
    temperature: Annotated[float, Field(gt=0, le=100)] = 1.0
    """Divides the logits of both before they are compared: above 1, unlikely tokens count for more."""
    direction: Literal["forward", "reverse"] = "forward"
    """forward: the student covers all that the teacher may say; reverse: it keeps to what the teacher finds likely."""
    targets: Literal["auto", "all", "assistant"] = "auto"
    """Which tokens are learned: all of a text, as in pretrain; those of the assistant's turns, as in sft; `auto` goes
    by the data."""
    cache_top_k: NonNegativeInt = 0
    """Ask the teacher once, before the first step, and keep on the disk so many of its likeliest tokens a target; 0
    asks it in every step."""
    baseline: bool = False
    """Also train the same student without the teacher, in a stage of its own called NAME-alone, to compare with."""


class GenerateSettings(Settings):
    """How a `generate` stage lets a model answer prompts."""

    temperature: Annotated[float, Field(ge=0, le=100)] = 0.8
    """Divides the logits; 0 takes the likeliest token."""
    top_k: NonNegativeInt = 0
    """Draw among so many likeliest tokens; 0 is off."""
    top_p: Annotated[float, Field(gt=0, le=1)] = 0.95
    """Draw among the fewest likeliest tokens that reach this probability together; 1 is off."""
    min_p: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Draw among tokens at least this share as likely as the likeliest; 0 is off."""
    repetition_penalty: Annotated[float, Field(gt=0)] = 1.0
    """Makes tokens that were there before less likely; 1 is off."""
    max_new_tokens: PositiveInt = 256
    """Longest answer in tokens; one that is not over by then is kept as it is, and counted as cut."""
    samples: Annotated[WholeNumber, Field(gt=0, le=1000)] = 1
    """Answers to each prompt."""
    limit: PositiveInt | None = None
    """Prompts at most, from the head of the data; all when absent."""
    seed: Annotated[WholeNumber, Field(ge=0, lt=2**53)] | None = None
    """Seed of the random numbers; `run.seed` when absent."""

    @model_validator(mode="after")
    def _possible(self) -> "GenerateSettings":
        if self.samples > 1 and self.temperature == 0:
            raise ValueError(f"samples: {self.samples} answers at temperature 0 would be the same; raise temperature")
        return self
