"""The operations a transformer spends its time in.

Every function here is differentiable once and runs wherever PyTorch does.
"""

from workbench_kernels.documents import Documents
from workbench_kernels.reference import apply_rotary, rms_norm, swiglu
from workbench_kernels.reference_attention import attention
from workbench_kernels.reference_cross_entropy import IGNORED, linear_cross_entropy

__all__ = ["IGNORED", "Documents", "apply_rotary", "attention", "linear_cross_entropy", "rms_norm", "swiglu"]
