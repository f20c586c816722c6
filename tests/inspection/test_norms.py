"""Norms are those of torch, taken from the same tensors by another way."""

from typing import Any

import pytest
import torch

from workbench.errors import UsageError
from workbench.inspection.norms import (
    NO_LAYER,
    activation_norms,
    by_layer,
    gradient_norms,
    kv_cache_bytes,
    weight_figures,
)
from workbench.model.kv_cache import KVCache
from workbench.model.transformer import Transformer

Pair = tuple[Any, Transformer]


def test_activations_are_those_of_transformers(pair: Pair, ids: list[int]) -> None:
    foreign, own = pair
    with torch.no_grad():
        hidden = foreign(torch.tensor([ids]), output_hidden_states=True).hidden_states
    told = activation_norms(own, ids)
    assert [each.layer for each in told] == [-1, 0, 1, 2]
    for each, state in zip(told[:-1], hidden[:-1], strict=True):
        assert each.residual == pytest.approx(float(state.square().mean().sqrt()), rel=1e-4)
        assert each.largest == pytest.approx(float(state.abs().max()), rel=1e-4)
    assert told[0].attention == 0 and told[1].attention > 0 and told[1].feed_forward > 0


def test_gradients_are_those_of_transformers(pair: Pair, ids: list[int]) -> None:
    foreign, own = pair
    foreign.zero_grad()
    loss = foreign(torch.tensor([ids]), labels=torch.tensor([ids])).loss
    loss.backward()
    told_loss, told = gradient_norms(own, ids)
    assert told_loss == pytest.approx(float(loss.detach()), abs=1e-4)
    expected = {name: float(value.grad.norm()) for name, value in foreign.named_parameters()}
    assert {each.name for each in told} == set(expected)
    for each in told:
        assert each.gradient == pytest.approx(expected[each.name], rel=1e-3, abs=1e-5), each.name
    assert all(parameter.grad is None for parameter in own.parameters())


def test_layers_gather_the_gradients_of_their_parameters(model: Transformer, ids: list[int]) -> None:
    _, told = gradient_norms(model, ids)
    layers = by_layer(told)
    assert list(layers) == [NO_LAYER, 0, 1, 2]
    of_first = [each.gradient for each in told if each.name.startswith("model.layers.0.")]
    assert layers[0] == pytest.approx(sum(each**2 for each in of_first if each) ** 0.5)


def test_one_token_has_no_next_to_learn(model: Transformer) -> None:
    assert gradient_norms(model, [4])[0] == 0
    with pytest.raises(UsageError):
        gradient_norms(model, [])


def test_weights_are_told_as_they_are(model: Transformer) -> None:
    told = {each.name: each for each in weight_figures(model)}
    for name, value in model.named_parameters():
        assert told[name].shape == tuple(value.shape)
        assert told[name].rms == pytest.approx(float(value.detach().norm()) / value.numel() ** 0.5, rel=1e-5)
        assert told[name].change is None and told[name].gradient is None


def test_a_change_is_a_share_of_what_was(model: Transformer) -> None:
    moved = Transformer(model.config)
    moved.load_state_dict(model.state_dict())
    with torch.no_grad():
        moved.model.layers[1].mlp.up_proj.weight.mul_(1.25)
    changes = {each.name: each.change for each in weight_figures(moved, before=model)}
    assert changes.pop("model.layers.1.mlp.up_proj.weight") == pytest.approx(0.25, rel=1e-5)
    assert set(changes.values()) == {0.0}


def test_the_cache_takes_what_it_says(model: Transformer) -> None:
    cache = KVCache(model.config, max_length=64)
    held = cache._keys.untyped_storage().nbytes() + cache._values.untyped_storage().nbytes()
    assert kv_cache_bytes(model.config, 64, 4) == held
