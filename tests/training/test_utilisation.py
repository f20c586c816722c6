"""How busy the device is: work counts, waiting does not, and a driver that refuses is no error."""

import time

import pytest
import torch

from workbench.training import utilisation
from workbench.training.utilisation import Utilisation


def clock(monkeypatch: pytest.MonkeyPatch, meter: Utilisation, passed: float, worked: float) -> None:
    """Let `passed` seconds go by in which the process computes for `worked`."""
    now, before = meter._at + passed, meter._worked
    monkeypatch.setattr(utilisation.time, "perf_counter", lambda: now)
    monkeypatch.setattr(meter, "_cpu_seconds", lambda: before + worked)


def test_the_share_is_computing_time_over_all_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(utilisation, "_processors", lambda: 4)
    meter = Utilisation(torch.device("cpu"))
    assert meter.share() is None, "nothing is known yet"
    clock(monkeypatch, meter, passed=2.0, worked=4.0)
    assert meter.share() == pytest.approx(0.5)
    clock(monkeypatch, meter, passed=0.1, worked=0.0)
    assert meter.share() == pytest.approx(0.5), "too short a span tells nothing new"
    clock(monkeypatch, meter, passed=1.0, worked=9.0)
    assert meter.share() == 1.0


def test_a_driver_that_refuses_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def refuse(device: torch.device) -> int:
        asked.append(device)
        raise RuntimeError("no NVML")

    monkeypatch.setattr(torch.cuda, "utilization", refuse)
    monkeypatch.setattr(utilisation, "SPAN_SECONDS", 0.0)
    meter = Utilisation(torch.device("cuda", 0))
    assert meter.share() is None and meter.share() is None
    assert len(asked) == 1


def test_a_gpu_is_told_by_its_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "utilization", lambda device: 87)
    monkeypatch.setattr(utilisation, "SPAN_SECONDS", 0.0)
    assert Utilisation(torch.device("cuda", 0)).share() == 0.87


def test_this_process_is_seen_to_work() -> None:
    meter = Utilisation(torch.device("cpu"))
    end = time.perf_counter() + 0.7
    while time.perf_counter() < end:
        pass
    share = meter.share()
    assert share is not None and 0 < share <= 1
