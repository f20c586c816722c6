"""Attention maps are those of transformers, of which the kernels keep nothing."""

from typing import Any

import numpy as np
import torch

from workbench.inspection.attention_maps import attention_maps
from workbench.model.transformer import Transformer


def test_maps_are_those_of_transformers(pair: tuple[Any, Transformer], ids: list[int]) -> None:
    foreign, own = pair
    with torch.no_grad():
        expected = torch.stack([layer[0] for layer in foreign(torch.tensor([ids]), output_attentions=True).attentions])
    maps = attention_maps(own, ids)
    assert maps.shape == (3, 4, len(ids), len(ids))
    # softmax of float32 scores of about 1: errors of their sums, 1e-6, pass through unchanged
    assert np.abs(maps - expected.numpy()).max() < 1e-5


def test_rows_sum_to_one_and_see_nothing_later(model: Transformer, ids: list[int]) -> None:
    maps = attention_maps(model, ids)
    assert np.allclose(maps.sum(-1), 1, atol=1e-6)
    assert np.all(np.triu(maps, 1) == 0)
