"""Which side of an operation runs, and what is said when it is not the one that was asked for."""

import subprocess
import sys
import warnings

import pytest
import torch

import workbench_kernels
from workbench_kernels import dispatch, launch

HAS_GPU = torch.cuda.is_available()


def say(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run Python code in a fresh process in which only `environment` speaks of kernels."""
    import os

    kept = {name: value for name, value in os.environ.items() if name not in ("TRITON_INTERPRET", dispatch.VARIABLE)}
    command = [sys.executable, "-c", f"import sys\nsys.path[:0] = {sys.path!r}\n{code}"]
    return subprocess.run(command, check=False, capture_output=True, text=True, env=kept | environment)


ASK = "import torch; from workbench_kernels import dispatch; print(dispatch.side('rms_norm', torch.ones(2)))"


def test_importing_the_operations_imports_no_triton() -> None:
    done = say("import workbench_kernels; print('triton' in sys.modules)")
    assert done.stdout.strip() == "False", done.stderr


def test_the_operations_work_where_triton_is_not_installed() -> None:
    hidden = "sys.modules['triton'] = None\nimport importlib.util as u; find = u.find_spec\n"
    hidden += "u.find_spec = lambda name, *rest: None if name == 'triton' else find(name, *rest)\n"
    use = "import torch, workbench_kernels as w; print(w.rms_norm(torch.ones(1, 4), torch.ones(4), 0.0).sum().item())"
    assert say(hidden + use, TRITON_INTERPRET="1", WORKBENCH_KERNELS="reference").stdout.strip() == "4.0"
    fell_back = say(hidden + use, TRITON_INTERPRET="1")
    assert fell_back.stdout.strip() == "4.0"
    assert fell_back.stderr.count("Triton is not installed; the operations run in plain PyTorch") == 1
    refused = say(hidden + use, TRITON_INTERPRET="1", WORKBENCH_KERNELS="triton")
    assert "WORKBENCH_KERNELS=triton: Triton is not installed" in refused.stderr


@pytest.mark.parametrize(
    ("environment", "answer"),
    [
        ({}, "False"),
        ({"TRITON_INTERPRET": "1"}, "True"),
        ({"TRITON_INTERPRET": "0"}, "False"),
        ({"TRITON_INTERPRET": "1", "WORKBENCH_KERNELS": "reference"}, "False"),
        ({"TRITON_INTERPRET": "1", "WORKBENCH_KERNELS": "triton"}, "True"),
    ],
    ids=str,
)
def test_the_environment_decides_for_a_cpu_tensor(environment: dict[str, str], answer: str) -> None:
    assert say(ASK, **environment).stdout.strip() == answer


def test_forcing_triton_where_it_cannot_run_is_an_error_that_says_what_to_do() -> None:
    error = say(ASK, WORKBENCH_KERNELS="triton").stderr
    assert "kernels do not run on cpu tensors without TRITON_INTERPRET=1" in error
    assert "unset it, or say reference" in error


def test_an_unknown_side_is_refused_with_the_known_ones() -> None:
    assert "WORKBENCH_KERNELS=gpu: no such side; say reference or triton" in say(ASK, WORKBENCH_KERNELS="gpu").stderr


def test_float64_takes_the_reference_even_where_triton_is_forced() -> None:
    with dispatch.forced("triton"):
        assert not dispatch.side("rms_norm", torch.ones(2, dtype=torch.float64))


@pytest.mark.skipif(HAS_GPU, reason="CPU tensors have no interpreter here")
def test_a_disabled_operation_falls_back_with_one_warning_and_others_do_not() -> None:
    x = torch.ones(2)
    with dispatch.forced("triton"):
        assert dispatch.side("swiglu", x)
        with pytest.warns(UserWarning, match="the Triton kernel of swiglu is off, PyTorch runs instead: off by 3"):
            dispatch.disable("swiglu", "off by 3")
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            dispatch.disable("swiglu", "off by 3")
            assert not dispatch.side("swiglu", x)
            assert dispatch.side("rms_norm", x)
        assert dispatch.disabled() == {"swiglu": "off by 3"}
    assert dispatch.disabled() == {}


def test_an_inner_force_wins_and_the_outer_returns() -> None:
    x = torch.ones(2)
    with dispatch.forced("triton"), dispatch.forced("reference"):
        assert not dispatch.side("rms_norm", x)
    with dispatch.forced("reference"):
        before = dispatch.side("rms_norm", x)
    assert not before


def test_the_public_operations_go_where_dispatch_says(monkeypatch) -> None:
    asked = []
    monkeypatch.setattr(dispatch, "side", lambda name, tensor: bool(asked.append(name)))
    x, heads, table = torch.ones(2, 4), torch.ones(1, 2, 3, 4), torch.ones(3, 4)
    weight = torch.ones(4)
    workbench_kernels.rms_norm(x, weight, 1e-5)
    workbench_kernels.add_rms_norm(x, x, weight, 1e-5)
    workbench_kernels.apply_rotary(heads, heads, table, table)
    workbench_kernels.qk_norm_rotary(heads, heads, weight, weight, table, table, 1e-5)
    workbench_kernels.swiglu(x, x)
    workbench_kernels.attention(heads, heads, heads)
    workbench_kernels.linear_cross_entropy(x, x, torch.zeros(2, dtype=torch.int64))
    workbench_kernels.linear_kl(x, x, x, x)
    workbench_kernels.grouped_matmul(x, torch.ones(1, 3, 4), torch.tensor([2]))
    workbench_kernels.int8_matmul(x, *workbench_kernels.quantize_int8(x))
    constants = {"IGNORED", "Documents", "quantize_int8"}
    assert sorted(asked) == sorted(set(workbench_kernels.__all__) - constants)


@pytest.mark.parametrize(
    ("architecture", "row"),
    [
        ("sm_80", "sm_80"),
        ("sm_87", "sm_80"),
        ("sm_90", "sm_90"),
        ("sm_103", "sm_90"),
        ("sm_86", "sm_86"),
        ("sm_120", "sm_86"),
        ("sm_75", "default"),
        ("gfx942", "default"),
        ("interpreter", "interpreter"),
    ],
)
def test_an_architecture_without_a_row_takes_its_nearest_older_relatives(architecture: str, row: str) -> None:
    names = ("sm_80", "sm_86", "sm_90", "interpreter", "default")
    assert launch.lookup({name: name for name in names}, architecture) == row


@pytest.mark.parametrize(("size", "power"), [(0, 1), (1, 1), (2, 2), (3, 4), (64, 64), (65, 128)])
def test_a_block_is_the_next_power_of_two(size: int, power: int) -> None:
    assert launch.next_power_of_2(size) == power


def test_the_options_of_a_launch_are_its_blocks_warps_and_stages() -> None:
    assert launch.Launch({"BLOCK": 8}, 2, 1).options() == {"BLOCK": 8, "num_warps": 2, "num_stages": 1}


def test_a_cpu_tensor_is_launched_as_for_the_interpreter() -> None:
    assert launch.architecture(torch.device("cpu")) == launch.INTERPRETER
