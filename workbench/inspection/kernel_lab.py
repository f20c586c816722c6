"""The kernel lab: what computes each operation here, how exact it is, and what its kernel became for GPUs."""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from workbench_kernels import dispatch, parity
from workbench_kernels.benchmark import static_table

PRECISIONS: dict[str, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16}


@dataclass(frozen=True)
class Compiled:
    """What ahead-of-time compilation says of one kernel on one GPU architecture.

    Args:
        operation: with its direction, such as "attention backward"; architecture: such as "sm_90".
        bound_microseconds: the least time that its bytes and operations need there, at the sizes of the table.
        wide: share of its global accesses that are 128 bits wide.
    """

    operation: str
    architecture: str
    bound_microseconds: float
    registers: int
    spilled_bytes: int
    wide: float
    matrix_family: str


@dataclass(frozen=True)
class OperationFigures:
    """One operation on this machine.

    Args:
        side: what computes it here: "triton" or "reference"; reason: why not its kernel, where that was put aside.
        errors: by precision, the largest error of an output or gradient over the largest true value, by definition in
            float64; or what went wrong.
        compiled: its forward and backward kernels, for every architecture that is known.
    """

    name: str
    side: str
    reason: str
    errors: dict[str, float | str]
    compiled: tuple[Compiled, ...]

    def compiled_for(self, architecture: str) -> list[Compiled]:
        """Its forward and backward kernels on one architecture."""
        return [each for each in self.compiled if each.architecture == architecture]

    def passes(self, precision: str) -> bool:
        """Whether the error is within what the precision promises."""
        error = self.errors[precision]
        return not isinstance(error, str) and error <= tolerance(precision)


def tolerance(precision: str) -> float:
    """How large an error may be, relative to the largest true value."""
    return parity.TOLERANCE[PRECISIONS[precision]]


def operation_figures(device: torch.device, should_stop: Callable[[], bool] = lambda: False) -> list[OperationFigures]:
    """Compute every operation with small inputs, forward and backward, and hold it against its definition.

    Args:
        should_stop: looked at before each operation.
    """
    put_aside, told = dispatch.disabled(), []
    for name in parity.operation_names():
        if should_stop():
            break
        side = "triton" if name not in put_aside and dispatch.side(name, torch.zeros(1, device=device)) else "reference"
        errors = {precision: parity.check(device, dtype, [name], side)[name] for precision, dtype in PRECISIONS.items()}
        told.append(OperationFigures(name, side, put_aside.get(name, ""), errors, _compiled(name)))
    return told


def architectures() -> list[str]:
    """The GPU architectures that compiled kernels are known of."""
    return list(dict.fromkeys(row["architecture"] for row in static_table()))


def _compiled(name: str) -> tuple[Compiled, ...]:
    keys = ("operation", "architecture", "bound_microseconds", "registers", "spilled_bytes", "wide", "matrix_family")
    return tuple(
        Compiled(**{key: row[key] for key in keys}) for row in static_table() if row["operation"].split()[0] == name
    )
