"""What a profile names beside its data, looked at before anything starts."""

from pathlib import Path

import torch

from workbench.config import LoraSettings, Profile
from workbench.errors import ModelError
from workbench.evaluation.file_perplexity import check_measurable
from workbench.evaluation.multiple_choice import read_choices
from workbench.evaluation.suite import read_questions
from workbench.job_data import check_data, data_files
from workbench.job_sizes import expected_config, tokenizer_origin
from workbench.model.adapter import load_stacked_config, tokenizer_folder
from workbench.model.configuration import ModelConfig
from workbench.model.lora import target_names
from workbench.model.transformer import Transformer
from workbench.tokenizer.tokenizer import Tokenizer

_SAME = "leave [tokenizer] out, or set tokenizer.path to the directory that the weights came with"


def check_inputs(profile: Profile) -> None:
    """Find out now, not after an hour of training, that a model, a tokenizer or a file of questions is none.

    Raises:
        UsageError: which, and why.
    """
    check_data(profile)
    before = None if profile.model.path is None else load_stacked_config(Path(profile.model.path))
    models: dict[str, ModelConfig | None] = {}
    for stage in profile.stage:
        if stage.from_ is not None:
            before = models[stage.from_] if stage.from_ in models else load_stacked_config(Path(stage.from_))
        if stage.lora is not None:
            _check_targets(stage.name, stage.lora, before or expected_config(profile))
        models[stage.name] = before
        if before is not None and stage.sequence_length > before.max_position_embeddings:
            raise ModelError(
                f"stage.{stage.name}.sequence_length",
                f"{stage.sequence_length} is longer than the model's max_position_embeddings "
                f"{before.max_position_embeddings}",
                "shorten it",
            )
    _check_tokenizers(profile, {stage.from_ for stage in profile.stage if stage.from_ not in (None, *models)})
    for file in data_files(profile.evaluate.questions):
        read_questions(file)
    for file in data_files(profile.evaluate.choices):
        read_choices(file)
    for file in data_files(profile.evaluate.perplexity):
        check_measurable(file)


def _check_targets(stage: str, lora: LoraSettings, config: ModelConfig) -> None:
    with torch.device("meta"):
        model = Transformer(config)
    try:
        target_names(model, lora.target_modules)
    except ModelError as error:
        raise ModelError(f"stage.{stage}.{error.where}", error.problem, error.remedy) from error


def _check_tokenizers(profile: Profile, starts: set[str | None]) -> None:
    """Weights mean nothing under another tokenizer than they were trained with.

    Args:
        starts: the model directories that stages start from.
    """
    origin = tokenizer_origin(profile)
    tokenizer = None if origin is None else Tokenizer.load(origin)
    for directory in sorted({profile.model.path, *starts} - {None}, key=str):
        theirs = tokenizer_folder(Path(str(directory))) / "tokenizer.json"
        if not theirs.is_file():
            continue  # weights alone: the size of the vocabulary is all that can be compared
        if tokenizer is None or not Tokenizer.load(theirs.parent).vocabulary.items() <= tokenizer.vocabulary.items():
            where = "a tokenizer of its own" if origin is None else str(origin)
            raise ModelError(str(directory), f"comes with another tokenizer than the run's, which is {where}", _SAME)
