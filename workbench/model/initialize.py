"""Weights before training, by the book: small normal numbers, smaller still where they add to the residual stream."""

import torch

from workbench.model.transformer import Transformer

_RESIDUAL = ("o_proj.weight", "down_proj.weight", "experts.down_proj")


def initialize(model: Transformer, seed: int) -> None:
    """Fill `model` with the initial weights of `seed`; the same seed gives the same weights.

    Each block adds twice to the residual stream, so those projections are scaled by 1 / sqrt(2 * num_hidden_layers):
    its variance at the top then does not depend on the depth.
    Source: Radford et al. 2019 (GPT-2), section 2.3.
    """
    # On the CPU whatever the device: the same seed must mean the same weights everywhere.
    generator = torch.Generator().manual_seed(seed)
    spread = model.config.initializer_range
    residual_spread = spread / (2 * model.config.num_hidden_layers) ** 0.5
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim == 1:
                parameter.fill_(1.0)  # the norms
                continue
            std = residual_spread if name.endswith(_RESIDUAL) else spread
            parameter.copy_(torch.empty(parameter.shape).normal_(0.0, std, generator=generator))
