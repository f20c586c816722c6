"""A model with its own tokenizer, from one directory."""

from pathlib import Path

import torch

from workbench.errors import ModelError
from workbench.model.transformer import Transformer
from workbench.model.weights import load_model
from workbench.tokenizer.tokenizer import Tokenizer


def load_both(directory: Path, device: torch.device | str = "cpu") -> tuple[Transformer, Tokenizer]:
    """The model and the tokenizer of a directory.

    Raises:
        ModelError, TokenizerError: the directory does not hold both, or they do not belong together.
    """
    model, tokenizer = load_model(directory, device=device), Tokenizer.load(directory)
    if tokenizer.vocab_size > model.config.vocab_size:
        problem = f"has {model.config.vocab_size} embeddings, its tokenizer {tokenizer.vocab_size} tokens"
        raise ModelError(str(directory), problem, "take the tokenizer that the model was trained with")
    return model, tokenizer
