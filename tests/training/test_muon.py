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


def test_stacked_matrices_are_moved_as_each_of_them_would_be() -> None:
    torch.manual_seed(3)
    start, grad = torch.randn(4, 12, 20), torch.randn(4, 12, 20)
    stacked, single = torch.nn.Parameter(start.clone()), [torch.nn.Parameter(each.clone()) for each in start]
    for parameters in ([stacked], single):
        optimizer = Muon([{"params": parameters, "muon": True, "momentum": 0.95, "weight_decay": 0.1}], lr=1e-2)
        for parameter, own in zip(parameters, [grad] if parameters == [stacked] else grad, strict=True):
            parameter.grad = own.clone()
        optimizer.step()
    assert torch.allclose(stacked, torch.stack(single), atol=1e-6)


def test_the_matrices_of_experts_go_by_muon_and_routers_do_not() -> None:
    sizes = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 8}
    config = ModelConfig(50, 16, 32, 1, 2, 2, 8, 16, model_type="qwen2_moe", shared_expert_intermediate_size=8, **sizes)
    model = Transformer(config)
    optimizer = build_optimizer(model, OptimizerSettings(name="muon"))
    moved = {id(p) for group in optimizer.param_groups if group["muon"] for p in group["params"]}
    mlp = {name.removeprefix("model.layers.0.mlp."): id(p) in moved for name, p in model.named_parameters()}
    assert mlp["experts.gate_up_proj"] and mlp["experts.down_proj"] and mlp["shared_expert.up_proj.weight"]
    assert not mlp["gate.weight"] and not mlp["shared_expert_gate.weight"]


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
