"""Devices, precisions and threads: what is asked for, or what is faster here."""

import pytest
import torch

from workbench.errors import DeviceError
from workbench.model import precision
from workbench.model.configuration import ModelConfig


@pytest.fixture(autouse=True)
def _measure_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    precision._faster_precision.cache_clear()
    precision._fastest_threads.cache_clear()
    monkeypatch.setattr(precision, "_RACE_SECONDS", 0.0)


def pretend(monkeypatch: pytest.MonkeyPatch, **seconds: float) -> None:
    monkeypatch.setattr(precision, "_race", lambda runners: {name: seconds[name] for name in runners})


def test_an_absent_device_is_refused_with_what_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "available_devices", lambda: ["mps", "cpu"])
    with pytest.raises(DeviceError, match=r"device 'cuda'.*device = 'mps', device = 'cpu'") as caught:
        precision.resolve_device("cuda")
    assert caught.value.exit_code == 3


@pytest.mark.parametrize("wanted", ["cuda:7", "cuda:x", "tpu", "cpu:1"])
def test_a_device_that_does_not_exist_is_refused(monkeypatch: pytest.MonkeyPatch, wanted: str) -> None:
    monkeypatch.setattr(precision, "available_devices", lambda: ["cuda", "cpu"])
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(DeviceError):
        precision.resolve_device(wanted)
    assert precision.resolve_device("cuda:1") == torch.device("cuda:1")


def test_auto_takes_the_fastest_kind_of_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "available_devices", lambda: ["cuda", "cpu"])
    assert precision.resolve_device("auto") == torch.device("cuda")


def test_a_wish_needs_no_race(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "_race", lambda _: pytest.fail("raced"))
    assert precision.resolve_precision("fp32", "cpu") == "fp32"
    assert precision.resolve_precision("bf16", "cpu") == "bf16"


@pytest.mark.parametrize(("bf16", "expected"), [(0.3, "bf16"), (0.97, "fp32"), (2.0, "fp32")])
def test_auto_on_a_cpu_is_what_wins_clearly(monkeypatch: pytest.MonkeyPatch, bf16: float, expected: str) -> None:
    pretend(monkeypatch, fp32=1.0, bf16=bf16)
    assert precision.resolve_precision("auto", "cpu") == expected


@pytest.mark.parametrize("native", [True, False])
def test_auto_on_a_gpu_is_bf16_where_it_is_native(monkeypatch: pytest.MonkeyPatch, native: bool) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: native or including_emulation)
    assert precision.resolve_precision("auto", "cuda") == ("bf16" if native else "fp16")


def test_a_race_is_run_once_for_models_that_differ_in_depth_only(
    monkeypatch: pytest.MonkeyPatch, small: ModelConfig, build
) -> None:
    races = []

    def race(runners: dict) -> dict[str, float]:
        races.append(1)
        return {"fp32": 1.0, "bf16": 0.5}

    monkeypatch.setattr(precision, "_race", race)
    for layers in (2, 3):
        precision.resolve_precision("auto", "cpu", build(num_hidden_layers=layers).config)
    assert len(races) == 1
    precision.resolve_precision("auto", "cpu", build(hidden_size=96).config)
    assert len(races) == 2


def test_measuring_changes_no_random_numbers_and_no_thread_count(small: ModelConfig) -> None:
    torch.manual_seed(3)
    expected = torch.rand(2)
    threads = torch.get_num_threads()
    torch.manual_seed(3)
    assert precision.resolve_precision("auto", "cpu", small, 64) in ("fp32", "bf16")
    assert 1 <= precision.suggest_threads(small, 64) <= max(threads, 1)
    assert torch.equal(torch.rand(2), expected)
    assert torch.get_num_threads() == threads


def test_the_fastest_number_of_threads_is_suggested(monkeypatch: pytest.MonkeyPatch, small: ModelConfig) -> None:
    monkeypatch.setattr(precision, "_cpus", lambda: 6)
    pretend(monkeypatch, **{"1": 1.0, "2": 0.6, "4": 0.7, "6": 0.9})
    assert precision.suggest_threads(small, 64) == 2


def test_a_moment_of_other_work_does_not_cost_a_run_its_threads(
    monkeypatch: pytest.MonkeyPatch, small: ModelConfig
) -> None:
    monkeypatch.setattr(precision, "_cpus", lambda: 2)
    monkeypatch.setattr(precision.time, "sleep", lambda seconds: None)
    busy, quiet = {"1": 1.0, "2": 3.0}, {"1": 1.0, "2": 0.6}
    races = iter([busy, quiet])
    monkeypatch.setattr(precision, "_race", lambda runners: next(races))
    assert precision.suggest_threads(small, 64) == 2


@pytest.mark.parametrize(("name", "expected"), [("fp32", torch.float32), ("bf16", torch.bfloat16)])
def test_products_inside_autocast_are_in_the_precision(name: str, expected: torch.dtype) -> None:
    with precision.autocast("cpu", name):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == expected
