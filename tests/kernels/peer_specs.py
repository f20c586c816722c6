"""Liger-Kernel and flash-linear-attention, run through their own Python code."""

from functools import partial
from typing import Any

import torch
from torch import Tensor

from tests.kernels.comparison import (
    EPS,
    HEAD_DIM,
    HEADS,
    HIDDEN,
    SEQ,
    Case,
    add_norm_inputs,
    both_passes,
    constant,
    distillation_inputs,
    gated_inputs,
    heads_first_inputs,
    heads_last_inputs,
    loss_inputs,
    norm_inputs,
    number,
)


def _liger() -> list[Case]:
    # Imported here: the libraries ask for the device while they load.
    from liger_kernel.ops.fused_add_rms_norm import LigerFusedAddRMSNormFunction
    from liger_kernel.ops.fused_linear_cross_entropy import LigerFusedLinearCrossEntropyFunction
    from liger_kernel.ops.rms_norm import LigerRMSNormFunction
    from liger_kernel.ops.rope import LigerRopeFunction
    from liger_kernel.ops.swiglu import LigerSiLUMulFunction

    def rms_norm(x: Tensor, weight: Tensor) -> Any:
        return LigerRMSNormFunction.apply(x, weight, EPS)

    def add_rms_norm(x: Tensor, residual: Tensor, weight: Tensor) -> Any:
        return LigerFusedAddRMSNormFunction.apply(x, residual, weight, EPS)

    def cross_entropy(hidden: Tensor, weight: Tensor, labels: Tensor) -> Any:
        return LigerFusedLinearCrossEntropyFunction.apply(hidden, weight, labels)[0]

    return [
        *both_passes("rms_norm", "liger", norm_inputs, rms_norm, counted=(8,)),
        *both_passes("add_rms_norm", "liger", add_norm_inputs, add_rms_norm, counted=(8,)),
        *both_passes("apply_rotary", "liger", _rotary_heads_first, LigerRopeFunction.apply),
        *both_passes("swiglu", "liger", gated_inputs, LigerSiLUMulFunction.apply),
        Case("linear_cross_entropy", "liger", "both", loss_inputs, cross_entropy),
        *_liger_experts(),
    ]


def _liger_experts() -> list[Case]:
    from liger_kernel.ops import fused_moe  # noqa: F401

    return []


def _fla() -> list[Case]:
    from fla.modules.activations import swiglu
    from fla.modules.fused_kl_div import fused_kl_div_loss
    from fla.modules.fused_linear_cross_entropy import fused_linear_cross_entropy_loss
    from fla.modules.norm.layernorm import rms_norm
    from fla.modules.rotary.ops import rotary_embedding
    from fla.ops.attn.parallel import parallel_attn

    def add_rms_norm(x: Tensor, residual: Tensor, weight: Tensor) -> Any:
        return rms_norm(x, weight, None, residual=residual, eps=EPS, prenorm=True)

    def rotary(q: Tensor, k: Tensor, cos: Tensor, sin: Tensor) -> Any:
        return rotary_embedding(q, cos, sin), rotary_embedding(k, cos, sin)

    def divergence(hidden: Tensor, weight: Tensor, teacher_hidden: Tensor, teacher_weight: Tensor) -> Any:
        return fused_kl_div_loss(hidden, teacher_hidden, weight, teacher_weight)

    def cross_entropy(hidden: Tensor, weight: Tensor, labels: Tensor) -> Any:
        return fused_linear_cross_entropy_loss(hidden, labels, weight)

    plain_norm = partial(rms_norm, bias=None, eps=EPS)
    return [
        *both_passes("rms_norm", "fla", norm_inputs, plain_norm, counted=(8,)),
        *both_passes("add_rms_norm", "fla", add_norm_inputs, add_rms_norm, counted=(8,)),
        *both_passes("apply_rotary", "fla", _rotary_heads_last, rotary),
        *both_passes("swiglu", "fla", gated_inputs, swiglu),
        *both_passes("attention", "fla", heads_last_inputs, parallel_attn, counted=(1,)),
        Case("linear_cross_entropy", "fla", "both", loss_inputs, cross_entropy),
        Case("linear_kl", "fla", "both", distillation_inputs, divergence),
    ]


def _rotary_heads_first(batch: int) -> tuple[Tensor, ...]:
    q, k, _ = heads_first_inputs(batch)
    return q, k, constant(1, SEQ, HEAD_DIM), constant(1, SEQ, HEAD_DIM)


def _rotary_heads_last(batch: int) -> tuple[Tensor, ...]:
    q, k, _ = heads_last_inputs(batch)
    tables = (constant(SEQ, HEAD_DIM // 2, dtype=q.dtype) for _ in range(2))  # its kernel wants one dtype
    return q, k, *tables


def cases() -> list[Case]:
    return _liger() + _fla()
