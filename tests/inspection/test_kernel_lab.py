"""The kernel lab tells what computes here, how exact it is, and what its kernels became."""

import pytest
import torch

from workbench.inspection import kernel_lab
from workbench.inspection.kernel_lab import architectures, operation_figures
from workbench_kernels import dispatch, parity

CPU = torch.device("cpu")


def test_every_operation_is_within_its_tolerance_here() -> None:
    found = operation_figures(CPU)
    assert [each.name for each in found] == parity.operation_names()
    for each in found:
        assert each.side == "reference" and not each.reason
        assert each.passes("fp32") and each.passes("bf16"), each
        assert each.errors["bf16"] > 0 and each.errors["fp32"] < 1e-5, each


def test_compiled_kernels_are_those_of_the_architecture() -> None:
    assert {"sm_80", "sm_90", "sm_100"} <= set(architectures())
    (attention,) = (each for each in operation_figures(CPU) if each.name == "attention")
    for architecture in architectures():
        compiled = attention.compiled_for(architecture)
        assert [each.operation for each in compiled] == ["attention forward", "attention backward"]
        assert all(each.architecture == architecture and each.bound_microseconds > 0 for each in compiled)


def test_a_wrong_operation_does_not_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parity, "operation_names", lambda: ["swiglu"])
    monkeypatch.setattr(parity, "check", lambda *_: {"swiglu": 0.5})
    assert not operation_figures(CPU)[0].passes("fp32")
    monkeypatch.setattr(parity, "check", lambda *_: {"swiglu": "RuntimeError: no"})
    assert not operation_figures(CPU)[0].passes("bf16")


def test_what_was_put_aside_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parity, "operation_names", lambda: ["swiglu"])
    monkeypatch.setattr(dispatch, "disabled", lambda: {"swiglu": "it is off by 1"})
    assert operation_figures(CPU)[0].reason == "it is off by 1"


def test_it_stops_when_told_to() -> None:
    assert operation_figures(CPU, lambda: True) == []
    assert kernel_lab.tolerance("bf16") > kernel_lab.tolerance("fp32")
