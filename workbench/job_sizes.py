"""What a profile will be made of where it names others' work: whose weights, whose tokenizer, hence which sizes."""

from pathlib import Path

from workbench.config import Profile
from workbench.estimate import expected_vocab_size
from workbench.model.configuration import CONFIG_FILE, ModelConfig, load_config, model_config
from workbench.tokenizer.tokenizer import Tokenizer


def first_weights(profile: Profile) -> Path | None:
    """The model directory that the first stage starts from; None where it starts from random weights."""
    named = profile.stage[0].from_ or profile.model.path
    return None if named is None else Path(named)


def tokenizer_origin(profile: Profile) -> Path | None:
    """Where the run's tokenizer is taken from; None where it is trained.

    Weights mean nothing under another tokenizer, so theirs comes with them.
    """
    if profile.tokenizer.path is not None:
        return Path(profile.tokenizer.path)
    weights = first_weights(profile)
    if weights is None or (weights / "tokenizer.json").is_file():
        return weights
    from workbench.model.adapter import tokenizer_folder  # with torch, which a screen does not wait for

    return tokenizer_folder(weights)


def expected_config(profile: Profile) -> ModelConfig:
    """The model's sizes: exact for one that exists, else the profile's over the vocabulary that it asks for.

    Raises:
        ModelError, TokenizerError: what the profile names is none.
    """
    weights = first_weights(profile)
    if weights is not None:
        return load_config(weights) if (weights / CONFIG_FILE).is_file() else _config_below(weights)
    origin = tokenizer_origin(profile)
    vocab_size = expected_vocab_size(profile.tokenizer) if origin is None else Tokenizer.load(origin).vocab_size
    return model_config(profile.model, vocab_size)


def _config_below(adapter: Path) -> ModelConfig:
    from workbench.model.adapter import load_stacked_config  # with torch, which a screen does not wait for

    return load_stacked_config(adapter)


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
