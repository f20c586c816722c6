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
from workbench.stage_tables import DistillSettings as DistillSettings
from workbench.stage_tables import GenerateSettings as GenerateSettings
from workbench.stage_tables import LoraSettings as LoraSettings
from workbench.stage_tables import PreferenceSettings as PreferenceSettings

BASELINE_SUFFIX = "-alone"  # of the name of a stage that trains a student without its teacher
STAGE_PREFIX = "stage:"  # of a data reference: what that generate stage wrote

PARTS_ONLY = "parts only"  # a validation context: what tables say of each other is not looked at
_LENGTHS = ("steps", "epochs", "tokens")  # of a stage that trains: it has one of them
_TABLES_OF_KINDS = ("dpo", "distill", "generate")  # each is the kind of the stages that have it
# What a stage that only writes data goes by, beside its own table.
_GENERATE_KEYS = frozenset({"name", "kind", "from_", "data", "format", "batch_size", "generate"})
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


class StageSettings(Settings):
    """One stage of training: which loss, on which data, for how long."""

    model_config = ConfigDict(
        json_schema_extra={
            "if": {"properties": {"kind": {"const": "generate"}}},
            "else": {"oneOf": [{"required": [key]} for key in _LENGTHS]},
        }
    )

    name: str = Field(default="", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$|^$", max_length=60)
    """Unique name; the kind when absent."""
    kind: Literal["pretrain", "sft", "dpo", "distill", "generate"]
    """pretrain: every token is a target; sft: the assistant's turns are; dpo: of two answers the better gains;
    distill: learn from a teacher's probabilities; generate: train nothing, write answers that a later stage learns."""
    from_: str | None = Field(default=None, alias="from")
    """Stage or model directory to start from; the stage before when absent."""
    teacher: str | None = None
    """For a stage of kind distill: the earlier stage or the model directory to learn from."""
    data: Sources
    """Files, folders or patterns, also `bundled:FILE`, `fetched:NAME/FILE` and `stage:NAME` (what a generate stage
    wrote); or {path, weight} tables to mix."""
    format: Literal["auto", "jsonl", "json", "text", "csv", "parquet"] = "auto"
    """How the files are read; `auto` goes by name and content."""
    validation: Files = []
    """Files to measure on; a share of the data is set apart when empty."""
    validation_fraction: Fraction = 0.02
    """Share of the data set apart to measure on; 0 measures nothing."""
    sequence_length: Annotated[WholeNumber, Field(gt=0, le=1_000_000)] = 256
    """Tokens a row."""
    batch_size: Annotated[WholeNumber, Field(gt=0, le=100_000)] = 32
    """Rows by optimizer step; of dpo, pairs of them; of generate, prompts answered at once."""
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
    distill: DistillSettings | None = None
    """For a stage of kind distill."""
    generate: GenerateSettings | None = None
    """For a stage of kind generate."""
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
    model: ModelSettings | None = None
    """Sizes of a model of the stage's own, which then starts from random weights (or from path); for pretrain, sft,
    distill."""

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
        kind = given.get("kind") if isinstance(given, dict) else None
        if kind in _TABLES_OF_KINDS and given.get(kind) is None:
            given = {**given, kind: {}}
        return given

    @model_validator(mode="after")
    def _possible(self) -> "StageSettings":
        problems = self._kind_problems()
        lengths = [key for key in _LENGTHS if getattr(self, key) is not None]
        if len(lengths) != 1 and self.kind != "generate":
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
        if self.sequence_length < 2:
            problems.append("sequence_length: a row needs two tokens at least")
        if problems:
            raise ValueError("\n".join(problems))
        return self

    def _kind_problems(self) -> list[str]:
        """What does not go together with the stage's kind."""
        problems = [
            f"{table}: has no effect in a stage of kind {self.kind!r}; leave it out, or set kind = {table!r}"
            for table in _TABLES_OF_KINDS
            if getattr(self, table) is not None and self.kind != table
        ]
        if self.kind == "generate":
            idle = [
                str(field.alias or name)
                for name, field in type(self).model_fields.items()
                if name not in _GENERATE_KEYS and name not in _TABLES_OF_KINDS and getattr(self, name) != field.default
            ]
            return problems + [
                f"{key}: has no effect in a stage of kind {self.kind!r}; leave it out: it trains nothing"
                for key in idle
            ]
        if self.kind == "distill" and self.teacher is None:
            problems.append("teacher: is missing; name the earlier stage or the model directory to learn from")
        if self.kind != "distill" and self.teacher is not None:
            problems.append(
                f"teacher: has no effect in a stage of kind {self.kind!r}; leave it out, or set kind = 'distill'"
            )
        if self.model is not None and self.kind == "dpo":
            problems.append("model: a dpo stage has its reference's sizes; leave it out")
        if self.model is not None and self.from_ is not None:
            problems.append("from: has no effect beside [stage.model], the stage's own model; leave one of them out")
        return problems


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
        seen, writers = set[str](), set[str]()
        sizes_of: dict[str, ModelSettings | None] = {}
        before: ModelSettings | None = self.model
        baselines = {f"{each.name}{BASELINE_SUFFIX}" for each in self.stage if each.distill and each.distill.baseline}
        weights = self.model.path is not None  # whether a stage without from finds weights to start from
        for stage in self.stage:
            if stage.name in seen:
                problems.append(f"stage.{stage.name}.name: two stages have this name; give each its own")
            if stage.name in baselines:
                problems.append(f"stage.{stage.name}.name: it is what a baseline is called; choose another")
            for key, named in (("from", stage.from_), ("teacher", stage.teacher)):
                if named == stage.name:
                    verb = "start" if key == "from" else "learn"
                    problems.append(f"stage.{stage.name}.{key}: a stage cannot {verb} from itself")
                elif named in writers:
                    problems.append(f"stage.{stage.name}.{key}: {named} writes data and has no model; name another")
            found = stage.from_ is not None or (weights if stage.model is None else stage.model.path is not None)
            told = _written_data_problems(stage, writers) + ([] if found else _without_weights(stage))
            problems += [f"stage.{stage.name}.{problem}" for problem in told]
            seen.add(stage.name)
            if stage.kind == "generate":
                writers.add(stage.name)
                continue
            sizes = stage.model or (before if stage.from_ is None else sizes_of.get(stage.from_))
            sizes_of[stage.name] = before = sizes
            weights = True
            if sizes is not None and sizes.path is None and stage.sequence_length > sizes.max_position_embeddings:
                problems.append(
                    f"stage.{stage.name}.sequence_length: {stage.sequence_length} is longer than "
                    f"model.max_position_embeddings {sizes.max_position_embeddings}; raise that or shorten the row"
                )
            measured = not self.evaluate.stages or stage.name in self.evaluate.stages
            if self.evaluate.verse_samples and measured and not stage.prompts:
                problems.append(f"stage.{stage.name}.prompts: evaluate.verse_samples needs them to begin verses with")
        for name in self.evaluate.stages:
            if name not in seen:
                problems.append(f"evaluate.stages: there is no stage {name!r}; stages are {', '.join(sorted(seen))}")
        if problems:
            raise ValueError("\n".join(problems))
        return self


def _without_weights(stage: StageSettings) -> list[str]:
    """What a stage asks for that random weights do not have; `from: ...` and the like, to be told with its name."""
    problems = []
    if stage.kind == "dpo":
        problems.append(
            "from: there is no reference, only random weights; put an sft stage before it, or give from or model.path"
        )
    if stage.kind == "generate":
        problems.append(
            "from: there is no model that could write, only random weights; put a stage before it, or give from or "
            "model.path"
        )
    if stage.lora is not None:
        problems.append(
            "lora: there are only random weights to adapt; put a stage before it, or give from or model.path"
        )
    return problems


def _written_data_problems(stage: StageSettings, writers: set[str]) -> list[str]:
    """References to what an earlier stage wrote, where there is no such stage."""
    wanted = [file.removeprefix(STAGE_PREFIX) for file in stage.data_files if file.startswith(STAGE_PREFIX)]
    listed = ", ".join(sorted(writers)) or "none"
    return [
        f"data: {STAGE_PREFIX}{name}: there is no generate stage of this name before it; there are: {listed}"
        for name in wanted
        if name not in writers
    ]
