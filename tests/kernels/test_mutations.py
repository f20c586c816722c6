"""The seeded faults: that each still applies, and that the tests notice a sample of them."""

import importlib.util
import subprocess
import sys

import pytest

from tests.kernels import mutations
from tests.kernels.fault import Fault
from tests.kernels.faults import EQUIVALENT, FAULTS
from tests.kernels.mutations import ROOT, Verdict, changed, judge, source_path

FAULT = Fault("swiglu", "of this test", "a < b", "a <= b", ())


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.key)
def test_a_fault_still_applies(fault: Fault) -> None:
    source = source_path(fault.module).read_text(encoding="utf-8")
    assert changed(source, fault) != source


def test_there_are_enough_faults_and_no_two_of_one_name() -> None:
    assert len(FAULTS) >= 60
    assert len({fault.key for fault in FAULTS}) == len(FAULTS)
    assert set(EQUIVALENT) <= {fault.key for fault in FAULTS}


def test_a_place_that_is_ambiguous_is_refused() -> None:
    with pytest.raises(ValueError, match="2 places"):
        changed("a < b; a < b", FAULT)


def test_one_of_twenty_may_live_if_it_has_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    dead, alive = Verdict(FAULT, True, "a test", 0.1), Verdict(FAULT, False, "", 0.1)
    assert not judge([])[1]
    assert not judge([dead] * 19 + [alive])[1]
    monkeypatch.setitem(mutations.EQUIVALENT, FAULT.key, "for this test")
    assert judge([dead] * 19 + [alive])[1]
    assert not judge([dead] * 18 + [alive] * 2)[1]


@pytest.mark.mutation
@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton is not installed")
def test_the_tests_notice_a_sample_of_the_faults() -> None:
    command = [sys.executable, "-m", "tests.kernels.mutations", "--sample", "10"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
