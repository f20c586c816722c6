"""Kernels are checked once a device before they train a model; those that fail fall back, visibly."""

import json
from pathlib import Path

import pytest
import torch

from workbench import job_kernels
from workbench.locations import cache_folder
from workbench_kernels import dispatch, parity


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLM_WORKBENCH_HOME", str(tmp_path / "home"))
    with dispatch.forced("reference"):
        yield


def test_on_a_cpu_there_is_nothing_to_distrust() -> None:
    assert job_kernels.distrust_kernels(torch.device("cpu"), "bf16") == {}
    assert not cache_folder().exists()


def test_the_check_runs_in_a_process_of_its_own_and_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_kernels, "_CHILD", job_kernels._CHILD.replace("dtype)))", 'dtype, ["swiglu"])))'))
    first = job_kernels.checked_kernels(torch.device("cpu"), torch.float32, "this one")
    assert list(first) == ["swiglu"]
    assert isinstance(first["swiglu"], float) and first["swiglu"] < 1e-5
    monkeypatch.setattr(job_kernels, "_check_apart", lambda *_: pytest.fail("it was known"))
    assert job_kernels.checked_kernels(torch.device("cpu"), torch.float32, "this one") == first


def test_another_version_is_checked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(job_kernels, "_check_apart", lambda device, dtype: asked.append(str(dtype)) or {})
    for identity, dtype in (("one", torch.float32), ("two", torch.float32), ("two", torch.bfloat16)):
        job_kernels.checked_kernels(torch.device("cpu"), dtype, identity)
    assert len(asked) == 3
    (cache_folder() / "kernels.json").write_text("{", encoding="utf-8")
    job_kernels.checked_kernels(torch.device("cpu"), torch.float32, "one")
    assert len(asked) == 4
    assert list(json.loads((cache_folder() / "kernels.json").read_text(encoding="utf-8"))) == ["one, torch.float32"]


def test_a_process_that_dies_distrusts_every_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_kernels, "_CHILD", "raise SystemExit('an illegal memory access was encountered')")
    results = job_kernels.checked_kernels(torch.device("cpu"), torch.float32, "broken")
    assert set(results) == set(parity.operation_names())
    assert all("illegal memory access" in str(result) for result in results.values())


def test_what_fails_on_a_gpu_falls_back_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    results = dict.fromkeys(parity.operation_names(), 1e-06) | {"attention": 0.5, "swiglu": "RuntimeError: no"}
    monkeypatch.setattr(job_kernels, "_identity", lambda device: "pretended")
    monkeypatch.setattr(job_kernels, "_check_apart", lambda *_: results)
    failed = job_kernels.distrust_kernels(torch.device("cuda"), "bf16")
    assert set(failed) == {"attention", "swiglu"}
    assert set(dispatch.disabled()) == {"attention", "swiglu"}
