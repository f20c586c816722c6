"""The optimizer over the parameters of a model, and its state as plain tensors."""

from typing import Any

import torch
from torch import Tensor, nn

from workbench.config import OptimizerSettings
from workbench.training.muon import Muon

_ROUTERS = ("mlp.gate.weight", "shared_expert_gate.weight")


def build_optimizer(model: nn.Module, settings: OptimizerSettings) -> torch.optim.AdamW:
    """AdamW, or Muon with AdamW; weight decay on matrices only: pulling norms towards zero would switch them off.

    Source: Loshchilov and Hutter 2019, arXiv:1711.05101.
    """
    trained = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    # Embeddings, the output matrix, and routers, whose rows are embeddings of experts.
    outer = [p for name, p in trained.items() if p.ndim >= 2 and ("layers." not in name or name.endswith(_ROUTERS))]
    inner = [p for name, p in trained.items() if p.ndim >= 2 and "layers." in name and not name.endswith(_ROUTERS)]
    vectors = [p for p in trained.values() if p.ndim < 2]
    muon = settings.name == "muon"
    groups: list[dict[str, Any]] = [
        {"params": outer, "weight_decay": settings.weight_decay, "muon": False},
        {"params": inner, "weight_decay": settings.weight_decay, "muon": muon, "momentum": settings.momentum},
        {"params": vectors, "weight_decay": 0.0, "muon": False},
    ]
    groups = [group for group in groups if group["params"]]
    kind = Muon if muon else torch.optim.AdamW
    # the learning rate is set before every step; fused: one pass over memory in place of about ten
    return kind(groups, lr=0.0, betas=settings.betas, eps=settings.eps, fused=True)


def optimizer_tensors(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimizer's state by `PARAMETER.KEY`; empty before the first step."""
    state = optimizer.state
    return {
        f"{name}.{key}": value.detach().contiguous()
        for name, parameter in model.named_parameters()
        for key, value in state.get(parameter, {}).items()
    }


def load_optimizer_tensors(model: nn.Module, optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Put back what `optimizer_tensors` gave, on the device of each parameter."""
    for name, parameter in model.named_parameters():
        keys = {name_key.rpartition(".")[2] for name_key in tensors if name_key.rpartition(".")[0] == name}
        if keys:
            optimizer.state[parameter] = {key: tensors[f"{name}.{key}"].to(parameter.device) for key in sorted(keys)}
