"""What a profile names beside its data, looked at before anything starts."""

from pathlib import Path

from workbench.config import Profile
from workbench.errors import ModelError
from workbench.evaluation.suite import read_questions
from workbench.job_stage import data_files
from workbench.model.configuration import ModelConfig
from workbench.model.weights import load_config
from workbench.tokenizer.tokenizer import Tokenizer


def check_inputs(profile: Profile) -> None:
    """Find out now, not after an hour of training, that a model, a tokenizer or a file of questions is none.

    Raises:
        UsageError: which, and why.
    """
    before = None if profile.model.path is None else load_config(Path(profile.model.path))
    models: dict[str, ModelConfig | None] = {}
    for stage in profile.stage:
        if stage.from_ is not None:
            before = models[stage.from_] if stage.from_ in models else load_config(Path(stage.from_))
        models[stage.name] = before
        if before is not None and stage.sequence_length > before.max_position_embeddings:
            raise ModelError(
                f"stage.{stage.name}.sequence_length",
                f"{stage.sequence_length} is longer than the model's max_position_embeddings "
                f"{before.max_position_embeddings}",
                "shorten it",
            )
    if (tokenizer := profile.tokenizer.path or profile.model.path) is not None:
        Tokenizer.load(Path(tokenizer))
    for file in data_files(profile.evaluate.questions):
        read_questions(file)
