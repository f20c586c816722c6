"""Experts in files, one matrix each under its own name, and in memory, all of a layer stacked for one product."""

import re

import torch
from torch import Tensor

_STACKED = re.compile(r"(.*\.mlp\.experts)\.(gate_up_proj|down_proj)$")
_SINGLE = re.compile(r"(.*\.mlp\.experts)\.(\d+)\.(gate|up|down)_proj\.weight$")


def split_experts(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """`state` with each expert's matrices under the names that files have; the values are views."""
    split: dict[str, Tensor] = {}
    for name, value in state.items():
        found = _STACKED.match(name)
        if found is None:
            split[name] = value
            continue
        for expert, matrix in enumerate(value.unbind()):
            parts = {"down": matrix}
            if found[2] == "gate_up_proj":
                parts["gate"], parts["up"] = matrix.chunk(2)
                del parts["down"]
            split |= {f"{found[1]}.{expert}.{part}_proj.weight": each for part, each in parts.items()}
    return split


def join_experts(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The reverse of `split_experts`; `state` is emptied on the way, so that little stands in memory twice."""
    joined: dict[str, Tensor] = {}
    experts: dict[tuple[str, str], dict[int, Tensor]] = {}
    for name in list(state):
        found = _SINGLE.match(name)
        value = state.pop(name)
        if found is None:
            joined[name] = value
        else:
            experts.setdefault((found[1], found[3]), {})[int(found[2])] = value
    for layer, part in list(experts):
        if part == "gate":
            gates, ups = _stacked(experts.pop((layer, "gate"))), _stacked(experts.pop((layer, "up")))
            joined[f"{layer}.gate_up_proj"] = torch.cat((gates, ups), dim=1)
        elif part == "down":
            joined[f"{layer}.down_proj"] = _stacked(experts.pop((layer, "down")))
    return joined


def _stacked(matrices: dict[int, Tensor]) -> Tensor:
    return torch.stack([matrices[expert] for expert in sorted(matrices)])
