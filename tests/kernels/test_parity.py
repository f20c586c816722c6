"""The check of a device: kernels that compute what they should pass it, wrong and failing ones are named."""

import pytest
import torch

from workbench_kernels import dispatch, parity
from workbench_kernels.triton_ops import rms_norm, swiglu


@pytest.mark.parametrize("operation", parity.operation_names())
def test_every_operation_passes_on_this_device(device, operation: str) -> None:
    results = parity.check(device, torch.bfloat16, [operation])
    assert parity.failures(results, torch.bfloat16) == {}
    assert 0 < results[operation] < parity.TOLERANCE[torch.bfloat16]


@pytest.mark.parametrize("factor", [1.1, float("nan")])
def test_an_operation_with_wrong_results_is_named_with_its_error(device, monkeypatch, factor: float) -> None:
    right = swiglu.swiglu
    monkeypatch.setattr(swiglu, "swiglu", lambda gate, up: right(gate, up) * factor)
    results = parity.check(device, torch.float32, ["int8_matmul", "swiglu"])
    reasons = parity.failures(results, torch.float32)
    assert list(reasons) == ["swiglu"]
    assert "off by" in reasons["swiglu"]


def test_an_operation_with_a_wrong_gradient_only_is_named(device, monkeypatch) -> None:
    right = swiglu.swiglu
    monkeypatch.setattr(swiglu, "swiglu", lambda gate, up: right(gate, up.detach()) + 0 * up)
    assert list(parity.failures(parity.check(device, torch.float32, ["swiglu"]), torch.float32)) == ["swiglu"]


def test_an_operation_that_raises_is_named_with_what_it_said(device, monkeypatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("out of resource: shared memory")

    monkeypatch.setattr(rms_norm, "rms_norm", fail)
    results = parity.check(device, torch.float32, ["rms_norm", "swiglu"])
    assert results["rms_norm"] == "RuntimeError: out of resource: shared memory"
    assert isinstance(results["swiglu"], float)
    assert "out of resource" in parity.failures(results, torch.float32)["rms_norm"]


def test_a_disabled_operation_is_checked_on_triton_again(device, monkeypatch) -> None:
    right = swiglu.swiglu
    monkeypatch.setattr(swiglu, "swiglu", lambda gate, up: right(gate, up) * 1.1)
    with dispatch.forced("triton"):
        with pytest.warns(UserWarning, match="swiglu"):
            dispatch.disable("swiglu", "off")
        assert parity.failures(parity.check(device, torch.float32, ["swiglu"]), torch.float32)
        assert not dispatch.side("swiglu", torch.ones(1, device=device))


def test_checking_leaves_the_random_numbers_of_a_run_alone(device) -> None:
    before = torch.get_rng_state()
    parity.check(device, torch.float32, ["swiglu"])
    assert torch.equal(torch.get_rng_state(), before)
