"""The optimizer over the parameters of a model, and its state as plain tensors."""

from typing import Any

import torch
from torch import Tensor, nn

from workbench.config import OptimizerSettings
from workbench.training.compact_adamw import CompactAdamW
from workbench.training.muon import Muon
from workbench.training.sharded import cut_like, is_sharded, whole

_CLIP_EPSILON = 1e-6  # torch divides by the norm and this
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
    # the learning rate is set before every step; fused: one pass over memory in place of about ten
    shared: dict[str, Any] = {"lr": 0.0, "betas": settings.betas, "eps": settings.eps, "fused": True}
    kind = Muon if muon else CompactAdamW
    return kind(groups, state_format=settings.state, **shared)


def optimizer_tensors(model: nn.Module, optimizer: torch.optim.Optimizer, keep: bool = True) -> dict[str, Tensor]:
    """The optimizer's state by `PARAMETER.KEY`; empty before the first step.

    Args:
        keep: False gives nothing, at a rank that only takes part where state is gathered.
    """
    state, kept = optimizer.state, dict[str, Tensor]()
    for name, parameter in model.named_parameters():
        for key, value in state.get(parameter, {}).items():
            full = whole(value.detach())
            if keep:  # what was gathered goes to the CPU, as it need not fit beside the parts
                kept[f"{name}.{key}"] = (full.cpu() if is_sharded(value) else full).contiguous()
    return kept


def load_optimizer_tensors(model: nn.Module, optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Put back what `optimizer_tensors` gave, on the device of each parameter, and cut as it is."""
    for name, parameter in model.named_parameters():
        keys = {name_key.rpartition(".")[2] for name_key in tensors if name_key.rpartition(".")[0] == name}
        if keys:
            own = {key: tensors[f"{name}.{key}"] for key in sorted(keys)}
            optimizer.state[parameter] = {
                key: cut_like(value, parameter) if value.shape == parameter.shape else value.to(parameter.device)
                for key, value in own.items()
            }


def clip_gradients(model: nn.Module, largest: float) -> float:
    """Scale the gradients down to a norm of `largest`, and return the norm they had.

    As `torch.nn.utils.clip_grad_norm_`, less its multiplication by one where nothing is to be clipped.

    Args:
        largest: 0 clips nothing.
    """
    gradients = [each.grad for each in model.parameters() if each.grad is not None]
    norm = whole(nn.utils.get_total_norm(gradients, foreach=True))
    if largest and not float(norm) + _CLIP_EPSILON <= largest:  # not >: NaN goes on, to be found by who asked
        nn.utils.clip_grads_with_norm_(model.parameters(), largest, norm, foreach=True)
    return float(norm)
