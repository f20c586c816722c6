"""Every setting, declared once: type, safe default, range, one sentence with its unit.

Profiles, the command line, the form of the Profile screen and the JSON Schema all read these classes.
"""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Discriminator, Field, Tag, ValidationInfo, model_validator

from workbench.control import MAX_LEARNING_RATE
from workbench.model_settings import ModelSettings as ModelSettings
from workbench.setting_types import (
    Files,
    Fraction,
    NonNegativeInt,
    OneOrMoreFiles,
    PositiveInt,
    Settings,
    WholeNumber,
    as_sources,
)

OneOrMoreNames = OneOrMoreFiles

PARTS_ONLY = "parts only"  # a validation context: what tables say of each other is not looked at
_LENGTHS = ("steps", "epochs", "tokens")  # of a stage: it has one of them
# What a run's folder holds beside its stages.
_TAKEN_NAMES = ("tokenizer", "lock")
_TAKEN_ENDINGS = (".toml", ".json", ".jsonl", ".md", ".log")


class RunSettings(Settings):
    """Where and how the whole run is computed."""

    name: str | None = Field(default=None, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=80)
    """Name of the run's folder; the profile's name when absent."""
    seed: Annotated[WholeNumber, Field(ge=0, lt=2**63)] = 1337
    """Seed of initial weights, data order and samples."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Where to compute; `auto` takes CUDA, then Apple's GPU, then the CPU."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """Arithmetic of matrix products; `auto` takes what is fast here. fp16 scales the loss. Weights stay in float32."""
    compile: bool | Literal["auto"] = "auto"
    """Use torch.compile; `auto` does not: compiling takes minutes, which only a run of hours makes up for."""
    threads: Annotated[WholeNumber, Field(gt=0, le=1024)] | Literal["auto"] = "auto"
    """CPU threads; `auto` measures what is fastest for the model's sizes."""
    parallel: Literal["auto", "ddp", "fsdp"] = "auto"
    """How several processes of torchrun train: ddp (which `auto` takes), each with the whole model; or fsdp, each with
    a part of weights, gradients and optimizer state."""
    workspace: str = "runs"
    """Folder that holds the runs, relative to the current folder."""


class TokenizerSettings(Settings):
    """How text becomes numbers."""

    path: str | None = None
    """An existing tokenizer.json, or a directory that holds one; the other settings are then left out."""
    kind: Literal["bpe", "characters", "bytes"] = "bpe"
    """Byte-level BPE, one token a character, or one token a byte."""
    vocab_size: Annotated[WholeNumber, Field(gt=0, le=1_000_000)] = 2048
    """Number of tokens of a BPE tokenizer, special tokens included."""
    pre_tokenizer: Literal["gpt-2", "smollm", "qwen2", "llama-bpe"] = "qwen2"
    """How text is cut before merging, by the name llama.cpp knows it under."""
    split_digits: bool = False
    """Make each digit a token of its own; `smollm` and `qwen2` always do."""
    sample_bytes: PositiveInt = 50_000_000
    """Bytes of training text that BPE training looks at, at most."""
    special_tokens: list[str] = []
    """Further special tokens, after those of the chat template."""
    data: Files = []
    """Files to train the tokenizer on; the data of all stages when empty."""

    @model_validator(mode="after")
    def _possible(self) -> "TokenizerSettings":
        for token in self.special_tokens:
            if len(token.strip()) < 2:
                remedy = "give each token a name, such as '<|tool|>'"
                raise ValueError(f"special_tokens: {token!r} would be met in ordinary text; {remedy}")
        if self.kind == "bpe" and self.path is None and self.vocab_size < 300:
            raise ValueError(
                f"vocab_size: {self.vocab_size} is too small for byte-level BPE; 256 bytes and the special "
                "tokens alone need 300, or choose kind = 'bytes'"
            )
        if self.split_digits and self.pre_tokenizer == "llama-bpe":
            raise ValueError(
                "split_digits: llama.cpp knows no digit-splitting form of 'llama-bpe'; choose 'smollm' or 'qwen2'"
            )
        return self


