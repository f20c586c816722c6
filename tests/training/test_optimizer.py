import math
from typing import Literal

import pytest
import torch
from torch import nn

from workbench.config import OptimizerSettings
from workbench.training.optimizer import build_optimizer, clip_gradients, load_optimizer_tensors, optimizer_tensors


def test_only_matrices_decay() -> None:
    model = nn.Sequential(nn.Linear(3, 2), nn.LayerNorm(2))
    decayed = {
        id(p)
        for group in build_optimizer(model, OptimizerSettings()).param_groups
        if group["weight_decay"]
        for p in group["params"]
    }
    assert decayed == {id(model[0].weight)}


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_state_put_back_gives_the_same_next_step(name: Literal["adamw", "muon"]) -> None:
    settings = OptimizerSettings(name=name)

    def trained(steps: int) -> tuple[nn.Module, torch.optim.Optimizer]:
        torch.manual_seed(0)
        model = nn.ModuleDict({"layers": nn.Sequential(nn.Linear(3, 2, bias=False), nn.Linear(2, 2))})
        optimizer = build_optimizer(model, settings)
        take(model, optimizer, steps)
        return model, optimizer

    def take(model: nn.Module, optimizer: torch.optim.Optimizer, steps: int) -> None:
        for _ in range(steps):
            for group in optimizer.param_groups:
                group["lr"] = 0.1
            model["layers"](torch.ones(1, 3)).square().sum().backward()
            optimizer.step()
            optimizer.zero_grad()

    whole, _ = trained(5)
    half, optimizer = trained(3)
    fresh = build_optimizer(half, settings)
    kept = {key: value.clone() for key, value in optimizer_tensors(half, optimizer).items()}
    load_optimizer_tensors(half, fresh, kept)
    take(half, fresh, 2)
    expected = half.state_dict()
    assert all(torch.equal(value, expected[key]) for key, value in whole.state_dict().items())


@pytest.mark.parametrize("largest", [0.0, 0.01, 1e6])
def test_clipping_is_pytorchs(largest: float) -> None:
    models = []
    for _ in range(2):
        torch.manual_seed(3)
        models.append(nn.Sequential(nn.Linear(4, 5), nn.Linear(5, 2)))
        models[-1](torch.ones(3, 4)).square().sum().backward()
    norm = clip_gradients(models[0], largest)
    assert norm == float(nn.utils.clip_grad_norm_(models[1].parameters(), largest or float("inf"), foreach=True))
    assert all(torch.equal(a.grad, b.grad) for a, b in zip(*(each.parameters() for each in models), strict=True))


def test_clipping_tells_of_gradients_that_are_no_numbers() -> None:
    model = nn.Linear(2, 2)
    model(torch.tensor([[float("nan"), 0.0]])).sum().backward()
    assert math.isnan(clip_gradients(model, 1.0))
