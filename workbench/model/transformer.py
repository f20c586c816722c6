"""The decoder of LLaMA, Qwen3 and their mixtures of experts, from token ids to logits, on one page.

Source: Touvron et al. 2023, arXiv:2302.13971; Yang et al. 2025, arXiv:2505.09388.

Modules carry Hugging Face's parameter names, so that loading and saving weights renames nothing.
"""

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import workbench_kernels
from workbench.model.attention import Attention
from workbench.model.configuration import ModelConfig
from workbench.model.feed_forward import FeedForward
from workbench.model.kv_cache import KVCache
from workbench.model.moe import MixtureOfExperts
from workbench.model.norm import RMSNorm
from workbench.model.rotary import RotaryTables
from workbench.model.routing import Routing

T = TypeVar("T")


class Block(nn.Module):
    """Attention, then feed-forward, each on a normalised copy of the residual stream and added to it."""

    def __init__(self, config: ModelConfig, layer: int, routing: Routing | None) -> None:
        super().__init__()
        self.input_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.self_attn = Attention(config, layer)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        if routing is None:
            self.mlp: nn.Module = FeedForward(config.hidden_size, config.intermediate_size)
        else:
            self.mlp = MixtureOfExperts(config, routing)

    def forward(
        self,
        x: Tensor,
        rotary: tuple[Tensor, Tensor],
        documents: workbench_kernels.Documents | None,
        cache: KVCache | None,
    ) -> Tensor:
        """x and the result: (batch, seq, hidden_size)."""
        attended = self.self_attn(self.input_layernorm(x), rotary, documents, cache)
        normed, x = self.post_attention_layernorm.of_sum(attended, x)
        return x + self.mlp(normed)


class Decoder(nn.Module):
    """Token ids to the hidden states after the last norm."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.routing = Routing(config) if config.num_experts else None
        self.layers = nn.ModuleList(Block(config, layer, self.routing) for layer in range(config.num_hidden_layers))
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.rotary = RotaryTables(config)
        self.recompute_activations = False

    def forward(self, input_ids: Tensor, cache: KVCache | None, document_starts: Tensor | None) -> Tensor:
        """input_ids: (batch, seq); the result: (batch, seq, hidden_size)."""
        seen, seq = (0 if cache is None else cache.length), input_ids.shape[1]
        if cache is not None:
            cache.make_room(seq)
        rotary = self.rotary.at(seen, seq, input_ids.device)
        documents = None if document_starts is None else workbench_kernels.Documents(document_starts, seen + seq)
        if self.routing is not None and self.routing.watch is not None:
            self.routing.watch.begin(input_ids)
        x = self.embed_tokens(input_ids)
        recompute = self.recompute_activations and torch.is_grad_enabled()
        for layer in self.layers:
            if recompute:  # the block's inside is not kept for the backward pass, but computed there once more
                x = checkpoint(layer, x, rotary, documents, cache, use_reentrant=False)
            else:
                x = layer(x, rotary, documents, cache)
        if cache is not None:
            cache.advance(seq)
        return self.norm(x)


class Transformer(nn.Module):
    """A decoder with its output matrix: a language model."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.model = Decoder(config)
        self.lm_head = None
        if not config.tie_word_embeddings:
            self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)

    @property
    def head_weight(self) -> Tensor:
        """The output matrix, (vocab_size, hidden_size): the input embedding itself in a tied model."""
        return self.model.embed_tokens.weight if self.lm_head is None else self.lm_head.weight

    @property
    def routing(self) -> Routing | None:
        """Where the routers' decisions can be watched; None in a model without experts."""
        return self.model.routing

    @property
    def device(self) -> torch.device:
        """Where the weights lie."""
        return self.model.norm.weight.device

    def forward(
        self, input_ids: Tensor, *, cache: KVCache | None = None, document_starts: Tensor | None = None
    ) -> Tensor:
        """Logits for the token after each token: (batch, seq, vocab_size).

        Args:
            input_ids: (batch, seq); with a cache, only the tokens it has not seen.
            cache: extended in place by these tokens.
            document_starts: (batch, seq), for each token the position in its row, counted from the row's first
                token, at which its own document starts; tokens do not look beyond. None: one document a row.
        """
        return nn.functional.linear(self.hidden_states(input_ids, cache, document_starts), self.head_weight)

    def hidden_states(
        self, input_ids: Tensor, cache: KVCache | None = None, document_starts: Tensor | None = None
    ) -> Tensor:
        """The hidden states after the last norm, (batch, seq, hidden_size); arguments as for `forward`."""
        return self.model(input_ids, cache, document_starts)

    def loss(self, input_ids: Tensor, labels: Tensor, document_starts: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The summed negative log-likelihood of the labels, and how many there are.

        Args:
            labels: (batch, seq), the token after each input token; -100 carries no loss.
        Returns:
            A float32 scalar with gradient, and an integer scalar. The logits never exist all at once.
        """
        nll = self.token_losses(input_ids, labels, document_starts)
        return nll.sum(), (labels != workbench_kernels.IGNORED).sum()

    def token_losses(self, input_ids: Tensor, labels: Tensor, document_starts: Tensor | None = None) -> Tensor:
        """The negative log-likelihood of each label, (batch, seq) float32, 0 where it carries no loss; as in `loss`."""
        hidden = self.hidden_states(input_ids, document_starts=document_starts)
        return workbench_kernels.linear_cross_entropy(hidden, self.head_weight, labels)

    def with_output(self, input_ids: Tensor, document_starts: Tensor | None, make: Callable[[Tensor, Tensor], T]) -> T:
        """What `make` gives for the hidden states and the output matrix: a loss that needs both."""
        return make(self.hidden_states(input_ids, document_starts=document_starts), self.head_weight)
