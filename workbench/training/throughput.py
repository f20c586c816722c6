"""How fast training goes, what share of the machine it uses, and when it ends."""

import time
from collections import deque

import psutil
import torch

WINDOW_STEPS = 50  # long enough to be steady, short enough to show a slow-down


def memory_bytes(device: torch.device) -> int:
    """What the process holds now: its tensors on a GPU, all of it on a CPU."""
    if device.type == "cuda":
        return torch.cuda.memory_allocated(device)
    return int(psutil.Process().memory_info().rss)


def measure_flops_per_second(device: torch.device, dtype: torch.dtype, width: int) -> float:
    """The device's speed at square-ish matrix products of `width` in `dtype`: the ceiling that MFU is a share of.

    Args:
        width: the model's hidden size; small matrices are slower than the data sheet says.
    """
    rows = 2048
    a = torch.ones(rows, width, device=device, dtype=dtype)
    b = torch.ones(4 * width, width, device=device, dtype=dtype)
    best = float("inf")
    deadline = time.perf_counter() + 0.15
    while time.perf_counter() < deadline:
        _synchronise(device)
        start = time.perf_counter()
        torch.nn.functional.linear(a, b)
        _synchronise(device)
        best = min(best, time.perf_counter() - start)
    return 2 * rows * width * 4 * width / best


def _synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


class Throughput:
    """Tokens by second over the last steps, and what follows from it.

    Args:
        flops_per_token: of one training step.
        flops_per_second: the device's ceiling; None leaves MFU unknown.
    """

    def __init__(self, flops_per_token: float, flops_per_second: float | None) -> None:
        self._flops_per_token, self._ceiling = flops_per_token, flops_per_second
        self._recent: deque[tuple[int, float]] = deque(maxlen=WINDOW_STEPS)

    def add(self, tokens: int, seconds: float) -> None:
        """Count one step."""
        self._recent.append((tokens, seconds))

    @property
    def tokens_per_second(self) -> float:
        """Over the window; 0 before the first step."""
        seconds = sum(seconds for _, seconds in self._recent)
        return sum(tokens for tokens, _ in self._recent) / seconds if seconds else 0.0

    @property
    def mfu(self) -> float | None:
        """Model FLOPs utilisation: the model's own arithmetic as a share of the ceiling.

        Source: Chowdhery et al. 2022, arXiv:2204.02311, appendix B.
        """
        if self._ceiling is None:
            return None
        return self.tokens_per_second * self._flops_per_token / self._ceiling

    def eta_seconds(self, steps_left: int) -> float:
        """Time for `steps_left` steps at the window's speed."""
        mean = sum(seconds for _, seconds in self._recent) / len(self._recent) if self._recent else 0.0
        return mean * steps_left
