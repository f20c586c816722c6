"""What a stage starts from, or learns from: an earlier stage, a model directory, or random weights."""

from collections.abc import Mapping
from pathlib import Path

from workbench.config import ModelSettings, Profile, StageSettings
from workbench.data.file_hashes import content_hash
from workbench.errors import ModelError
from workbench.job_plan import fingerprint
from workbench.job_setting import Parent
from workbench.locations import file_hashes
from workbench.model.adapter import adapter_folder, weights_hash
from workbench.model.configuration import CONFIG_FILE
from workbench.model.transformer import Transformer
from workbench.tokenizer.tokenizer import Tokenizer


def parent_of(profile: Profile, stage: StageSettings, before: str | None, parents: Mapping[str, Parent]) -> Parent:
    """What `stage` starts from.

    Args:
        before: the stage before it that has a model; None where there is none.
        parents: the finished stages by name.
    """
    if stage.model is not None:
        return _fresh(stage.model, profile.run.seed)
    if stage.from_ is not None and stage.from_ not in parents:
        return foreign(Path(stage.from_))
    name = stage.from_ or before
    return _fresh(profile.model, profile.run.seed) if name is None else parents[name]


def teacher_of(stage: StageSettings, parents: Mapping[str, Parent]) -> Parent | None:
    """What a distill stage learns from; None for every other."""
    return None if stage.teacher is None else parents.get(stage.teacher) or foreign(Path(stage.teacher))


def _fresh(settings: ModelSettings, seed: int) -> Parent:
    """The model of a `[model]` table."""
    if settings.path is not None:
        return foreign(Path(settings.path))
    return Parent(None, fingerprint(settings.model_dump(mode="json"), seed), (), None, {})


def foreign(directory: Path) -> Parent:
    """The model in a directory."""
    if adapter_folder(directory) is not None:
        return Parent(directory, fingerprint(weights_hash(directory)), (), str(directory), {})
    files = sorted([directory / CONFIG_FILE, *directory.glob("*.safetensors")])
    contents = [(path.name, content_hash(path, file_hashes(), lambda: False)) for path in files]
    return Parent(directory, fingerprint(contents), (), str(directory), {})


def check_vocabulary(model: Transformer, tokenizer: Tokenizer, directory: Path) -> None:
    """Refuse a model whose embeddings do not fit the run's tokenizer: its ids would mean other text.

    Raises:
        ModelError: with both sizes.
    """
    if tokenizer.vocab_size > model.config.vocab_size:
        raise ModelError(
            str(directory),
            f"has {model.config.vocab_size} embeddings, the tokenizer {tokenizer.vocab_size} tokens",
            "set tokenizer.path to the directory the model came with",
        )