class OptimizerSettings(Settings):
    """How gradients move the weights."""

    name: Literal["adamw", "muon"] = "adamw"
    """adamw; or muon, which moves the blocks' matrices by orthogonal updates and learns more from each token."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.1
    """Pull of the matrices towards zero; norms and biases have none."""
    betas: Annotated[tuple[Fraction, Fraction], Field(strict=False)] = (0.9, 0.95)  # TOML has lists only
    """Memory of the gradient and of its square, as shares kept by step."""
    eps: Annotated[float, Field(gt=0)] = 1e-8
    """Added to the root of the squared gradient's memory."""
    momentum: Fraction = 0.95
    """Memory of the gradient in Muon, as a share kept by step."""
    state: Literal["fp32", "bf16", "int8"] = "fp32"
    """How its memories are kept: bf16 takes half of the room and int8 a quarter, for a slower step."""


class DataSource(Settings):
    """One of several data sets that a stage mixes."""

    path: OneOrMoreFiles
    """Its files, folders or patterns, as for `data`."""
    weight: Annotated[float, Field(gt=0)]
    """Its share of the rows, relative to the other weights."""


def _kind_of_source(value: Any) -> str:
    return "table" if isinstance(value, dict | DataSource) else "file"


_Source = Annotated[
    Annotated[str, Tag("file")] | Annotated[DataSource, Tag("table")],
    Discriminator(_kind_of_source),  # so that what is wrong with one form is not told of the other as well
]
Sources = Annotated[
    list[_Source],
    Field(min_length=1),
    BeforeValidator(
        as_sources,
        json_schema_input_type=str | DataSource | Annotated[list[str | DataSource], Field(min_length=1)],
    ),
]


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


