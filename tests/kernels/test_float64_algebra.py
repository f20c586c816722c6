"""The kernels' source with float64 in place of float32: what they compute is then exact, and gradcheck can judge it.

Rounding hides small mistakes; here none is left.
"""

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch

import workbench_kernels
from tests.kernels import interpreter
from workbench_kernels import reference, triton_ops

pytestmark = [
    pytest.mark.usefixtures("sanitized"),
    pytest.mark.skipif(not interpreter.interpreted(), reason="the rewritten source is for the interpreter"),
]


@pytest.fixture(scope="module")
def load(tmp_path_factory) -> Iterator:
    """A module of kernels by name, rewritten; operators get names of their own."""
    folder, loaded = tmp_path_factory.mktemp("float64"), {}

    def rewritten(name: str) -> ModuleType:
        if name not in loaded:
            source = (Path(triton_ops.__path__[0]) / f"{name}.py").read_text(encoding="utf-8")
            assert "tl.float32" in source
            for old, new in (
                ("tl.float32", "tl.float64"),
                ("torch.float32", "torch.float64"),
                ('custom_op("workbench_kernels::', 'custom_op("workbench_kernels_float64::'),
                ("from workbench_kernels.triton_ops.rms_norm", "from float64_rms_norm"),
            ):
                source = source.replace(old, new)
            path = folder / f"float64_{name}.py"
            path.write_text(source, encoding="utf-8")
            spec = importlib.util.spec_from_file_location(f"float64_{name}", path)
            loaded[name] = sys.modules[f"float64_{name}"] = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(loaded[name])
        return loaded[name]

    with interpreter.float64_scalars():
        yield rewritten
    for name in loaded:
        del sys.modules[f"float64_{name}"]


def random(*shape: int) -> torch.Tensor:
    return torch.randn(shape, dtype=torch.float64, requires_grad=True)


def exact(operation, definition, *inputs: torch.Tensor) -> None:
    """Agreement to the last digits, and gradients that are those of finite differences."""
    got, expected = operation(*inputs), definition(*inputs)
    torch.testing.assert_close(got, expected, rtol=1e-11, atol=1e-11)
    assert torch.autograd.gradcheck(operation, inputs, fast_mode=True)


@pytest.mark.parametrize("hidden", [6, 70], ids=["one block", "several blocks"])
def test_rms_norm_is_exact_algebra(load, hidden: int) -> None:
    kernels = load("rms_norm")
    x, residual, weight = random(5, hidden), random(5, hidden), random(hidden)
    exact(lambda x, w: kernels.rms_norm(x, w, 0.1), lambda x, w: reference.rms_norm(x, w, 0.1), x, weight)
    exact(
        lambda *inputs: kernels.add_rms_norm(*inputs, 0.1),
        lambda *inputs: reference.add_rms_norm(*inputs, 0.1),
        x,
        residual,
        weight,
    )


@pytest.mark.parametrize("rotary_dim", [6, 4], ids=["whole heads", "parts of heads"])
def test_rotary_is_exact_algebra(load, rotary_dim: int) -> None:
    load("rms_norm")
    kernels = load("rotary")
    angles = 6 * torch.rand(9, rotary_dim // 2, dtype=torch.float64).repeat(1, 2)
    tables = (angles.cos(), angles.sin())
    q, k, q_weight, k_weight = random(1, 3, 9, 6), random(1, 1, 9, 6), random(6), random(6)
    exact(
        lambda q, k: kernels.apply_rotary(q, k, *tables),
        lambda q, k: reference.apply_rotary(q, k, *tables),
        q,
        k,
    )
    exact(
        lambda *inputs: kernels.qk_norm_rotary(*inputs, *tables, 0.1),
        lambda *inputs: reference.qk_norm_rotary(*inputs, *tables, 0.1),
        *(q, k, q_weight, k_weight),
    )


def test_swiglu_is_exact_algebra(load) -> None:
    exact(load("swiglu").swiglu, workbench_kernels.swiglu, random(3, 150), random(3, 150))
