"""A small LLaMA with random weights, a byte tokenizer, and a model that says what a test tells it to."""

from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor

from workbench.model.configuration import ModelConfig
from workbench.model.kv_cache import KVCache
from workbench.model.transformer import Transformer
from workbench.tokenizer.characters import byte_tokenizer
from workbench.tokenizer.chatml import DEFAULT_TEMPLATE
from workbench.tokenizer.tokenizer import Tokenizer


def tiny_config(max_position_embeddings: int) -> ModelConfig:
    return ModelConfig(
        vocab_size=300,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        max_position_embeddings=max_position_embeddings,
    )


class Parrot(Transformer):
    """Says the replies it was given, one after the other, and ends each with its end-of-turn token.

    It notes what it was given to read: `seen` holds the ids of each answer's context, `read` how many of them
    were new to it.
    """

    def __init__(self, tokenizer: Tokenizer, end_id: int, max_position_embeddings: int) -> None:
        super().__init__(tiny_config(max_position_embeddings))
        self.tokenizer, self.end_id = tokenizer, end_id
        self.replies: list[Sequence[int] | Exception] = []
        self.on_token: Callable[[], None] = lambda: None
        self.seen: list[list[int]] = []
        self.read: list[int] = []
        self._known: list[int] = []
        self._left: list[int] = []
        self._answered = True

    def say(self, *replies: str | Sequence[int] | Exception) -> None:
        self.replies += [self.tokenizer.encode(reply) if isinstance(reply, str) else reply for reply in replies]

    def hidden_states(
        self, input_ids: Tensor, cache: KVCache | None = None, document_starts: Tensor | None = None
    ) -> Tensor:
        assert cache is not None
        ids = input_ids[0].tolist()
        continuing = self._left and cache.length == len(self._known) and ids == [self._said]
        self._known = [*self._known[: cache.length], *ids]
        cache.advance(len(ids))
        if not continuing:
            self.seen.append(list(self._known))
            self.read.append(len(ids))
            reply = self.replies.pop(0)
            if isinstance(reply, Exception):
                raise reply
            self._left = [*reply, self.end_id]
        self.on_token()
        self._said = self._left.pop(0)
        hidden = torch.zeros(1, len(ids), self.config.vocab_size)
        hidden[0, -1, self._said] = 100.0
        return hidden

    @property
    def head_weight(self) -> Tensor:
        return torch.eye(self.config.vocab_size)


@pytest.fixture
def model() -> Transformer:
    model = Transformer(tiny_config(max_position_embeddings=64))
    return with_random_weights(model)


@pytest.fixture
def long_model() -> Transformer:
    return with_random_weights(Transformer(tiny_config(max_position_embeddings=512)))


def with_random_weights(model: Transformer) -> Transformer:
    # Larger than an initialisation would be: flat logits would make every continuation the same.
    generator = torch.Generator().manual_seed(11)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.4)
    return model.eval()


@pytest.fixture
def tokenizer() -> Tokenizer:
    return Tokenizer(byte_tokenizer(), {}, DEFAULT_TEMPLATE)


@pytest.fixture
def plain_tokenizer() -> Tokenizer:
    return Tokenizer(byte_tokenizer(), {}, None)


@pytest.fixture
def parrot(tokenizer: Tokenizer) -> Parrot:
    [end_of_turn] = tokenizer.stop_token_ids - {tokenizer.eos_token_id}
    return Parrot(tokenizer, end_of_turn, max_position_embeddings=400)


@pytest.fixture
def text_parrot(plain_tokenizer: Tokenizer) -> Parrot:
    return Parrot(plain_tokenizer, plain_tokenizer.eos_token_id, max_position_embeddings=64)
