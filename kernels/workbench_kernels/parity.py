"""One short check of every operation on a device: does its Triton kernel compute what the definition says there?

Compilers and drivers differ from machine to machine; a kernel that is wrong on this one must not train a model.
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import torch
from torch import Tensor

import workbench_kernels
from workbench_kernels import dispatch

TOLERANCE = {torch.float32: 2e-3, torch.float16: 5e-3, torch.bfloat16: 3e-2}
"""Of the largest error over the largest true value. Kernels are off by a third of it at most; float32 has room for
products in TF32. A wrong mask, a lost row or a missing scale is off by far more."""

_SMALLEST_SCALE = 0.1  # errors are relative to the largest true value, but not to less than this


class _Case(NamedTuple):
    """A call of an operation.

    Args:
        run: the public operation, with everything but its differentiable inputs.
        shapes: of those inputs.
        backward: False where the operation has no gradient.
    """

    run: Callable[..., Tensor | tuple[Tensor, ...]]
    shapes: tuple[tuple[int, ...], ...]
    backward: bool = True


def check(
    device: torch.device, dtype: torch.dtype, operations: Iterable[str] | None = None, side: str = "triton"
) -> dict[str, float | str]:
    """Run operations forward and backward, by their kernels in `dtype` and by definition in float64.

    A kernel that reads where it may not can leave a CUDA device unusable to its process: every later entry then holds
    that error, and the process should end. Where that matters, call this in a process of its own.

    Args:
        operations: names of public operations; all by default.
        side: what computes in `dtype`: "triton", or "reference" to hold plain PyTorch against the definition.
    Returns:
        For each, the largest error of an output or gradient over the largest true value; or what the exception said.
    """
    results: dict[str, float | str] = {}
    for name in operations if operations is not None else operation_names():
        try:
            results[name] = max(_error(case, device, dtype, side) for case in _cases(device)[name])
        except Exception as error:  # noqa: BLE001  a kernel's first trial on a device may fail in any way
            results[name] = f"{type(error).__name__}: {error}"
    return results


def operation_names() -> list[str]:
    """The operations that `check` knows."""
    return list(_cases(torch.device("cpu")))


def failures(results: dict[str, float | str], dtype: torch.dtype) -> dict[str, str]:
    """The operations that must not run on Triton after `check`, each with the reason for `dispatch.disable`."""
    reasons = {}
    for name, result in results.items():
        if isinstance(result, str):
            reasons[name] = f"it fails on this device ({result})"
        elif not result <= TOLERANCE[dtype]:  # not >: a NaN fails too
            reasons[name] = f"on this device it is off by {result:.1e}, more than {TOLERANCE[dtype]:.0e}, in {dtype}"
    return reasons


def _error(case: _Case, device: torch.device, dtype: torch.dtype, side: str) -> float:
    generator = torch.Generator().manual_seed(0)  # on the CPU: the run's own random numbers stay as they are
    inputs = [torch.randn(shape, generator=generator).to(device, dtype) for shape in case.shapes]
    true_inputs = [tensor.double() for tensor in inputs]
    upstream: list[Tensor] = []
    with torch.enable_grad(), torch.autocast(device.type, enabled=False):
        with dispatch.forced(side):
            results = _results(case, inputs, upstream, generator)
        with dispatch.forced("reference"):
            truths = _results(case, true_inputs, upstream, generator)
    return max(_deviation(got, truth) for got, truth in zip(results, truths, strict=True))


def _results(case: _Case, inputs: list[Tensor], upstream: list[Tensor], generator: torch.Generator) -> list[Tensor]:
    """Outputs, then gradients for `upstream`, which the first call makes up."""
    if case.backward:
        inputs = [tensor.requires_grad_() for tensor in inputs]
    value = case.run(*inputs)
    outputs = list(value) if isinstance(value, tuple) else [value]
    if not case.backward:
        return outputs
    if not upstream:
        upstream += [torch.randn(output.shape, generator=generator).to(output) for output in outputs]
    grads = [grad.to(output.dtype) for grad, output in zip(upstream, outputs, strict=True)]
    return [*outputs, *torch.autograd.grad(outputs, inputs, grads)]


def _deviation(got: Tensor, truth: Tensor) -> float:
    error = (got.double() - truth).abs().amax() / truth.abs().amax().clamp_min(_SMALLEST_SCALE)
    return error.nan_to_num(nan=float("inf")).item()


def _cases(device: torch.device) -> dict[str, list[_Case]]:
    """Small calls by operation, off the blocks' sizes; two where a table holds kernels of two kinds."""
    eps = 1e-5
    # Wider than a block on either: the interpreter's blocks are small, and its programs slow.
    rows_of_norms = ((70, 60), (3, 9000 if device.type == "cuda" else 200))
    angles = torch.outer(torch.arange(37.0), torch.linspace(1, 0.1, 32)).repeat(1, 2).to(device)
    tables = (angles.cos(), angles.sin())
    labels = torch.arange(33, device=device) * 7
    labels[::5] = workbench_kernels.IGNORED
    starts = torch.tensor([[0] * 30 + [30] * 40, [0] * 70], device=device)
    heads, kv_heads = (2, 4, 37, 64), (2, 2, 37, 64)
    q, kv = (2, 4, 70, 64), (2, 2, 70, 64)
    counts = torch.tensor([20, 0, 33], device=device)
    # Multiples of 1/8: no dtype rounds them, so both sides are given the same teacher and the same scales.
    teacher = ((torch.arange(300 * 64, device=device) * 37 % 17 - 8) / 8).view(300, 64)
    matrix = (torch.arange(150 * 64, device=device) * 37 % 255 - 127).to(torch.int8).view(150, 64)
    scale = torch.full((150,), 0.25, device=device)

    def documents(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return workbench_kernels.attention(q, k, v, document_starts=starts)

    def divergence(x: Tensor, weight: Tensor) -> Tensor:
        return workbench_kernels.linear_kl(x, weight, teacher[:33].to(x.dtype), teacher.to(x.dtype), labels)

    def qk_norm(q: Tensor, k: Tensor, q_weight: Tensor, k_weight: Tensor) -> tuple[Tensor, Tensor]:
        return workbench_kernels.qk_norm_rotary(q, k, q_weight, k_weight, *tables, eps)

    return {
        "rms_norm": [
            _Case(lambda x, weight: workbench_kernels.rms_norm(x, weight, eps), ((rows, size), (size,)))
            for rows, size in rows_of_norms
        ],
        "add_rms_norm": [
            _Case(
                lambda x, y, weight: workbench_kernels.add_rms_norm(x, y, weight, eps), (*[(rows, size)] * 2, (size,))
            )
            for rows, size in rows_of_norms
        ],
        "apply_rotary": [_Case(lambda q, k: workbench_kernels.apply_rotary(q, k, *tables), (heads, kv_heads))],
        "qk_norm_rotary": [_Case(qk_norm, (heads, kv_heads, (64,), (64,)))],
        "swiglu": [_Case(workbench_kernels.swiglu, ((5, 700), (5, 700)))],
        "attention": [_Case(workbench_kernels.attention, (q, kv, kv)), _Case(documents, (q, kv, kv))],
        "linear_cross_entropy": [
            _Case(lambda x, weight: workbench_kernels.linear_cross_entropy(x, weight, labels), ((33, 64), (300, 64)))
        ],
        "linear_kl": [_Case(divergence, ((33, 64), (300, 64)))],
        "grouped_matmul": [
            _Case(lambda x, weight: workbench_kernels.grouped_matmul(x, weight, counts), ((53, 64), (3, 40, 64)))
        ],
        "int8_matmul": [
            _Case(lambda x: workbench_kernels.int8_matmul(x, matrix, scale), ((rows, 64),), backward=False)
            for rows in (1, 5)
        ],
    }
