"""Liger-Kernel and flash-linear-attention, run through their own Python code."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from tests.kernels.comparison import (
    EPS,
    EXPERTS,
    EXPERTS_A_TOKEN,
    FEW,
    HEAD_DIM,
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
    norm_passes,
    number,
    tokens_of,
)
from tests.kernels.pretence import replaced


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
        *norm_passes("rms_norm", "liger", norm_inputs, rms_norm),
        *norm_passes("add_rms_norm", "liger", add_norm_inputs, add_rms_norm),
        *both_passes("apply_rotary", "liger", _rotary_heads_first, LigerRopeFunction.apply),
        *both_passes("swiglu", "liger", gated_inputs, LigerSiLUMulFunction.apply, counted=FEW),
        Case("linear_cross_entropy", "liger", "both", loss_inputs, cross_entropy, counted=FEW),
        *_liger_experts(),
    ]


def _liger_experts() -> list[Case]:
    """The kernels of its mixture of experts that are products of sorted tokens, without what it fuses around them."""
    from liger_kernel.ops import fused_moe

    def experts(routing: Tensor) -> Callable[..., Any]:
        def run(x: Tensor, up: Tensor, down: Tensor) -> Any:
            # Its own routing waits for the device to tell a number, which a tensor without data cannot.
            with replaced(fused_moe, "compute_routing_metadata", _even_routing):
                return fused_moe.LigerFusedMoEFunction.apply(x, up, down, routing, _weights_of(routing))

        return run

    def inputs(intermediate: int) -> Callable[[float], tuple[Tensor, ...]]:
        def make(batch: float) -> tuple[Tensor, ...]:
            up, down = (EXPERTS, 2 * intermediate, HIDDEN), (EXPERTS, HIDDEN, intermediate)
            return number(tokens_of(batch), HIDDEN), number(*up), number(*down)

        return make

    def run(x: Tensor, up: Tensor, down: Tensor) -> Any:
        routing = torch.arange(len(x) * EXPERTS_A_TOKEN, dtype=torch.int32).view(-1, EXPERTS_A_TOKEN) % EXPERTS
        return experts(routing)(x, up, down)

    # Sizes at which its kernels multiply the same matrices as ours.
    forward, backward = "_fused_down_proj_kernel", "_moe_bwd_dX_expanded_kernel|_moe_bwd_dW1_kernel"
    counted = (0.25, 0.5)  # one and two of its tiles of 64 tokens for every expert
    return [
        Case("grouped_matmul", "liger", "forward", inputs(HIDDEN), run, counted, only=forward),
        Case("grouped_matmul", "liger", "backward", inputs(HIDDEN // 2), run, counted, only=backward),
    ]


def _weights_of(routing: Tensor) -> Tensor:
    return constant(*routing.shape, dtype=torch.bfloat16)


def _even_routing(routing: Tensor, experts: int, block: int = 64) -> tuple[Tensor, ...]:
    """What its routing gives where every expert has as many tokens: counts, starts, order and tiles."""
    pairs = routing.numel()
    each = pairs // experts
    order = routing.flatten().argsort(stable=True).to(torch.int32)
    inverse = order.argsort().to(torch.int32)
    starts = torch.arange(experts + 1, dtype=torch.int32) * each
    rows = [start for expert in range(experts) for start in range(expert * each, (expert + 1) * each, block)]
    tile_row, tile_expert = (
        torch.tensor(values, dtype=torch.int32) for values in (rows, [row // each for row in rows])
    )
    return starts.diff(), starts, order // routing.shape[1], order, inverse, tile_row, tile_expert


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
        *norm_passes("rms_norm", "fla", norm_inputs, plain_norm),
        *norm_passes("add_rms_norm", "fla", add_norm_inputs, add_rms_norm),
        *both_passes("apply_rotary", "fla", _rotary_heads_last, rotary),
        *both_passes("swiglu", "fla", gated_inputs, swiglu, counted=FEW),
        *both_passes("attention", "fla", heads_last_inputs, parallel_attn, counted=(1,)),
        Case("linear_cross_entropy", "fla", "both", loss_inputs, cross_entropy, counted=FEW),
        Case("linear_kl", "fla", "both", distillation_inputs, divergence, counted=FEW),
    ]


def _rotary_heads_first(batch: int) -> tuple[Tensor, ...]:
    q, k, _ = heads_first_inputs(batch)
    return q, k, constant(1, SEQ, HEAD_DIM), constant(1, SEQ, HEAD_DIM)


def _rotary_heads_last(batch: int) -> tuple[Tensor, ...]:
    q, k, _ = heads_last_inputs(batch)
    tables = (constant(SEQ, HEAD_DIM // 2, dtype=q.dtype) for _ in range(2))  # its kernel wants one dtype
    return q, k, *tables


def cases() -> list[Case]:
    """All passes that the peers have of operations that we have."""
    return _liger() + _fla()
