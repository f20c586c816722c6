"""How large things are in a model: its activations, gradients and weights by layer, and the memory of its KV cache."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from workbench.inspection.watching import as_row, read_parts
from workbench.model.configuration import ModelConfig
from workbench.model.transformer import Transformer

NO_LAYER = -1


@dataclass(frozen=True)
class LayerActivations:
    """Root mean square of what a layer adds, and of the residual stream behind it, over all tokens and channels.

    Args:
        largest: the largest absolute value in the residual stream: a few channels of trained models are huge.
        attention, feed_forward: 0 before the first layer.
    """

    layer: int
    residual: float
    attention: float
    feed_forward: float
    largest: float


@dataclass(frozen=True)
class ParameterFigures:
    """One parameter of a model.

    Args:
        layer: its number, `NO_LAYER` outside of layers.
        rms: root mean square of its values; largest: of their absolute values.
        gradient: the norm of its gradient; None where none was asked.
        change: norm of the difference to another model's, as a share of that one's norm; None likewise.
    """

    name: str
    layer: int
    shape: tuple[int, ...]
    rms: float
    largest: float
    gradient: float | None = None
    change: float | None = None


def activation_norms(model: Transformer, ids: Sequence[int]) -> list[LayerActivations]:
    """The embeddings (as layer -1), then each layer of the model reading `ids`.

    Raises:
        UsageError: no text, or more than the model can read.
    """
    passed = read_parts(model, ids)
    nothing = torch.zeros(1)
    parts = zip(passed.residual, [nothing, *passed.attention], [nothing, *passed.feed_forward], strict=True)
    return [
        LayerActivations(index - 1, _rms(residual), _rms(attention), _rms(feed_forward), float(residual.abs().max()))
        for index, (residual, attention, feed_forward) in enumerate(parts)
    ]


def weight_figures(model: Transformer, before: Transformer | None = None) -> list[ParameterFigures]:
    """Every parameter, in the model's order.

    Args:
        before: a model of the same sizes; how far each parameter has moved from it is told then.
    """
    earlier = dict(before.named_parameters()) if before is not None else {}
    return [_figures(name, value, None, earlier.get(name)) for name, value in model.named_parameters()]


def gradient_norms(model: Transformer, ids: Sequence[int]) -> tuple[float, list[ParameterFigures]]:
    """The mean loss of the model on `ids` in nats, and every parameter with the norm of that loss's gradient.

    The gradients are taken aside: the parameters' own `.grad` is left alone.

    Raises:
        UsageError: fewer than two tokens, or more than the model can read.
    """
    row = as_row(model, ids)
    labels = torch.full_like(row, -100)
    labels[:, :-1] = row[:, 1:]
    named = [(name, value) for name, value in model.named_parameters() if value.requires_grad]
    with torch.enable_grad():
        total, count = model.loss(row, labels)
        mean = total / count.clamp_min(1)
        gradients = torch.autograd.grad(mean, [value for _, value in named], allow_unused=True)
    found = [
        _figures(name, value, gradient if gradient is not None else torch.zeros(1))
        for (name, value), gradient in zip(named, gradients, strict=True)
    ]
    return float(mean.detach()), found


def by_layer(figures: Sequence[ParameterFigures]) -> dict[int, float]:
    """The gradient norm of each layer, of all parameters in it together; `NO_LAYER` for those outside."""
    squares: dict[int, float] = {}
    for each in figures:
        squares[each.layer] = squares.get(each.layer, 0.0) + (each.gradient or 0.0) ** 2
    return {layer: math.sqrt(square) for layer, square in sorted(squares.items())}


def kv_cache_bytes(config: ModelConfig, tokens: int, bytes_per_number: int) -> int:
    """What the keys and values of one text of so many tokens take."""
    return 2 * config.num_hidden_layers * config.num_key_value_heads * config.head_dim * tokens * bytes_per_number


def _figures(
    name: str, value: nn.Parameter, gradient: Tensor | None = None, earlier: Tensor | None = None
) -> ParameterFigures:
    value_now = value.detach().float()
    change = None
    if earlier is not None and earlier.shape == value.shape:
        before = earlier.detach().float().to(value_now.device)
        change = float((value_now - before).norm() / before.norm().clamp_min(1e-12))
    parts = name.split(".")
    return ParameterFigures(
        name=name,
        layer=int(parts[2]) if name.startswith("model.layers.") else NO_LAYER,
        shape=tuple(value.shape),
        rms=_rms(value_now),
        largest=float(value_now.abs().max()),
        gradient=None if gradient is None else float(gradient.float().norm()),
        change=change,
    )


def _rms(value: Tensor) -> float:
    return float(value.square().mean().sqrt())
