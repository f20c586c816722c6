"""The ground under the kernel tests: the repaired interpreter, the sanitizer, comparison with float64 definitions."""

import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

HAS_TRITON = importlib.util.find_spec("triton") is not None
WITHOUT_TRITON = ("test_reference", "test_dispatch")

if HAS_TRITON:
    from tests.kernels import interpreter

    interpreter.install()

# Rounding of the inputs' dtype, times the few dozen operations between them and the result.
TOLERANCE = {torch.float64: 1e-11, torch.float32: 1e-5, torch.bfloat16: 3e-2}
# A GPU approximates exp2 and its like to 2 bits less: 7.6e-6 was seen on an H100.
_FLOAT32 = 1.5e-5 if torch.cuda.is_available() else 5e-6
KERNEL_TOLERANCE = {torch.float64: 1e-11, torch.float32: _FLOAT32, torch.float16: 2e-3, torch.bfloat16: 1.2e-2}
"""About three times what the kernels are seen to be off by."""


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Leave out the tests that import kernels where Triton does not exist."""
    name = collection_path.name
    return True if not HAS_TRITON and name.startswith("test_") and not name.startswith(WITHOUT_TRITON) else None


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _nan_in_new_tensors() -> Iterator[None]:
    """PyTorch fills `torch.empty` with NaN in this mode: an element that no kernel wrote shows."""
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    yield
    torch.use_deterministic_algorithms(before)


@pytest.fixture(scope="session")
def device() -> torch.device:
    """Where kernels run: compiled on a GPU, else interpreted."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@pytest.fixture
def sanitized() -> Iterator[None]:
    """Every launch of the test is watched. A property-based test says `with interpreter.sanitize()` itself."""
    with interpreter.sanitize():
        yield


@pytest.fixture
def on_triton() -> Iterator[None]:
    """The public operations take their Triton side."""
    from workbench_kernels import dispatch

    with dispatch.forced("triton"):
        yield


def _check(
    tolerances: dict[torch.dtype, float],
    operation: Callable[..., Tensor | tuple[Tensor, ...]],
    definition: Callable[..., Tensor | tuple[Tensor, ...]],
    *inputs: Tensor,
    tolerance: float | None = None,
) -> None:
    dtype = inputs[0].dtype
    own = [tensor.detach().clone(memory_format=torch.preserve_format).requires_grad_() for tensor in inputs]
    true = [tensor.detach().double().clone().requires_grad_() for tensor in inputs]
    results, truths = _as_tuple(operation(*own)), _as_tuple(definition(*true))
    upstream = [torch.randn_like(truth) for truth in truths]
    rounded = [grad.to(result.dtype) for grad, result in zip(upstream, results, strict=True)]
    own_grads = torch.autograd.grad(results, own, rounded)
    true_grads = torch.autograd.grad(truths, true, [grad.double() for grad in rounded])
    for name, got, expected in [
        *((f"output {i}", *pair) for i, pair in enumerate(zip(results, truths, strict=True))),
        *((f"gradient {i}", *pair) for i, pair in enumerate(zip(own_grads, true_grads, strict=True))),
    ]:
        assert got.shape == expected.shape
        if got.numel():
            error = ((got.double() - expected).abs().max() / expected.abs().max().clamp_min(0.1)).item()
            assert error < (tolerance or tolerances[dtype]), f"{name}: {error:.2e}"


def _as_tuple(value: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return value if isinstance(value, tuple) else (value,)


@pytest.fixture(scope="session")
def agrees() -> Callable[..., None]:
    """Compare an operation and its definition, outputs and gradients, relative to the largest true value."""
    return lambda *arguments, **named: _check(TOLERANCE, *arguments, **named)


@pytest.fixture(scope="session")
def proves() -> Callable[..., None]:
    """As `agrees`, to the tolerances of the kernels: proves(operation, definition in float64, *inputs)."""
    return lambda *arguments, **named: _check(KERNEL_TOLERANCE, *arguments, **named)
