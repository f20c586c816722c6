"""What a profile names beside its data, looked at before anything starts."""

from collections.abc import Mapping
from pathlib import Path

import torch

from workbench.config import LoraSettings, Profile, StageSettings
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
    context = profile.model.max_position_embeddings
    contexts: dict[str, int] = {}
    for stage in profile.stage:
        if stage.kind == "generate":
            if stage.from_ is not None and stage.from_ not in models:
                load_stacked_config(Path(stage.from_))
            continue
        if stage.model is not None:
            before = None if stage.model.path is None else load_stacked_config(Path(stage.model.path))
            context = stage.model.max_position_embeddings
        elif stage.from_ is not None:
            before = models[stage.from_] if stage.from_ in models else load_stacked_config(Path(stage.from_))
            context = contexts.get(stage.from_, context)
        if before is not None:
            context = before.max_position_embeddings
        if stage.lora is not None:
            _check_targets(stage.name, stage.lora, before or expected_config(profile))
        models[stage.name], contexts[stage.name] = before, context
        if before is not None and stage.sequence_length > context:
            raise _too_long(stage, "the model", context)
        if stage.teacher is not None:
            _check_teacher(profile, stage, contexts.get(stage.teacher))
    starts = {stage.from_ for stage in profile.stage if stage.from_ not in (None, *models)}
    _check_tokenizers(profile, starts | {stage.model.path for stage in profile.stage if stage.model is not None})
    for file in data_files(profile.evaluate.questions):
        read_questions(file)
    for file in data_files(profile.evaluate.choices):
        read_choices(file)
    for file in data_files(profile.evaluate.perplexity):
        check_measurable(file)


def _too_long(stage: StageSettings, what: str, context: int) -> ModelError:
    return ModelError(
        f"stage.{stage.name}.sequence_length",
        f"{stage.sequence_length} is longer than {what}'s max_position_embeddings {context}",
        "shorten it",
    )


def _check_teacher(profile: Profile, stage: StageSettings, context: int | None) -> None:
    """Refuse a teacher that reads less, or whose tokens are not the student's.

    Args:
        context: longest that an earlier stage's model reads; None for a teacher from a directory.
    """
    assert stage.teacher is not None, "the caller looked"
    directory = Path(stage.teacher)
    config = None if context is not None else load_stacked_config(directory)
    longest = context if config is None else config.max_position_embeddings
    assert longest is not None, "one of the two is known"
    if stage.sequence_length > longest:
        raise _too_long(stage, "the teacher", longest)
    if config is None:
        return  # a stage of this run has its tokenizer
    where, origin = f"stage.{stage.name}.teacher", tokenizer_origin(profile)
    assert origin is not None, "a teacher from elsewhere brings a tokenizer where nothing else does"
    ours, theirs = Tokenizer.load(origin), tokenizer_folder(directory) / "tokenizer.json"
    difference = None
    if theirs.is_file():
        difference = first_difference(ours.vocabulary, Tokenizer.load(theirs.parent).vocabulary)
    elif config.vocab_size < ours.vocab_size:
        difference = f"the teacher has {config.vocab_size:,} tokens, the student {ours.vocab_size:,}"
    if difference is not None:
        problem = f"{directory} has another vocabulary than the student, whose tokenizer is {origin}: {difference}"
        raise ModelError(where, problem, f"let the student have the teacher's: tokenizer.path = {str(directory)!r}")


def first_difference(student: Mapping[str, int], teacher: Mapping[str, int]) -> str | None:
    """Where two vocabularies (ids by token) first differ, in words; None where every id stands for the same."""
    ours, theirs = ({number: token for token, number in side.items()} for side in (student, teacher))
    count = max([*ours, *theirs], default=-1) + 1
    first = next((number for number in range(count) if ours.get(number) != theirs.get(number)), None)
    if first is None:
        return None
    here, there = (repr(side[first]) if first in side else "nothing" for side in (ours, theirs))
    sizes = f"the teacher has {len(theirs):,} tokens, the student {len(ours):,}"
    return f"{sizes}; the first that differ are at id {first}: {there} for the teacher, {here} for the student"


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
