"""Which side of an operation runs: its Triton kernel, or plain PyTorch."""

import importlib.util
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

VARIABLE = "WORKBENCH_KERNELS"
"""The environment variable that forces a side: `reference` or `triton`; read once."""

_CHOICES = ("reference", "triton")
_OLDEST_CAPABILITY = (8, 0)  # before it, bfloat16 is emulated in local memory: slower than PyTorch


class _State:
    """Of this process."""

    wanted: str | None = None  # None until the environment was read; "auto" where it leaves the choice to the tensor
    interpreted = False
    disabled: dict[str, str] = {}
    able: dict[torch.device, bool] = {}


def side(name: str, tensor: Tensor) -> bool:
    """True where operation `name` runs its Triton kernel for `tensor`; decoding asks this for every token.

    Raises:
        RuntimeError: Triton is forced and cannot run here.
    """
    wanted = _State.wanted or _read_environment()
    if wanted == "reference" or (wanted == "auto" and not (tensor.is_cuda or _State.interpreted)):
        return False
    # The kernels compute in float32: less than a float64 tensor promises.
    if tensor.dtype is torch.float64 or name in _State.disabled:
        return False
    device = tensor.device
    able = _State.able.get(device)
    if able is None:
        able = _State.able[device] = _probe(device, wanted)
    return able


def disable(name: str, reason: str) -> None:
    """Let operation `name` run in plain PyTorch from here on, and say so."""
    if name not in _State.disabled:
        _State.disabled[name] = reason
        warnings.warn(f"the Triton kernel of {name} is off, PyTorch runs instead: {reason}", stacklevel=2)


def disabled() -> dict[str, str]:
    """The operations that fell back, each with the reason."""
    return dict(_State.disabled)


@contextmanager
def forced(choice: str) -> Iterator[None]:
    """Force a side inside, whatever the environment or an earlier `disable` says.

    Args:
        choice: `reference`, `triton`, or `auto` for what an empty environment gives.
    """
    assert choice in (*_CHOICES, "auto"), choice
    _read_environment()
    before, off = _State.wanted, dict(_State.disabled)
    _State.wanted = choice
    _State.disabled.clear()
    _State.able.clear()
    try:
        yield
    finally:
        _State.wanted = before
        _State.disabled.clear()
        _State.disabled.update(off)
        _State.able.clear()


def _read_environment() -> str:
    _State.interpreted = os.environ.get("TRITON_INTERPRET", "0") not in ("", "0")
    choice = os.environ.get(VARIABLE) or "auto"
    if choice not in (*_CHOICES, "auto"):
        raise RuntimeError(f"{VARIABLE}={choice}: no such side; say reference or triton, or unset it")
    if _State.wanted is None:
        _State.wanted = choice
    return _State.wanted


def _probe(device: torch.device, wanted: str) -> bool:
    """True where kernels run on `device`; says why not where somebody expects them to."""
    obstacle = _obstacle(device)
    if obstacle is None:
        return True
    if wanted == "triton":
        raise RuntimeError(f"{VARIABLE}=triton: {obstacle}; unset it, or say reference")
    warnings.warn(f"{device}: {obstacle}; the operations run in plain PyTorch", stacklevel=3)
    return False


def _obstacle(device: torch.device) -> str | None:
    if importlib.util.find_spec("triton") is None:
        return "Triton is not installed"
    if _State.interpreted:
        return None
    if device.type != "cuda":
        return f"kernels do not run on {device.type} tensors without TRITON_INTERPRET=1"
    capability = torch.cuda.get_device_capability(device)
    if torch.version.hip is None and capability < _OLDEST_CAPABILITY:
        return f"compute capability {capability[0]}.{capability[1]} is older than the kernels support"
    return None
