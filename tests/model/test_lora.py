"""LoRA: nothing moves before the first step, only the adapter moves after it, and merging changes no number."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from workbench.config import LoraSettings, OptimizerSettings
from workbench.errors import ModelError
from workbench.model.lora import (
    attach_lora,
    lora_layers,
    merge_lora,
    plain_state,
    target_names,
    trained_parameters,
    update_sizes,
    without_lora,
)
from workbench.model.quantized import Int8Linear
from workbench.model.transformer import Transformer
from workbench.training.optimizer import build_optimizer, optimizer_tensors

Build = Callable[..., Transformer]
KINDS = [{}, {"target_modules": ["q_proj", "down_proj"], "rank_stabilized": True}, {"quantize": "int8"}]


def adapted(build: Build, moved: bool = True, **settings: Any) -> Transformer:
    """A model with an adapter; one that was trained, as far as its numbers go, where it is `moved`."""
    model = build()
    attach_lora(model, LoraSettings(rank=4, alpha=12.0, **settings), seed=5)
    if moved:
        generator = torch.Generator().manual_seed(3)
        with torch.no_grad():
            for layer in lora_layers(model).values():
                layer.lora_B.normal_(0, 0.1, generator=generator)
    return model


@pytest.mark.parametrize("settings", KINDS[:2])
def test_an_adapter_changes_nothing_before_its_first_step(
    build: Build, ids: torch.Tensor, settings: dict[str, Any]
) -> None:
    assert torch.equal(adapted(build, moved=False, **settings)(ids), build()(ids))


@pytest.mark.parametrize("settings", KINDS)
def test_merged_logits_are_the_adapters(build: Build, ids: torch.Tensor, settings: dict[str, Any]) -> None:
    model = adapted(build, **settings)
    expected, state = model(ids), plain_state(model)
    assert state.keys() == build().state_dict().keys()
    merge_lora(model)
    # logits of about 1: float32 sums in another order over three blocks
    assert (model(ids) - expected).abs().max() < 2e-5
    for name, value in model.state_dict().items():
        assert torch.equal(value, state[name]), name
    assert not lora_layers(model)
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_switched_off_it_is_the_base(build: Build, ids: torch.Tensor) -> None:
    model = adapted(build)
    assert not torch.equal(model(ids), build()(ids))
    with without_lora(model):
        assert torch.equal(model(ids), build()(ids))
    assert not torch.equal(model(ids), build()(ids))


@pytest.mark.parametrize("settings", KINDS)
@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_only_adapters_move_and_only_they_have_optimizer_state(
    build: Build, ids: torch.Tensor, settings: dict[str, Any], optimizer: str
) -> None:
    model = adapted(build, moved=False, **settings)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    moving = build_optimizer(model, OptimizerSettings(name=optimizer))  # type: ignore[arg-type]
    for group in moving.param_groups:
        group["lr"] = 1e-2
    for _ in range(2):
        model.loss(ids[:, :-1], ids[:, 1:])[0].backward()
        moving.step()
        moving.zero_grad()
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    own = {f"{name}.{part}" for name in lora_layers(model) for part in ("lora_A", "lora_B")}
    assert changed == own
    assert {name.rpartition(".")[0] for name in optimizer_tensors(model, moving)} == own
    assert all(torch.isfinite(value).all() for value in model.state_dict().values())
    assert trained_parameters(model) == sum(before[name].numel() for name in own)


def test_gradients_of_an_int8_base_are_those_of_the_matrix_it_stands_for(build: Build, ids: torch.Tensor) -> None:
    quantised, plain = adapted(build, quantize="int8"), adapted(build, quantize="int8")
    assert all(isinstance(layer.base, Int8Linear) for layer in lora_layers(quantised).values())
    for layer in lora_layers(plain).values():
        weight = layer.base_weight
        layer.base = torch.nn.Linear(weight.shape[1], weight.shape[0], bias=False)
        layer.base.weight = torch.nn.Parameter(weight, requires_grad=False)
    for model in (quantised, plain):
        model.loss(ids[:, :-1], ids[:, 1:])[0].backward()
    for name, layer in lora_layers(quantised).items():
        other = lora_layers(plain)[name]
        for part in ("lora_A", "lora_B"):
            ours, theirs = getattr(layer, part).grad, getattr(other, part).grad
            assert (ours - theirs).abs().max() <= 1e-5 * theirs.abs().max(), name


def test_int8_takes_a_quarter_of_the_blocks_memory(build: Build) -> None:
    model, plain = adapted(build, quantize="int8"), build()
    held = sum(layer.base.weight.nbytes for layer in lora_layers(model).values())  # type: ignore[union-attr]
    assert 4 * held == sum(plain.get_parameter(f"{name}.weight").nbytes for name in lora_layers(model))


def test_dropout_works_in_training_alone(build: Build, ids: torch.Tensor) -> None:
    model, plain = adapted(build, dropout=0.5), adapted(build)
    model.train()
    assert not torch.equal(model(ids), plain(ids))
    model.eval()
    assert torch.equal(model(ids), plain(ids))


def test_the_size_of_an_update_is_measured_against_its_matrix(build: Build) -> None:
    model = adapted(build)
    for name, size in update_sizes(model).items():
        layer = lora_layers(model)[name]
        with torch.no_grad():
            expected = float((layer.weight - layer.base_weight).norm() / layer.base_weight.norm())
        assert size == pytest.approx(expected, rel=1e-4)


def test_a_name_that_fits_no_layer_is_refused_with_those_that_are_there(build: Build) -> None:
    with pytest.raises(ModelError, match=r"called q_prj; did you mean q_proj.*all-linear"):
        target_names(build(), ["q_prj", "v_proj"])
    with pytest.raises(ModelError, match="lm_head"):
        target_names(build(tie_word_embeddings=False), ["lm_head"])
