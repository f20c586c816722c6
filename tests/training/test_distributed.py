"""Two processes train as one does: the same losses, gradients, routing and weights, to float32 rounding."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from tests.training import ranks_worker
from tests.training.processes import ended, start_ranks
from tests.training.ranks_worker import SCENARIOS, name_of, train
from workbench.data.loader import Batch
from workbench.training.distributed import Spread
from workbench.training.ranks import Ranks

CASES = [(name, kind) for name, scenario in SCENARIOS.items() for kind in scenario.kinds]


@pytest.fixture(scope="module")
def by_two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which two processes left what came of every scenario."""
    folder = tmp_path_factory.mktemp("by-two")
    for code, _, told in ended(start_ranks(2, ranks_worker.__file__, str(folder))):
        assert code == 0, told
    return folder


@pytest.fixture(scope="module")
def by_one(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[list[dict[str, float]], Path]]:
    """By scenario the figures of one process, and its checkpoint."""
    folder, made = tmp_path_factory.mktemp("by-one"), {}
    for name, scenario in SCENARIOS.items():
        made[name] = (train(scenario, Spread(), folder / name), folder / name)
    return made


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_two_processes_train_as_one(name: str, kind: str, by_one: Any, by_two: Path) -> None:
    alone, _ = by_one[name]
    shared = json.loads((by_two / "figures.json").read_text(encoding="utf-8"))[name_of(name, kind)]
    assert len(alone) == len(shared) and "loss" in alone[1]
    # sums in another order differ by some 1e-7 of their size, and a few steps of learning multiply that
    for one, two in zip(alone, shared, strict=True):
        assert two == pytest.approx(one, rel=2e-5, abs=2e-6)


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_their_checkpoints_are_those_of_one(name: str, kind: str, by_one: Any, by_two: Path) -> None:
    _, alone = by_one[name]
    shared = by_two / name_of(name, kind)
    files = {str(path.relative_to(alone)) for path in alone.rglob("*") if path.is_file()}
    assert {str(path.relative_to(shared)) for path in shared.rglob("*") if path.is_file()} == files
    for file in [file for file in files if file.endswith(".safetensors")]:
        one, two = load_file(alone / file), load_file(shared / file)
        assert {name: (each.shape, each.dtype) for name, each in one.items()} == {
            name: (each.shape, each.dtype) for name, each in two.items()
        }
        for key, value in one.items():
            torch.testing.assert_close(
                two[key], value, rtol=1e-3, atol=1e-5, msg=lambda told, key=key: f"{key}: {told}"
            )


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_every_row_of_a_step_belongs_to_one_rank_and_none_goes_without(count: int) -> None:
    rows = np.arange(5).reshape(5, 1)
    parts = [Ranks(rank, count).part(Batch(rows, rows, None)).input_ids.flatten().tolist() for rank in range(count)]
    assert [row for part in parts for row in part] == [0, 1, 2, 3, 4] and all(parts)
    cuts = [-(-len(part) // 2) for part in parts]
    assert Ranks(0, count).most_parts(5, 2) == max(cuts)
