"""The operations a transformer spends its time in.

Every function here is differentiable once. On a CUDA device it is a Triton kernel, elsewhere plain PyTorch
(`dispatch.side` decides); what each gives is written at its reference.
"""

from torch import Tensor

from workbench_kernels import (
    dispatch,
    reference,
    reference_attention,
    reference_cross_entropy,
    reference_kl,
    reference_matmul,
)
from workbench_kernels.documents import Documents
from workbench_kernels.reference_cross_entropy import IGNORED
from workbench_kernels.reference_matmul import quantize_int8

__all__ = [
    "IGNORED",
    "Documents",
    "add_rms_norm",
    "apply_rotary",
    "attention",
    "grouped_matmul",
    "int8_matmul",
    "linear_cross_entropy",
    "linear_kl",
    "qk_norm_rotary",
    "quantize_int8",
    "rms_norm",
    "swiglu",
]

# Kernels are imported where they run: Triton need not be installed, and the interpreter must be chosen before.


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """Scale each row of `x` to unit root mean square, then by `weight`; see `reference.rms_norm`."""
    if dispatch.side("rms_norm", x):
        from workbench_kernels.triton_ops.rms_norm import rms_norm as kernel

        return kernel(x, weight, eps)
    return reference.rms_norm(x, weight, eps)


def add_rms_norm(x: Tensor, residual: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """The norm of x + residual, and that sum; see `reference.add_rms_norm`."""
    if dispatch.side("add_rms_norm", x):
        from workbench_kernels.triton_ops.rms_norm import add_rms_norm as kernel

        return kernel(x, residual, weight, eps)
    return reference.add_rms_norm(x, residual, weight, eps)


def apply_rotary(q: Tensor, k: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor]:
    """Turn every query and key by the angles of their positions; see `reference.apply_rotary`."""
    if dispatch.side("apply_rotary", q):
        from workbench_kernels.triton_ops.rotary import apply_rotary as kernel

        return kernel(q, k, cos, sin)
    return reference.apply_rotary(q, k, cos, sin)


def qk_norm_rotary(
    q: Tensor, k: Tensor, q_weight: Tensor, k_weight: Tensor, cos: Tensor, sin: Tensor, eps: float
) -> tuple[Tensor, Tensor]:
    """Norm every head of q and k on its own, then turn it; see `reference.qk_norm_rotary`."""
    if dispatch.side("qk_norm_rotary", q):
        from workbench_kernels.triton_ops.rotary import qk_norm_rotary as kernel

        return kernel(q, k, q_weight, k_weight, cos, sin, eps)
    return reference.qk_norm_rotary(q, k, q_weight, k_weight, cos, sin, eps)


def swiglu(gate: Tensor, up: Tensor) -> Tensor:
    """silu(gate) * up, element by element; see `reference.swiglu`."""
    if dispatch.side("swiglu", gate):
        from workbench_kernels.triton_ops.swiglu import swiglu as kernel

        return kernel(gate, up)
    return reference.swiglu(gate, up)


def attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    causal: bool = True,
    window: int | None = None,
    document_starts: Tensor | Documents | None = None,
) -> Tensor:
    """Softmax attention, query heads sharing keys; see `reference_attention.attention`."""
    if dispatch.side("attention", q):
        from workbench_kernels.triton_ops.attention import attention as kernel

        return kernel(q, k, v, causal=causal, window=window, document_starts=document_starts)
    return reference_attention.attention(q, k, v, causal=causal, window=window, document_starts=document_starts)


def linear_cross_entropy(hidden: Tensor, weight: Tensor, labels: Tensor, *, z_loss: float = 0.0) -> Tensor:
    """The negative log-likelihood of each label; see `reference_cross_entropy.linear_cross_entropy`."""
    if dispatch.side("linear_cross_entropy", hidden):
        from workbench_kernels.triton_ops.cross_entropy import linear_cross_entropy as kernel

        return kernel(hidden, weight, labels, z_loss=z_loss)
    return reference_cross_entropy.linear_cross_entropy(hidden, weight, labels, z_loss=z_loss)


def linear_kl(
    hidden: Tensor,
    weight: Tensor,
    teacher_hidden: Tensor,
    teacher_weight: Tensor,
    labels: Tensor | None = None,
    *,
    temperature: float = 1.0,
    direction: reference_kl.Direction = "forward",
) -> Tensor:
    """The divergence of each next token's distribution from a teacher's; see `reference_kl.linear_kl`."""
    sides = (hidden, weight, teacher_hidden, teacher_weight)
    if dispatch.side("linear_kl", hidden):
        from workbench_kernels.triton_ops.kl import linear_kl as kernel

        return kernel(*sides, labels, temperature=temperature, direction=direction)
    return reference_kl.linear_kl(*sides, labels, temperature=temperature, direction=direction)


def grouped_matmul(x: Tensor, weight: Tensor, counts: Tensor) -> Tensor:
    """Each token times the matrix of its expert; see `reference_matmul.grouped_matmul`."""
    if dispatch.side("grouped_matmul", x):
        from workbench_kernels.triton_ops.grouped_matmul import grouped_matmul as kernel

        return kernel(x, weight, counts)
    return reference_matmul.grouped_matmul(x, weight, counts)


def int8_matmul(x: Tensor, weight: Tensor, scale: Tensor) -> Tensor:
    """x times a matrix in int8, for decoding; see `reference_matmul.int8_matmul`."""
    if dispatch.side("int8_matmul", x):
        from workbench_kernels.triton_ops.int8_matmul import int8_matmul as kernel

        return kernel(x, weight, scale)
    return reference_matmul.int8_matmul(x, weight, scale)
