"""The LLaMA decoder, from token ids to logits, on one page (Touvron et al. 2023, arXiv:2302.13971).

Modules carry Hugging Face's parameter names, so that loading and saving weights renames nothing.
"""

import torch
from torch import Tensor, nn

import workbench_kernels
from workbench.model.attention import Attention
from workbench.model.configuration import ModelConfig
from workbench.model.feed_forward import FeedForward
from workbench.model.kv_cache import KVCache
from workbench.model.rotary import RotaryTables


class RMSNorm(nn.Module):
    """Each token's vector at unit root mean square, times a learned weight."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(config.hidden_size))
        self.eps = config.rms_norm_eps

    def forward(self, x: Tensor) -> Tensor:
        """x and the result: (..., hidden_size)."""
        return workbench_kernels.rms_norm(x, self.weight, self.eps)


class Block(nn.Module):
    """Attention, then feed-forward, each on a normalised copy of the residual stream and added to it."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        self.input_layernorm = RMSNorm(config)
        self.self_attn = Attention(config, layer)
        self.post_attention_layernorm = RMSNorm(config)
        self.mlp = FeedForward(config)

    def forward(
        self,
        x: Tensor,
        rotary: tuple[Tensor, Tensor],
        documents: workbench_kernels.Documents | None,
        cache: KVCache | None,
    ) -> Tensor:
        """x and the result: (batch, seq, hidden_size)."""
        x = x + self.self_attn(self.input_layernorm(x), rotary, documents, cache)
        return x + self.mlp(self.post_attention_layernorm(x))


class Decoder(nn.Module):
    """Token ids to the hidden states after the last norm."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(Block(config, layer) for layer in range(config.num_hidden_layers))
        self.norm = RMSNorm(config)
        self.rotary = RotaryTables(config)

    def forward(self, input_ids: Tensor, cache: KVCache | None, document_starts: Tensor | None) -> Tensor:
        """input_ids: (batch, seq); the result: (batch, seq, hidden_size)."""
        seen, seq = (0 if cache is None else cache.length), input_ids.shape[1]
        if cache is not None:
            cache.make_room(seq)
        rotary = self.rotary.at(seen, seq, input_ids.device)
        documents = None if document_starts is None else workbench_kernels.Documents(document_starts, seen + seq)
        x = self.embed_tokens(input_ids)
        for layer in self.layers:
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
