"""AdamW over the parameters of a model, and its state as plain tensors."""

import torch
from torch import Tensor, nn

from workbench.config import OptimizerSettings


def build_optimizer(model: nn.Module, settings: OptimizerSettings) -> torch.optim.AdamW:
    """AdamW with weight decay on matrices only: pulling norms towards zero would switch them off.

    Source: Loshchilov and Hutter 2019, arXiv:1711.05101.
    """
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim >= 2], "weight_decay": settings.weight_decay},
        {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
    ]
    # the learning rate is set before every step; fused: one pass over memory in place of about ten
    return torch.optim.AdamW(groups, lr=0.0, betas=settings.betas, eps=settings.eps, fused=True)


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