class StageSettings(Settings):
    """One stage of training: which loss, on which data, for how long."""

    model_config = ConfigDict(json_schema_extra={"oneOf": [{"required": [key]} for key in _LENGTHS]})

    name: str = Field(default="", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$|^$", max_length=60)
    """Unique name; the kind when absent."""
    kind: Literal["pretrain", "sft", "dpo"]
    """pretrain: every token is a target; sft: the assistant's turns are; dpo: of two answers the better gains."""
    from_: str | None = Field(default=None, alias="from")
    """Stage or model directory to start from; the stage before when absent."""
    data: Sources
    """Files, folders or patterns, also `bundled:FILE` and `fetched:NAME/FILE`; or {path, weight} tables to mix."""
    format: Literal["auto", "jsonl", "json", "text", "csv", "parquet"] = "auto"
    """How the files are read; `auto` goes by name and content."""
    validation: Files = []
    """Files to measure on; a share of the data is set apart when empty."""
    validation_fraction: Fraction = 0.02
    """Share of the data set apart to measure on; 0 measures nothing."""
    sequence_length: Annotated[WholeNumber, Field(gt=0, le=1_000_000)] = 256
    """Tokens a row."""
    batch_size: Annotated[WholeNumber, Field(gt=0, le=100_000)] = 32
    """Rows by optimizer step; of dpo, pairs of them."""
    micro_batch_size: PositiveInt | Literal["auto"] = "auto"
    """Rows computed at once; `auto` takes as many as fit into memory. The result does not depend on it."""
    steps: PositiveInt | None = None
    """Length in optimizer steps; one of steps, epochs, tokens."""
    epochs: Annotated[float, Field(gt=0)] | None = None
    """Length in passes over the data."""
    tokens: PositiveInt | None = None
    """Length in tokens."""
    learning_rate: Annotated[float, Field(gt=0, le=MAX_LEARNING_RATE)] = 1e-3
    """Peak learning rate, reached after the warmup."""
    min_learning_rate_ratio: Annotated[float, Field(ge=0, le=1)] = 0.1
    """Learning rate at the end, as a share of the peak."""
    schedule: Literal["cosine", "linear", "wsd", "constant"] = "cosine"
    """Course of the learning rate after the warmup; wsd stays at the peak and falls at the end."""
    decay_fraction: Annotated[float, Field(gt=0, le=1)] = 0.2
    """Share of the steps, at their end, over which wsd falls."""
    warmup: NonNegativeInt = 0
    """Steps over which the learning rate rises from zero."""
    clip: Annotated[float, Field(ge=0)] = 1.0
    """Largest gradient norm; longer gradients are shortened to it. 0 leaves them alone."""
    optimizer: OptimizerSettings = OptimizerSettings()
    ema: Fraction = 0.0
    """Share kept by step of a moving average of the weights, which is then measured and saved; 0 makes none."""
    gradient_checkpointing: bool = False
    """Compute each block twice instead of keeping its inside: less memory, about a third more time, same result."""
    lora: LoraSettings | None = None
    """LoRA: present, small added matrices are trained in place of the weights."""
    dpo: PreferenceSettings | None = None
    """For a stage of kind dpo."""
    isolate_documents: bool = True
    """Keep documents that share a row from seeing each other."""
    log_every: PositiveInt = 10
    """Steps between reports."""
    evaluate_every: NonNegativeInt = 100
    """Steps between validations; 0 validates at the start and the end only."""
    evaluate_batches: PositiveInt = 50
    """Batches of a validation, at most."""
    patience: NonNegativeInt = 0
    """Validations in a row without a better loss after which the stage ends early; 0 never does."""
    result: Literal["last", "best"] = "last"
    """Which weights become the stage's model: those of its last step, or of its best validation."""
    sample_every: NonNegativeInt = 100
    """Steps between samples; 0 samples at the start and the end only."""
    prompts: list[str] = []
    """Texts to continue (pretrain) or questions to answer (sft, dpo) as samples."""
    sample_tokens: PositiveInt = 60
    """Length of a sample in tokens, at most."""
    checkpoint_every: NonNegativeInt = 0
    """Steps between checkpoints; 0 keeps one at most every ten minutes and the one at the end."""
    keep: PositiveInt = 2
    """Newest checkpoints that stay on the disk, beside the best."""

    @property
    def data_files(self) -> list[str]:
        """Every file reference of `data`, of all data sets."""
        return [file for source in self.data for file in ([source] if isinstance(source, str) else source.path)]

    @property
    def data_sources(self) -> list[DataSource]:
        """The data sets to mix; none where `data` is one of files alone."""
        return [source for source in self.data if isinstance(source, DataSource)]

    @model_validator(mode="before")
    @classmethod
    def _name_it(cls, given: Any) -> Any:
        if isinstance(given, dict) and not given.get("name") and isinstance(given.get("kind"), str):
            given = {**given, "name": given["kind"]}
        if isinstance(given, dict) and given.get("kind") == "dpo" and given.get("dpo") is None:
            given = {**given, "dpo": {}}
        return given

    @model_validator(mode="after")
    def _possible(self) -> "StageSettings":
        problems = []
        lengths = [key for key in _LENGTHS if getattr(self, key) is not None]
        if len(lengths) != 1:
            found = " and ".join(lengths) if lengths else "none"
            problems.append(f"steps: exactly one of steps, epochs and tokens says how long the stage is; found {found}")
        if 0 < len(self.data_sources) < len(self.data):
            problems.append("data: give every data set a weight, as {path, weight}, or none of them")
        if self.steps is not None and self.warmup >= self.steps:
            problems.append(f"warmup: {self.warmup} steps are no less than the stage's {self.steps}")
        if self.name.lower() in _TAKEN_NAMES or self.name.lower().endswith(_TAKEN_ENDINGS):
            problems.append(f"name: {self.name!r} is what another file of the run's folder is called; choose another")
        unmeasured = not self.validation and not self.validation_fraction
        for key, used in (("patience", self.patience > 0), ("result", self.result == "best")):
            if used and (unmeasured or not self.evaluate_every):
                value = self.patience if key == "patience" else repr(self.result)
                problems.append(
                    f"{key}: {value} needs validations along the way; set evaluate_every above 0, and "
                    "validation_fraction above 0 or validation"
                )
        if self.schedule != "wsd" and self.decay_fraction != type(self).model_fields["decay_fraction"].default:
            problems.append("decay_fraction: has no effect beside another schedule than 'wsd'; leave it out")
        if self.dpo is not None and self.kind != "dpo":
            problems.append(f"dpo: has no effect in a stage of kind {self.kind!r}; leave it out, or set kind = 'dpo'")
        if self.sequence_length < 2:
            problems.append("sequence_length: a row needs two tokens at least")
        if problems:
            raise ValueError("\n".join(problems))
        return self


class EvaluateSettings(Settings):
    """What a finished stage is measured on."""

    questions: Files = []
    """Files of {"question", "answer", "language"} whose answers must be met exactly."""
    perplexity: Files = []
    """Files of texts or conversations whose tokens are predicted: perplexity and bits per byte."""
    choices: Files = []
    """Files of {"question", "choices", "answer"} whose likeliest choice must be the answer."""
    prompts: list[str] = []
    """Texts to go on with, or to answer after sft: how much the likeliest continuations repeat themselves."""
    prompt_tokens: PositiveInt = 128
    """Length of such a continuation in tokens, at most."""
    throughput: bool = False
    """Measure how many tokens a second are read and written."""
    batch_size: Annotated[WholeNumber, Field(gt=0, le=4096)] = 32
    """Texts computed at once; the scores do not depend on it."""
    stages: list[str] = []
    """Stages to measure before and after; every stage when empty."""
    max_new_tokens: PositiveInt = 32
    """Longest answer in tokens."""
    verse_samples: NonNegativeInt = 0
    """Chinese verses to sample and to measure: the share whose lines are all of five or all of seven characters."""


class Profile(Settings):
    """A whole life of a model: one file, one run."""

    description: str = ""
    """What it makes, in one line."""
    measured: str = ""
    """How long it took, on what machine."""
    run: RunSettings = RunSettings()
    tokenizer: TokenizerSettings = TokenizerSettings()
    model: ModelSettings = ModelSettings()
    stage: list[StageSettings] = Field(min_length=1)
    """The stages, in order, each begun with [[stage]]."""
    evaluate: EvaluateSettings = EvaluateSettings()

    @model_validator(mode="after")
    def _consistent(self, info: ValidationInfo) -> "Profile":
        if info.context == PARTS_ONLY:
            return self
        problems = []
        seen: set[str] = set()
        for stage in self.stage:
            if stage.name in seen:
                problems.append(f"stage.{stage.name}.name: two stages have this name; give each its own")
            if stage.from_ is not None and stage.from_ == stage.name:
                problems.append(f"stage.{stage.name}.from: a stage cannot start from itself")
            if stage.kind == "dpo" and stage is self.stage[0] and stage.from_ is None and self.model.path is None:
                problems.append(
                    f"stage.{stage.name}.from: there is no reference, only random weights; put an sft stage before it, "
                    "or give from or model.path"
                )
            if stage.lora is not None and stage is self.stage[0] and stage.from_ is None and self.model.path is None:
                problems.append(
                    f"stage.{stage.name}.lora: there are only random weights to adapt; put a stage before it, or give "
                    "from or model.path"
                )
            if self.model.path is None and stage.sequence_length > self.model.max_position_embeddings:
                problems.append(
                    f"stage.{stage.name}.sequence_length: {stage.sequence_length} is longer than "
                    f"model.max_position_embeddings {self.model.max_position_embeddings}; raise that or shorten the row"
                )
            seen.add(stage.name)
            measured = not self.evaluate.stages or stage.name in self.evaluate.stages
            if self.evaluate.verse_samples and measured and not stage.prompts:
                problems.append(f"stage.{stage.name}.prompts: evaluate.verse_samples needs them to begin verses with")
        for name in self.evaluate.stages:
            if name not in seen:
                problems.append(f"evaluate.stages: there is no stage {name!r}; stages are {', '.join(sorted(seen))}")
        if problems:
            raise ValueError("\n".join(problems))
        return self
