"""`bench kernels`: what it prints without a GPU, and how timings are set out."""

import json

import pytest
import torch

from workbench.cli.kernel_commands import timing_table
from workbench.cli.main import main
from workbench_kernels.benchmark import Timing

TIMES = {"ours": 10.0, "eager": 40.0, "compiled": 12.5, "liger": None}
without_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")


@without_gpu
def test_without_a_gpu_it_says_so_and_prints_the_static_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "kernels"]) == 0
    told = capsys.readouterr()
    assert told.err.startswith("no GPU here") and told.err.count("\n") == 1
    assert "rms_norm forward" in told.out and "sm_90" in told.out


@without_gpu
def test_without_a_gpu_the_static_table_is_there_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "kernels", "--json"]) == 0
    values = json.loads(capsys.readouterr().out)
    assert values["device"] is None
    assert {"operation", "architecture", "spilled_bytes"} <= set(values["static"][0])


def test_a_timing_shows_what_is_achieved_of_the_roofline() -> None:
    memory = Timing("rms_norm", 3e-3, TIMES, megabytes=30.0, gflop=0.0, bound_microseconds=9.0)
    products = Timing("attention", 3e-3, TIMES, megabytes=30.0, gflop=5.0, bound_microseconds=5.0)
    _, first, second = timing_table([memory, products]).splitlines()
    assert first.split() == ["rms_norm", "3.0e-03", "10.0", "40.0", "12.5", "-", "3.00", "TB/s", "90", "%"]
    assert second.split()[-4:] == ["500", "TFLOP/s", "50", "%"]


def test_a_kernel_that_failed_shows_no_rate() -> None:
    failed = Timing("rms_norm", 3e-3, {**TIMES, "ours": None}, 30.0, 0.0, 9.0)
    assert timing_table([failed]).splitlines()[1].split()[-2:] == ["-", "-"]
