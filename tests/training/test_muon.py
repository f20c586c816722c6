"""Muon against torch's own, and which weights it moves."""

import pytest
import torch

from workbench.config import OptimizerSettings
from workbench.model.configuration import ModelConfig
from workbench.model.transformer import Transformer
from workbench.training.muon import Muon, orthogonal
from workbench.training.optimizer import build_optimizer


@pytest.mark.parametrize("shape", [(64, 96), (96, 64), (64, 64)])
def test_its_steps_are_those_of_torch(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    start = torch.randn(shape)
    own, theirs = torch.nn.Parameter(start.clone()), torch.nn.Parameter(start.clone())
    ours = Muon([{"params": [own], "muon": True, "momentum": 0.95, "weight_decay": 0.1}], lr=1e-2)
    peer = torch.optim.Muon([theirs], lr=1e-2, weight_decay=0.1, momentum=0.95, adjust_lr_fn="match_rms_adamw")
    for _ in range(5):
        grad = torch.randn(shape)
        own.grad, theirs.grad = grad.clone(), grad.clone()
        ours.step()
        peer.step()
    # theirs makes updates orthogonal in bf16, whose three digits are what is left between the two
    assert (own - theirs).norm() / (theirs - start).norm() < 2e-2


@pytest.mark.parametrize("shape", [(3, 20, 50), (2, 50, 20)])
def test_every_direction_gets_about_the_same_length(shape: tuple[int, int, int]) -> None:
    torch.manual_seed(1)
    lengths = torch.linalg.svdvals(orthogonal(torch.randn(shape)))
    assert lengths.min() > 0.6 and lengths.max() < 1.3


def test_a_gradient_of_nothing_moves_nothing() -> None:
    assert not orthogonal(torch.zeros(1, 4, 6)).any()


def test_only_the_matrices_of_the_blocks_go_by_muon() -> None:
    model = Transformer(ModelConfig(50, 16, 32, 2, 2, 2, 8, 16, tie_word_embeddings=False))
    optimizer = build_optimizer(model, OptimizerSettings(name="muon"))
    moved = {id(p) for group in optimizer.param_groups if group["muon"] for p in group["params"]}
    names = {name for name, p in model.named_parameters() if id(p) in moved}
    assert names == {name for name, p in model.named_parameters() if ".layers." in name and p.ndim == 2}
    assert len(names) == 14
    every = [p for group in optimizer.param_groups for p in group["params"]]
    assert len(every) == len(list(model.parameters()))


def test_the_rest_is_moved_by_adamw() -> None:
    torch.manual_seed(2)
    start = torch.randn(5, 3)
    own, theirs = torch.nn.Parameter(start.clone()), torch.nn.Parameter(start.clone())
    ours = Muon([{"params": [own], "muon": False}], lr=1e-2)
    peer = torch.optim.AdamW([theirs], lr=1e-2)
    for _ in range(3):
        grad = torch.randn(5, 3)
        own.grad, theirs.grad = grad.clone(), grad.clone()
        ours.step()
        peer.step()
    assert torch.equal(own, theirs)
