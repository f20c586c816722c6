"""FeedForward: what a token does on its own between two looks at the others.

Source: SwiGLU, Shazeer 2020, arXiv:2002.05202.
"""

from torch import Tensor, nn

import workbench_kernels


class FeedForward(nn.Module):
    """down(silu(gate(x)) * up(x))."""

    def __init__(self, hidden_size: int, intermediate_size: int) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(hidden_size, intermediate_size, bias=False)
        self.up_proj = nn.Linear(hidden_size, intermediate_size, bias=False)
        self.down_proj = nn.Linear(intermediate_size, hidden_size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """x and the result: (batch, seq, hidden_size)."""
        return self.down_proj(workbench_kernels.swiglu(self.gate_proj(x), self.up_proj(x)))
