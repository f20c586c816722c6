"""Attention: every token looks back at the tokens before it.

Source: grouped queries, Ainslie et al. 2023, arXiv:2305.13245; normed queries and keys, Henry et al. 2020,
arXiv:2010.04245, as Qwen3 has them (arXiv:2505.09388).
"""

from torch import Tensor, nn

import workbench_kernels
from workbench.model.configuration import ModelConfig
from workbench.model.kv_cache import KVCache
from workbench.model.norm import RMSNorm


class Attention(nn.Module):
    """Causal self-attention with rotary positions; groups of query heads share a key and value head."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        self.layer = layer
        self.head_dim = config.head_dim
        query_size = config.num_attention_heads * config.head_dim
        kv_size = config.num_key_value_heads * config.head_dim
        self.q_proj = nn.Linear(config.hidden_size, query_size, bias=False)
        self.k_proj = nn.Linear(config.hidden_size, kv_size, bias=False)
        self.v_proj = nn.Linear(config.hidden_size, kv_size, bias=False)
        self.o_proj = nn.Linear(query_size, config.hidden_size, bias=False)
        self.q_norm = RMSNorm(config.head_dim, config.rms_norm_eps) if config.qk_norm else None
        self.k_norm = RMSNorm(config.head_dim, config.rms_norm_eps) if config.qk_norm else None

    def forward(
        self,
        x: Tensor,
        rotary: tuple[Tensor, Tensor],
        documents: workbench_kernels.Documents | None,
        cache: KVCache | None,
    ) -> Tensor:
        """x and the result: (batch, seq, hidden_size)."""
        batch, seq, _ = x.shape
        q = self.q_proj(x).view(batch, seq, -1, self.head_dim).transpose(1, 2)  # (batch, heads, seq, head_dim)
        k = self.k_proj(x).view(batch, seq, -1, self.head_dim).transpose(1, 2)  # (batch, kv_heads, seq, head_dim)
        v = self.v_proj(x).view(batch, seq, -1, self.head_dim).transpose(1, 2)
        if self.q_norm is None or self.k_norm is None:
            q, k = workbench_kernels.apply_rotary(q, k, *rotary)
        else:
            norms = self.q_norm.weight, self.k_norm.weight
            q, k = workbench_kernels.qk_norm_rotary(q, k, *norms, *rotary, self.q_norm.eps)
        if cache is not None:
            k, v = cache.update(self.layer, k, v)
        out = workbench_kernels.attention(q, k, v, document_starts=documents)
        return self.o_proj(out.transpose(1, 2).reshape(batch, seq, -1))
