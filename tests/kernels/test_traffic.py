"""Bytes are counted at a part of the batch: that the whole batch lies where the parts say."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.kernels.comparison import Case
from tests.kernels.traffic import Known, Traffic, at_batch, by_kernel, counting, launch_key

ARCHITECTURE = "sm_90"


def cases(operation: str) -> list[Case]:
    from tests.kernels import static_specs

    return [case for case in static_specs.cases() if case.operation == operation]


def counted(case: Case, size: float, known: Known | None = None) -> dict[str, Traffic]:
    from tests.kernels.capture import stub_for
    from tests.kernels.pretence import pretending
    from tests.kernels.torch_operations import SkipProducts

    with stub_for(ARCHITECTURE), pretending(ARCHITECTURE, "cpu"), counting(known) as traffic:
        case.run(size, around=SkipProducts())
    return by_kernel(traffic)


@pytest.mark.parametrize("operation", ["swiglu", "rms_norm", "add_rms_norm"])
def test_a_full_count_is_what_the_parts_predict(operation: str) -> None:
    for case in cases(operation):
        if case.part != "forward":
            continue
        small, middle, full = 1 / 64, 2 / 64, 4 / 64
        predicted = at_batch(full, (small, middle), [counted(case, small), counted(case, middle)])
        true = counted(case, full)
        assert {name: asdict(each) for name, each in predicted.items()} == {
            name: asdict(each) for name, each in true.items()
        }


def test_a_known_launch_is_counted_without_running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from triton.runtime.interpreter import GridExecutor

    (case,) = (case for case in cases("rms_norm") if case.part == "forward")
    first = counted(case, 1 / 64, Known(tmp_path))
    monkeypatch.setattr(GridExecutor, "__call__", lambda *_, **__: pytest.fail("ran"))
    assert counted(case, 1 / 64, Known(tmp_path)) == first
    with pytest.raises(pytest.fail.Exception):
        counted(case, 2 / 64, Known(tmp_path))


def test_a_launch_is_known_by_all_that_decides_its_accesses() -> None:
    x, labels = torch.zeros(4, 4), torch.tensor([1, 2])

    def key(grid: Any = (4,), **changes: Any) -> str:
        return launch_key("kernel", grid, {"x": x, "y": x, "labels": labels, "n": 4, "BLOCK": 16} | changes)

    assert key() == key() == key(labels=labels.clone())
    others = [
        key((5,)),
        key(x=x.T),
        key(x=torch.zeros(4, 4)),
        key(x=x.half(), y=x),
        key(labels=torch.tensor([1, 3])),
        key(n=5),
        key(BLOCK=32),
    ]
    assert key() not in others


def test_unique_bytes_of_a_norm_are_what_its_arithmetic_says() -> None:
    (case,) = (case for case in cases("rms_norm") if case.part == "forward")
    found = counted(case, 1 / 64)["rms_norm_kernel"]
    rows, hidden = 16, 1024
    assert found.unique_read_bytes == 2 * rows * hidden + 2 * hidden
    assert found.unique_written_bytes == 2 * rows * hidden + 4 * rows
    assert found.matrix_flops == found.atomic_bytes == 0
