"""LoRA: the weights stand still, and beside some of them a product of two narrow matrices is trained.

A layer gives W x + scaling * B A x. B begins at zero, so an adapter changes nothing before its first step; at the end
W + scaling * B A is one matrix again.

Source: Hu et al. 2021, arXiv:2106.09685; the scaling by the root of the rank, Kalajdzievski 2023, arXiv:2312.03732.
"""

import difflib
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from workbench.config import LoraSettings
from workbench.errors import ModelError
from workbench.model.quantized import Int8Linear, quantize_linears
from workbench.model.transformer import Transformer

ALL_LINEAR = "all-linear"


class LoraLinear(nn.Module):
    """A frozen linear layer with a trained update of low rank.

    Args:
        base: the layer; it is kept as it is.
        scaling: of the update.
        dropout: share of the update's inputs that a training step leaves out.
    """

    def __init__(self, base: nn.Linear | Int8Linear, rank: int, scaling: float, dropout: float = 0.0) -> None:
        super().__init__()
        self.base, self.rank, self.scaling = base, rank, scaling
        self.active = True
        place = base.weight.device
        self.lora_A = nn.Parameter(torch.zeros(rank, base.in_features, device=place))
        self.lora_B = nn.Parameter(torch.zeros(base.out_features, rank, device=place))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """x: (..., in_features); the result: (..., out_features)."""
        out = self.base(x)
        if not self.active:
            return out
        narrow = nn.functional.linear(self.dropout(x), self.lora_A)  # (..., rank)
        return out + nn.functional.linear(narrow, self.lora_B) * self.scaling

    @property
    def weight(self) -> Tensor:
        """The matrix with the update in it, (out_features, in_features) float32."""
        return self.base_weight + self.scaling * (self.lora_B @ self.lora_A)

    @property
    def base_weight(self) -> Tensor:
        """The matrix without it, in float32."""
        return self.base.dense() if isinstance(self.base, Int8Linear) else self.base.weight

    def relative_update(self) -> float:
        """Size of the update as a share of the matrix: both Frobenius norms."""
        with torch.no_grad():
            # |BA|^2 = trace(A'B'BA), by products of the rank's size alone
            square = ((self.lora_B.T @ self.lora_B) * (self.lora_A @ self.lora_A.T)).sum()
            size = self.scaling * math.sqrt(max(float(square), 0.0))
            return size / max(float(self.base_weight.norm()), 1e-30)


def attach_lora(model: Transformer, settings: LoraSettings, seed: int) -> None:
    """Freeze `model` and put adapters beside the layers that `settings` names; what it computes stays the same.

    Args:
        seed: of the narrowing matrices; the widening ones are zeros.
    Raises:
        ModelError: a layer that is named is not there.
    """
    targets = target_names(model, settings.target_modules)
    model.requires_grad_(False)
    if settings.quantize == "int8":
        quantize_linears(model.model)
    generator = torch.Generator().manual_seed(seed)
    for name in targets:
        layer = LoraLinear(_layer(model, name), settings.rank, lora_scaling(settings), settings.dropout)
        bound = 1 / math.sqrt(layer.lora_A.shape[1])  # as PEFT begins
        with torch.no_grad():  # drawn on the CPU: the same seed means the same weights on every device
            layer.lora_A.copy_(torch.empty(layer.lora_A.shape).uniform_(-bound, bound, generator=generator))
        model.set_submodule(name, layer)


def lora_scaling(settings: LoraSettings) -> float:
    """What the update is multiplied by: alpha / rank, or alpha / sqrt(rank) where it is rank-stabilised."""
    return settings.alpha / (math.sqrt(settings.rank) if settings.rank_stabilized else settings.rank)


def target_names(model: Transformer, wanted: Sequence[str]) -> list[str]:
    """Full names of the layers that may be adapted and are meant by `wanted`, in the model's order.

    Only linear layers of the decoder are: the weights of experts, which are kept as one tensor for all of them, are
    none, and neither is the output matrix.

    Raises:
        ModelError: a name that fits no layer.
    """
    linear = [name for name, module in model.model.named_modules(prefix="model") if isinstance(module, nn.Linear)]
    if ALL_LINEAR in wanted:
        return linear
    unknown = [end for end in wanted if not any(_ends_with(name, end) for name in linear)]
    if unknown:
        known = list(dict.fromkeys(name.rpartition(".")[2] for name in linear))
        near = difflib.get_close_matches(unknown[0], known, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise ModelError(
            "lora.target_modules",
            f"no linear layer is called {', '.join(unknown)}",
            f"{hint}there are {', '.join(known)}, or {ALL_LINEAR!r} for all",
        )
    return [name for name in linear if any(_ends_with(name, end) for end in wanted)]


def lora_layers(model: nn.Module) -> dict[str, LoraLinear]:
    """The adapted layers by full name."""
    return {name: module for name, module in model.named_modules() if isinstance(module, LoraLinear)}


def plain_state(model: Transformer) -> dict[str, Tensor]:
    """The state of the same model without adapters: every update merged, every int8 matrix as floats."""
    state = dict(model.state_dict())
    with torch.no_grad():
        for name, module in _altered(model):
            for key in [key for key in state if key.startswith(f"{name}.")]:
                del state[key]
            state[f"{name}.weight"] = module.weight if isinstance(module, LoraLinear) else module.dense()
    return state


def merge_lora(model: Transformer) -> None:
    """Put each update into its matrix: ordinary layers take the place of the adapted ones, trainable again."""
    with torch.no_grad():
        for name, module in list(_altered(model)):
            weight = module.weight if isinstance(module, LoraLinear) else module.dense()
            linear = nn.Linear(weight.shape[1], weight.shape[0], bias=False, device="meta")
            linear.weight = nn.Parameter(weight)
            model.set_submodule(name, linear)
    model.requires_grad_(True)


@contextmanager
def without_lora(model: Transformer) -> Iterator[None]:
    """Inside, `model` computes as its base does."""
    layers = list(lora_layers(model).values())
    for layer in layers:
        layer.active = False
    try:
        yield
    finally:
        for layer in layers:
            layer.active = True


def update_sizes(model: Transformer) -> dict[str, float]:
    """For each adapted layer the size of its update, as a share of its matrix."""
    return {name: layer.relative_update() for name, layer in lora_layers(model).items()}


def trained_parameters(model: nn.Module) -> int:
    """Numbers that an optimizer moves."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def _altered(model: Transformer) -> Iterator[tuple[str, LoraLinear | Int8Linear]]:
    """The outermost layers that are not ordinary ones."""
    adapted = lora_layers(model)
    yield from adapted.items()
    for name, module in model.named_modules():
        if isinstance(module, Int8Linear) and name.removesuffix(".base") not in adapted:
            yield name, module


def _layer(model: Transformer, name: str) -> nn.Linear | Int8Linear:
    layer = model.get_submodule(name)
    assert isinstance(layer, nn.Linear | Int8Linear)
    return layer


def _ends_with(name: str, end: str) -> bool:
    return name == end or name.endswith(f".{end}")
