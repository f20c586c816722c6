"""Tensors that say they are on a GPU: launch code of ours and of others takes the ways it takes there.

The tensors are on `meta` (nothing is computed, kernels are compiled) or on the CPU (kernels are interpreted).
"""

import contextlib
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import torch
from triton.backends.compiler import GPUTarget
from triton.runtime.autotuner import Autotuner
from triton.runtime.interpreter import GridExecutor
from triton.runtime.jit import JITFunction

from tests.kernels.cards import CARDS, Card

_FACTORIES = (
    "empty",
    "zeros",
    "ones",
    "full",
    "tensor",
    "arange",
    "empty_like",
    "zeros_like",
    "ones_like",
    "full_like",
)
_FACTORIES += ("empty_permuted", "scalar_tensor", "empty_strided", "rand", "randn", "randint", "as_tensor")
_METHODS = ("new_empty", "new_zeros", "new_ones", "new_full", "new_tensor", "to")
_DEVICE = torch.device("cuda", 0)


class _State:
    """Of this process."""

    backing = ""  # where tensors really are while the pretence lasts; empty outside


def target_of(architecture: str) -> GPUTarget:
    """What Triton compiles for."""
    if architecture.startswith("gfx"):
        return GPUTarget("hip", architecture, 64)
    return GPUTarget("cuda", int(architecture.removeprefix("sm_")), 32)


def architecture_of(target: GPUTarget) -> str:
    """The name in `CARDS`."""
    return str(target.arch) if target.backend == "hip" else f"sm_{target.arch}"


@contextlib.contextmanager
def pretending(architecture: str, backing: str = "meta") -> Iterator[None]:
    """Let every tensor inside say that it is on a card of `architecture`; nests without effect.

    Args:
        backing: the device on which they really are.
    """
    if _State.backing:
        yield
        return
    with contextlib.ExitStack() as stack:
        for owner, name, value in _replacements(architecture, CARDS[architecture], backing):
            stack.enter_context(replaced(owner, name, value))
        _State.backing = backing
        try:
            yield
        finally:
            _State.backing = ""


@contextlib.contextmanager
def honest() -> Iterator[None]:
    """Suspend the pretence: an interpreter that is about to read the tensors must see where they are."""
    before, _State.backing = _State.backing, ""
    try:
        yield
    finally:
        _State.backing = before


@contextlib.contextmanager
def without_launches() -> Iterator[None]:
    """Skip every kernel inside: a backward pass is looked at alone, but needs a forward pass before it."""
    skip: Callable[..., None] = lambda *_, **__: None  # noqa: E731
    with contextlib.ExitStack() as stack:
        for owner, name in ((JITFunction, "run"), (Autotuner, "run"), (GridExecutor, "__call__")):
            stack.enter_context(replaced(owner, name, skip))
        yield


@contextlib.contextmanager
def replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    """Set an attribute for a while."""
    absent = object()
    before = vars(owner).get(name, absent)
    setattr(owner, name, value)
    try:
        yield
    finally:
        if before is absent:
            delattr(owner, name)
        else:
            setattr(owner, name, before)


def stub_driver(architecture: str) -> Any:
    """What Triton asks a driver while it compiles, answered for a card that is not there."""
    card, target = CARDS[architecture], target_of(architecture)
    properties = {
        "multiprocessor_count": card.multiprocessors,
        "max_shared_mem": card.block_shared_bytes,
        "max_num_regs": 65536,
        "warpSize": target.warp_size,
    }
    return SimpleNamespace(
        get_current_target=lambda: target,
        get_current_device=lambda: 0,
        set_current_device=lambda device: None,
        get_current_stream=lambda device=0: 0,
        get_active_torch_device=lambda: torch.device(_State.backing or "cpu"),
        get_device_interface=lambda: torch.cuda,
        map_python_to_cpp_type=lambda name: name,
        get_benchmarker=lambda: lambda function, quantiles=None: [1.0, 1.0, 1.0],
        get_empty_cache_for_benchmark=lambda: None,
        clear_cache=lambda cache: None,
        is_active=lambda: True,
        utils=SimpleNamespace(get_device_properties=lambda device: properties),
    )


def _replacements(architecture: str, card: Card, backing: str) -> list[tuple[Any, str, Any]]:
    properties = SimpleNamespace(
        name=card.name,
        major=card.capability[0],
        minor=card.capability[1],
        multi_processor_count=card.multiprocessors,
        total_memory=80 << 30,
        warp_size=32,
        shared_memory_per_block_optin=card.block_shared_bytes,
        L2_cache_size=50 << 20,
        gcnArchName=architecture,
    )
    device = property(lambda tensor: _DEVICE if _State.backing else _true_device(tensor))
    is_cuda = property(lambda tensor: bool(_State.backing) or _true_device(tensor).type == "cuda")
    return [
        (torch.Tensor, "device", device),
        (torch.Tensor, "is_cuda", is_cuda),
        (torch.cuda, "get_device_capability", lambda *_: card.capability),
        (torch.cuda, "get_device_properties", lambda *_: properties),
        (torch.cuda, "current_device", lambda: 0),
        (torch.cuda, "is_available", lambda: True),
        (torch.cuda, "device_count", lambda: 1),
        (torch.cuda, "device", lambda *_: contextlib.nullcontext()),
        (torch.cuda, "synchronize", lambda *_: None),
        (torch.version, "hip", "6.0" if architecture.startswith("gfx") else None),
        (torch, "equal", _are_equal),
        *((torch, name, _redirected(getattr(torch, name), backing)) for name in _FACTORIES),
        *((torch.Tensor, name, _redirected(getattr(torch.Tensor, name), backing)) for name in _METHODS),
    ]


_equal = torch.equal


def _are_equal(first: torch.Tensor, second: torch.Tensor) -> bool:
    """Without data: yes, which is what those who ask hope for (an upstream gradient of 1)."""
    return True if _true_device(first).type == "meta" else _equal(first, second)


def _true_device(tensor: torch.Tensor) -> torch.device:
    device: torch.device = torch._C.TensorBase.device.__get__(tensor)  # type: ignore[attr-defined]
    return device


def _redirected(function: Callable[..., Any], backing: str) -> Callable[..., Any]:
    """`function` with the tensors it is to make on a GPU made where they are instead."""

    def call(*arguments: Any, **named: Any) -> Any:
        if _State.backing:
            arguments = tuple(backing if _is_gpu(each) else each for each in arguments)
            named = {name: backing if _is_gpu(each) else each for name, each in named.items()}
        return function(*arguments, **named)

    return call


def _is_gpu(value: object) -> bool:
    return (isinstance(value, torch.device) and value.type == "cuda") or (
        isinstance(value, str) and value.startswith("cuda")
    )
