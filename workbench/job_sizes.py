"""What a profile will be made of where it names others' work: whose weights, whose tokenizer, hence which sizes."""

from pathlib import Path

from workbench.config import ModelSettings, Profile, StageSettings
from workbench.estimate import expected_vocab_size
from workbench.model.configuration import CONFIG_FILE, ModelConfig, load_config, model_config
from workbench.tokenizer.tokenizer import Tokenizer


def first_weights(profile: Profile) -> Path | None:
    """The model directory that the first stage to train starts from; None where it starts from random weights."""
    first = _first_trained(profile)
    named = (first.from_ if first is not None else None) or _first_settings(profile).path
    return None if named is None else Path(named)


def tokenizer_origin(profile: Profile) -> Path | None:
    """Where the run's tokenizer is taken from; None where it is trained.

    Weights mean nothing under another tokenizer, so theirs comes with them: those that the first stage starts from, or
    else those of the first model directory that teaches or writes.
    """
    if profile.tokenizer.path is not None:
        return Path(profile.tokenizer.path)
    weights = first_weights(profile) or next(iter(_consulted(profile)), None)
    if weights is None or (weights / "tokenizer.json").is_file():
        return weights
    from workbench.model.adapter import tokenizer_folder  # with torch, which a screen does not wait for

    return tokenizer_folder(weights)


def expected_config(profile: Profile) -> ModelConfig:
    """The first stage's model: exact for one that exists, else the profile's over the vocabulary that it asks for.

    Raises:
        ModelError, TokenizerError: what the profile names is none.
    """
    weights = first_weights(profile)
    if weights is not None:
        return config_in(weights)
    origin = tokenizer_origin(profile)
    vocab_size = expected_vocab_size(profile.tokenizer) if origin is None else Tokenizer.load(origin).vocab_size
    return model_config(_first_settings(profile), vocab_size)


def named_models(profile: Profile) -> dict[str, ModelConfig]:
    """The config of every model directory that the profile names, by its name.

    Raises:
        ModelError: it is none.
    """
    return {named: config_in(Path(named)) for named in sorted(named_directories(profile))}


def named_directories(profile: Profile) -> set[str]:
    """The model directories that the profile names: to start from, to learn from or to let write."""
    stages = {stage.name for stage in profile.stage}
    named = {each for stage in profile.stage for each in (stage.from_, stage.teacher)} - stages
    named |= {stage.model.path for stage in profile.stage if stage.model is not None}
    return {each for each in (*named, profile.model.path) if each is not None}


def config_in(directory: Path) -> ModelConfig:
    """The config of the model in a directory, or of the one that its adapter is stacked upon."""
    return load_config(directory) if (directory / CONFIG_FILE).is_file() else _config_below(directory)


def _config_below(adapter: Path) -> ModelConfig:
    from workbench.model.adapter import load_stacked_config  # with torch, which a screen does not wait for

    return load_stacked_config(adapter)


def _first_trained(profile: Profile) -> StageSettings | None:
    return next((stage for stage in profile.stage if stage.kind != "generate"), None)


def _first_settings(profile: Profile) -> ModelSettings:
    first = _first_trained(profile)
    return profile.model if first is None or first.model is None else first.model


def _consulted(profile: Profile) -> list[Path]:
    """The model directories that teach or write, in the order of the stages."""
    stages = {stage.name for stage in profile.stage}
    named = [stage.from_ if stage.kind == "generate" else stage.teacher for stage in profile.stage]
    return [Path(each) for each in named if each is not None and each not in stages]


def unused_settings(profile: Profile) -> list[str]:
    """Settings that the profile gives and that have no effect, since others' work comes with its own: told in words."""
    told = []
    weights, origin = first_weights(profile), tokenizer_origin(profile)
    if origin is not None and (given := profile.tokenizer.model_fields_set - {"path"}):
        told.append(f"{_listed('tokenizer', given)}: not used, as the tokenizer is that of {origin}")
    if weights is not None and (given := profile.model.model_fields_set - {"path"}):
        told.append(f"{_listed('model', given)}: not used, as the first stage starts from {weights}")
    return told


def _listed(table: str, keys: set[str]) -> str:
    return ", ".join(f"{table}.{key}" for key in sorted(keys))
