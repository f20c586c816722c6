"""RMSNorm: vectors at unit root mean square (Zhang and Sennrich 2019, arXiv:1910.07467)."""

import torch
from torch import Tensor, nn

import workbench_kernels


class RMSNorm(nn.Module):
    """Each vector at unit root mean square, times a learned weight."""

    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """x and the result: (..., size)."""
        return workbench_kernels.rms_norm(x, self.weight, self.eps)

    def of_sum(self, x: Tensor, residual: Tensor) -> tuple[Tensor, Tensor]:
        """The norm of x + residual, and that sum: one pass over memory where a kernel runs."""
        return workbench_kernels.add_rms_norm(x, residual, self.weight, self.eps)
