"""A model with its own tokenizer, from one directory."""

from pathlib import Path

import torch

from workbench.errors import ModelError
from workbench.model.adapter import load_stacked, tokenizer_folder
from workbench.model.transformer import Transformer
from workbench.tokenizer.tokenizer import Tokenizer


def load_both(
    directory: Path, device: torch.device | str = "cpu", base: Path | None = None
) -> tuple[Transformer, Tokenizer]:
    """The model and the tokenizer of a directory; an adapter is merged into its base.

    Args:
        base: in place of the base that an adapter names.
    Raises:
        ModelError, TokenizerError: the directory does not hold both, or they do not belong together.
    """
    model, tokenizer = load_stacked(directory, device, base=base), Tokenizer.load(tokenizer_folder(directory, base))
    if tokenizer.vocab_size > model.config.vocab_size:
        problem = f"has {model.config.vocab_size} embeddings, its tokenizer {tokenizer.vocab_size} tokens"
        raise ModelError(str(directory), problem, "take the tokenizer that the model was trained with")
    return model, tokenizer
