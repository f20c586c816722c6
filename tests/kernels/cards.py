"""One GPU of each architecture that the kernels are built for: what the static model has to know of it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Card:
    """Figures of the vendors' data sheets and tuning guides; rates are per multiprocessor and clock cycle."""

    name: str
    capability: tuple[int, int]
    multiprocessors: int
    memory_tb_per_second: float
    matrix_tflops: float
    """Dense bfloat16."""
    warps: int
    """Resident on a multiprocessor at most; likewise blocks."""
    blocks: int
    shared_kib: int
    """Of a multiprocessor."""
    block_shared_bytes: int
    """That one block may have."""
    matrix_flops: int
    special_functions: int
    """exp2, rsqrt and the like."""
    float_lanes: int
    latency_ns: float
    """Of a read from memory, loaded."""
    matrix_family: str
    """The instructions that bfloat16 products must become."""

    @property
    def bytes_in_flight_needed(self) -> float:
        """A multiprocessor's share of bandwidth times latency: fewer, and the memory idles (Little's law)."""
        return self.memory_tb_per_second * 1e12 * self.latency_ns * 1e-9 / self.multiprocessors


CARDS = {
    "sm_80": Card("A100 80 GB", (8, 0), 108, 2.039, 312, 64, 32, 164, 163 << 10, 2048, 16, 64, 550, "HMMA"),
    "sm_86": Card("RTX 3090", (8, 6), 82, 0.936, 71, 48, 16, 100, 99 << 10, 512, 16, 128, 500, "HMMA"),
    "sm_89": Card("RTX 4090", (8, 9), 128, 1.008, 165, 48, 24, 100, 99 << 10, 512, 16, 128, 550, "HMMA"),
    "sm_90": Card("H100 SXM", (9, 0), 132, 3.35, 989, 64, 32, 228, 227 << 10, 4096, 16, 128, 650, "HGMMA"),
    "sm_100": Card("B200", (10, 0), 148, 8.0, 2250, 64, 32, 228, 227 << 10, 8192, 16, 128, 750, "UTCMMA"),
    "sm_120": Card("RTX 5090", (12, 0), 170, 1.792, 209, 48, 24, 100, 99 << 10, 512, 16, 128, 750, "HMMA"),
    "gfx942": Card("MI300X", (9, 4), 304, 5.3, 1307, 32, 16, 64, 64 << 10, 2048, 16, 128, 800, "MFMA"),
}
"""By the name of the architecture, as Triton's launch tables name it too."""
