"""The gate against the peers: what fails it, and that it holds."""

import importlib.util
from dataclasses import replace
from typing import Any

import pytest

from tests.kernels import gate
from tests.kernels.gate_excuses import EXCUSES, Excuse

OURS = gate.Summary("rms_norm forward", "own", "sm_90", 10.0, 33.6, 1, 0, 0.95, 4.0, "")
THEIRS = replace(OURS, library="liger")


def failures(*table: gate.Summary, excuses: tuple[Excuse, ...] = ()) -> list[str]:
    return gate.judge(table, excuses, ["sm_90"])[1]


def test_equal_figures_pass() -> None:
    assert failures(OURS, THEIRS) == []


@pytest.mark.parametrize(
    "change", [{"microseconds": 10.1}, {"spilled_bytes": 4}, {"wide": 0.94}, {"in_flight": 3.9}], ids=str
)
def test_each_worse_figure_fails(change: dict[str, Any]) -> None:
    assert len(failures(replace(OURS, **change), THEIRS)) == 1


def test_an_excuse_covers_one_figure_of_one_operation() -> None:
    excuse = Excuse("rms_norm forward", "liger", "time", "for this test", ("sm_90",))
    slower = replace(OURS, microseconds=11.0)
    assert failures(slower, THEIRS, excuses=(excuse,)) == []
    assert failures(replace(slower, spilled_bytes=4), THEIRS, excuses=(excuse,)) != []


def test_an_excuse_that_is_not_needed_fails() -> None:
    assert failures(OURS, THEIRS, excuses=(Excuse("rms_norm forward", "liger", "time", "once", ("sm_90",)),)) != []


def test_an_empty_comparison_fails() -> None:
    assert failures() != []
    assert failures(OURS) != []


def test_an_operation_that_only_a_peer_has_fails() -> None:
    assert failures(OURS, THEIRS, replace(THEIRS, operation="swiglu forward")) != []


def test_bytes_that_were_not_counted_fail() -> None:
    row = {"operation": "swiglu forward", "library": "own", "architecture": "sm_90", "kernel": "swiglu_kernel"}
    with pytest.raises(ValueError, match="no bytes were counted of swiglu_kernel"):
        gate.summaries([row], [])


def test_every_excuse_says_why() -> None:
    assert all(len(excuse.reason.split()) > 5 for excuse in EXCUSES)


@pytest.mark.aot
@pytest.mark.slow
@pytest.mark.skipif(
    not all(map(importlib.util.find_spec, ("liger_kernel", "fla"))), reason="the peers are not installed"
)
def test_no_figure_is_worse_than_a_peers_without_an_excuse(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["gate"])
    assert gate.main() == 0
