"""The least that each operation must move and multiply, and how long that takes on a card.

    python -m tests.kernels.roofline [--architecture sm_90]

Sizes are those of `comparison.py`, in bfloat16. Nothing here is measured.
"""

import argparse
import sys

from tests.kernels.cards import CARDS, Card
from tests.kernels.comparison import (
    BATCH,
    EXPERTS,
    EXPERTS_A_TOKEN,
    HEAD_DIM,
    HEADS,
    HIDDEN,
    INTERMEDIATE,
    SEQ,
    VOCAB,
)

_BF16, _FLOAT32 = 2, 4


def requirements() -> dict[str, tuple[float, float]]:
    """Bytes and flops by operation and pass."""
    tokens = BATCH * SEQ
    rows, gated, logits = (tokens * size * _BF16 for size in (HIDDEN, INTERMEDIATE, VOCAB))
    heads = tokens * HEADS * HEAD_DIM * _BF16
    statistics = tokens * _FLOAT32
    tables = 2 * SEQ * HEAD_DIM // 2 * _FLOAT32
    head_statistics = statistics * HEADS
    product = 2 * BATCH * HEADS * SEQ * SEQ * HEAD_DIM / 2  # one of the two of a causal forward pass
    weights, head = HIDDEN * VOCAB * _BF16, 2 * tokens * HIDDEN * VOCAB
    sorted_rows, experts = rows * EXPERTS_A_TOKEN, EXPERTS * HIDDEN * HIDDEN * _BF16
    grouped = 2 * tokens * EXPERTS_A_TOKEN * HIDDEN * HIDDEN
    return {
        "rms_norm forward": (2 * rows + statistics, 0),
        "rms_norm backward": (3 * rows + statistics, 0),
        "add_rms_norm forward": (4 * rows + statistics, 0),
        "add_rms_norm backward": (4 * rows + statistics, 0),
        "apply_rotary forward": (4 * heads + tables, 0),
        "apply_rotary backward": (4 * heads + tables, 0),
        "qk_norm_rotary forward": (4 * heads + tables, 0),
        "qk_norm_rotary backward": (6 * heads + tables, 0),
        "swiglu forward": (3 * gated, 0),
        "swiglu backward": (5 * gated, 0),
        "attention forward": (4 * heads + head_statistics, 2 * product),
        "attention backward": (8 * heads + head_statistics, 5 * product),
        "linear_cross_entropy": (2 * rows + 2 * weights, 3 * head),
        "linear_kl": (3 * rows + 3 * weights, 4 * head),
        "grouped_matmul forward": (2 * sorted_rows + experts, grouped),
        "grouped_matmul backward": (3 * sorted_rows + 2 * experts, 2 * grouped),
        "int8_matmul forward": (4096 * 4096 + 2 * 4096 * _BF16, 0),
        "logits of the losses, one read and one write": (2 * logits, 0),
    }


def bound_microseconds(operation: str, card: Card) -> float:
    """The time that memory or the matrix units need at least."""
    moved, flops = requirements()[operation]
    return max(moved / card.memory_tb_per_second, flops / card.matrix_tflops) * 1e-6


def markdown(architecture: str) -> str:
    """The table of one card."""
    card = CARDS[architecture]
    rates = f"{card.memory_tb_per_second} TB/s, {card.matrix_tflops} TFLOP/s"
    lines = [f"| operation | MB | GFLOP | {card.name} ({rates}), us |", "|---|---|---|---|"]
    for operation, (moved, flops) in requirements().items():
        by = "products" if flops / card.matrix_tflops > moved / card.memory_tb_per_second else "memory"
        bound = f"{bound_microseconds(operation, card):.1f} {by}"
        lines.append(f"| {operation} | {moved / 1e6:.1f} | {flops / 1e9:.1f} | {bound} |")
    return "\n".join(lines)


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--architecture", default="sm_90", choices=sorted(CARDS))
    print(markdown(parser.parse_args().architecture))
    return 0


if __name__ == "__main__":
    sys.exit(main())
