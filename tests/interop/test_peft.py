"""Adapters are PEFT's: the same numbers, the same files, in both directions."""

import json
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from transformers import AutoModelForCausalLM

from workbench.config import LoraSettings
from workbench.errors import ModelError
from workbench.model.adapter import base_of, load_adapter, load_stacked, save_adapter
from workbench.model.configuration import ModelConfig
from workbench.model.initialize import initialize
from workbench.model.lora import attach_lora, lora_layers
from workbench.model.transformer import Transformer
from workbench.model.weights import save_model

CONFIG = ModelConfig(97, 48, 80, 2, 4, 2, 12, 64, initializer_range=0.1)
SETTINGS = [
    LoraSettings(rank=4, alpha=12.0),
    LoraSettings(rank=3, alpha=6.0, rank_stabilized=True, target_modules=["q_proj", "v_proj", "down_proj"]),
]
IDS = torch.randint(0, 97, (2, 20), generator=torch.Generator().manual_seed(1))


@pytest.fixture
def base(tmp_path: Path) -> Path:
    model = Transformer(CONFIG)
    initialize(model, 0)
    save_model(model, tmp_path / "base")
    return tmp_path / "base"


def trained(base: Path, settings: LoraSettings, seed: int = 3) -> Transformer:
    """A model whose adapter is no longer at its start."""
    model = load_stacked(base)
    attach_lora(model, settings, seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for layer in lora_layers(model).values():
            layer.lora_B.normal_(0, 0.1, generator=generator)
    return model


def in_peft(base: Path, adapter: Path, trainable: bool = False) -> Any:
    return peft.PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), adapter, is_trainable=trainable)


@pytest.mark.parametrize("settings", SETTINGS)
def test_peft_loads_our_adapter_and_gives_the_same_logits_and_gradients(base: Path, settings: LoraSettings) -> None:
    model = trained(base, settings)
    save_adapter(model, base.parent / "adapter", settings, base_of(base))
    theirs = in_peft(base, base.parent / "adapter", trainable=True)
    # logits of about 1: float32 sums in another order
    assert (theirs(IDS).logits - model(IDS)).abs().max() < 2e-5
    model.loss(IDS[:, :-1], IDS[:, 1:])[0].backward()
    theirs(IDS, labels=IDS).loss.backward()
    compared = 0
    for name, parameter in theirs.named_parameters():
        if parameter.grad is not None:
            layer, _, part = name.removeprefix("base_model.model.").partition(".lora_")
            ours = getattr(lora_layers(model)[layer], f"lora_{part[0]}").grad / IDS[:, 1:].numel()
            assert (ours - parameter.grad).abs().max() < 1e-6, name
            compared += 1
    assert compared == 2 * len(lora_layers(model))


@pytest.mark.parametrize("rslora", [False, True])
def test_an_adapter_that_peft_saved_is_loaded_here(base: Path, rslora: bool) -> None:
    torch.manual_seed(0)
    config = peft.LoraConfig(
        r=5,
        lora_alpha=20,
        target_modules="all-linear",
        use_rslora=rslora,
        init_lora_weights=False,
        task_type="CAUSAL_LM",
    )
    theirs = peft.get_peft_model(AutoModelForCausalLM.from_pretrained(base), config)
    theirs.save_pretrained(base.parent / "theirs")
    with torch.no_grad():
        ours, expected = load_stacked(base.parent / "theirs")(IDS), theirs.eval()(IDS).logits
    assert (ours - expected).abs().max() < 1e-4 * expected.abs().max()


def test_an_adapter_goes_out_and_comes_back(base: Path) -> None:
    settings = SETTINGS[0]
    model = trained(base, settings)
    save_adapter(model, base.parent / "adapter", settings, base_of(base))
    again = load_stacked(base)
    attach_lora(again, settings, seed=99)
    load_adapter(again, base.parent / "adapter", base_of(base))
    for name, layer in lora_layers(model).items():
        assert torch.equal(layer.lora_A, lora_layers(again)[name].lora_A)
        assert torch.equal(layer.lora_B, lora_layers(again)[name].lora_B)


@pytest.mark.parametrize("quantize", ["none", "int8"])
def test_adapters_are_stacked_one_upon_the_other(base: Path, quantize: str) -> None:
    first = LoraSettings(rank=4, quantize=quantize)  # type: ignore[arg-type]
    lower = trained(base, first)
    save_adapter(lower, base.parent / "lower", first, base_of(base))
    upper = trained(base.parent / "lower", SETTINGS[1], seed=4)
    save_adapter(upper, base.parent / "upper", SETTINGS[1], base_of(base.parent / "lower"))
    with torch.no_grad():
        assert (load_stacked(base.parent / "lower")(IDS) - lower(IDS)).abs().max() < 2e-5
        assert (load_stacked(base.parent / "upper")(IDS) - upper(IDS)).abs().max() < 2e-5


def test_a_folder_that_was_moved_as_a_whole_still_finds_its_base(base: Path) -> None:
    model = trained(base, SETTINGS[0])
    save_adapter(model, base.parent / "adapter", SETTINGS[0], base_of(base))
    moved = base.parent.with_name("moved")
    base.parent.rename(moved)
    with torch.no_grad():
        assert (load_stacked(moved / "adapter")(IDS) - model(IDS)).abs().max() < 2e-5


def test_another_base_is_refused_with_both_hashes(base: Path) -> None:
    save_adapter(trained(base, SETTINGS[0]), base.parent / "adapter", SETTINGS[0], base_of(base))
    other = Transformer(CONFIG)
    initialize(other, 1)
    save_model(other, base)
    with pytest.raises(ModelError, match=r"was trained on a base with the hash \w{12}, but .*base has \w{12}"):
        load_stacked(base.parent / "adapter")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"use_dora": True}, "use_dora is not supported"),
        ({"peft_type": "IA3"}, "peft_type is 'IA3'"),
        ({"bias": "all", "modules_to_save": ["lm_head"]}, "bias 'all' is not supported; modules_to_save"),
    ],
)
def test_adapters_that_are_more_than_lora_are_refused(base: Path, changes: dict[str, Any], told: str) -> None:
    save_adapter(trained(base, SETTINGS[0]), base.parent / "adapter", SETTINGS[0], base_of(base))
    path = base.parent / "adapter" / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    with pytest.raises(ModelError, match=told):
        load_stacked(base.parent / "adapter")


def test_a_base_that_is_not_here_is_asked_for(base: Path) -> None:
    adapter = base.parent / "adapter"
    save_adapter(trained(base, SETTINGS[0]), adapter, SETTINGS[0], base_of(base))
    base.rename(base.parent / "elsewhere")
    with pytest.raises(ModelError, match=r"needs its base, which is not here.*import ADAPTER --base DIR"):
        load_stacked(adapter)
    assert load_stacked(adapter, base=base.parent / "elsewhere").config == CONFIG
