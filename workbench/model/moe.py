"""A mixture of experts: each token visits a few of many feed-forward layers, chosen by a router.

No expert has a capacity, so that no token is ever dropped: tokens are sorted by expert, and one grouped product takes
each to the matrices of its own.
Source: Shazeer et al. 2017, arXiv:1701.06538; without capacity, Gale et al. 2022, arXiv:2211.15841; the expert that
every token visits, Rajbhandari et al. 2022, arXiv:2201.05596, gated as in Qwen2-MoE (arXiv:2407.10671).
"""

import torch
from torch import Tensor, nn

import workbench_kernels
from workbench.model.configuration import ModelConfig
from workbench.model.feed_forward import FeedForward
from workbench.model.routing import Routing


class Router(nn.Module):
    """Which experts a token visits, and how much each of them counts."""

    def __init__(self, config: ModelConfig, routing: Routing) -> None:
        super().__init__()
        self.visited, self.renormalise = config.num_experts_per_tok, config.norm_topk_prob
        self.weight = nn.Parameter(torch.zeros(config.num_experts, config.hidden_size))
        self._routing = routing

    def forward(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Weights and numbers of the experts of each token, both (tokens, visited).

        Args:
            rows: (tokens, hidden_size).
        """
        # float32 whatever the rest computes in: a rounded logit sends a token elsewhere
        with torch.autocast(rows.device.type, enabled=False):
            wide = torch.promote_types(rows.dtype, torch.float32)
            logits = nn.functional.linear(rows.to(wide), self.weight.to(wide))  # (tokens, experts)
            probabilities = logits.softmax(dim=-1)
            weights, chosen = probabilities.topk(self.visited, dim=-1)
            if self._routing.watch is not None:
                self._routing.watch.note(logits, probabilities, chosen)
            if self.renormalise:
                weights = weights / weights.sum(dim=-1, keepdim=True)
        return weights, chosen


class Experts(nn.Module):
    """Feed-forward layers side by side, each for its own tokens."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        experts, hidden, inner = config.num_experts, config.hidden_size, config.moe_intermediate_size
        self.gate_up_proj = nn.Parameter(torch.zeros(experts, 2 * inner, hidden))
        self.down_proj = nn.Parameter(torch.zeros(experts, hidden, inner))

    def forward(self, rows: Tensor, counts: Tensor) -> Tensor:
        """rows and the result: (tokens, hidden_size), sorted by expert; counts: (experts,), tokens of each."""
        gate, up = workbench_kernels.grouped_matmul(rows, self.gate_up_proj, counts).chunk(2, dim=-1)
        return workbench_kernels.grouped_matmul(workbench_kernels.swiglu(gate, up), self.down_proj, counts)


class MixtureOfExperts(nn.Module):
    """What the chosen experts say of a token, weighted, and what the shared expert says, where there is one."""

    def __init__(self, config: ModelConfig, routing: Routing) -> None:
        super().__init__()
        self.num_experts = config.num_experts
        self.gate = Router(config, routing)
        self.experts = Experts(config)
        self.shared_expert, self.shared_expert_gate = None, None
        if config.shared_expert_intermediate_size:
            self.shared_expert = FeedForward(config.hidden_size, config.shared_expert_intermediate_size)
            self.shared_expert_gate = nn.Linear(config.hidden_size, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """x and the result: (batch, seq, hidden_size)."""
        rows = x.reshape(-1, x.shape[-1])  # (tokens, hidden_size)
        weights, chosen = self.gate(rows)
        visits = chosen.flatten()  # (tokens * visited,)
        order = visits.argsort(stable=True)
        counts = visits.new_zeros(self.num_experts).scatter_add_(0, visits, torch.ones_like(visits))
        said = self.experts(rows.index_select(0, order // chosen.shape[1]), counts)  # sorted by expert
        said = said.index_select(0, order.argsort()).view(*chosen.shape, -1)  # (tokens, visited, hidden_size)
        mixed = (said * weights.to(said.dtype).unsqueeze(-1)).sum(dim=1)
        if self.shared_expert is not None and self.shared_expert_gate is not None:
            mixed = mixed + torch.sigmoid(self.shared_expert_gate(rows)) * self.shared_expert(rows)
        return mixed.view(x.shape)
