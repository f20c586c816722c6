from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from workbench.config import StageSettings
from workbench.estimate import (
    _flops_per_second,
    activation_bytes_per_token,
    choose_micro_batch_size,
    count_parameters,
    count_trained,
    estimate_profile,
    state_bytes,
    train_flops_per_token,
    training_bytes,
)
from workbench.model.configuration import ModelConfig
from workbench.model.initialize import initialize
from workbench.model.lora import attach_lora
from workbench.model.transformer import Transformer
from workbench.profile import parse_profile
from workbench.training.moving_average import MovingAverage
from workbench.training.optimizer import build_optimizer, optimizer_tensors

SIZES = ModelConfig(
    vocab_size=6400,
    hidden_size=512,
    intermediate_size=1664,
    num_hidden_layers=8,
    num_attention_heads=8,
    num_key_value_heads=2,
    head_dim=64,
    max_position_embeddings=512,
)


FAMILIES = {
    "llama": {"tie_word_embeddings": False},
    "qwen3": {"model_type": "qwen3", "head_dim": 96},
    "moe": {"model_type": "qwen3_moe", "num_experts": 6, "num_experts_per_tok": 2, "moe_intermediate_size": 64},
    "moe-shared": {
        "model_type": "qwen2_moe",
        "num_experts": 5,
        "num_experts_per_tok": 1,
        "moe_intermediate_size": 96,
        "shared_expert_intermediate_size": 160,
    },
}


def config_of(family: str, **sizes: object) -> ModelConfig:
    return replace(SIZES, num_hidden_layers=2, **{**FAMILIES[family], **sizes})


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("tied", [True, False])
def test_counted_parameters_are_those_of_the_model(family: str, tied: bool) -> None:
    config = config_of(family, tie_word_embeddings=tied)
    with torch.device("meta"):
        counted = sum(parameter.numel() for parameter in Transformer(config).parameters())
    assert count_parameters(config, config.vocab_size).total == counted


def test_active_parameters_are_those_without_the_experts_a_token_does_not_visit() -> None:
    all_visited = count_parameters(config_of("moe", num_experts_per_tok=6), 6400)
    assert all_visited.active == all_visited.total
    two = count_parameters(config_of("moe"), 6400)
    assert two.total == all_visited.total
    assert two.total - two.active == 2 * 4 * 3 * 512 * 64  # layers, idle experts, matrices
    assert count_parameters(config_of("llama"), 6400).inactive == 0


@pytest.mark.parametrize("family", FAMILIES)
def test_flops_are_those_of_the_matrix_products_that_a_step_does(family: str) -> None:
    config = config_of(family, vocab_size=300, hidden_size=64, intermediate_size=96, head_dim=32)
    model, ids = Transformer(config), torch.zeros(2, 64, dtype=torch.long)
    initialize(model, seed=0)
    with FlopCounterMode(display=False) as counter:
        model.loss(ids, ids)[0].backward()
    attention = 6 * 2 * 8 * 32 * 64  # of a row's token; not counted by that counter as it is computed here
    done = counter.get_total_flops() / ids.numel()
    assert train_flops_per_token(config, 300, 64) == pytest.approx(done + attention, rel=0.02)


@pytest.mark.parametrize("family", FAMILIES)
def test_activations_are_about_what_a_step_keeps(family: str) -> None:
    config = config_of(family, vocab_size=300, hidden_size=128, intermediate_size=352, num_attention_heads=4)
    model, ids = Transformer(config), torch.zeros(2, 128, dtype=torch.long)
    initialize(model, seed=0)
    weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss, _ = model.loss(ids, ids)
    assert loss.requires_grad
    assert 0.75 < sum(kept.values()) / ids.numel() / activation_bytes_per_token(config) <= 1.05


def test_flops_are_six_by_weight_and_token_and_attention_on_top() -> None:
    weights = 8 * (512 * (512 * 2 + 128 * 2) + 3 * 512 * 1664) + 6400 * 512
    assert train_flops_per_token(SIZES, 6400, 0) == 6 * weights
    assert train_flops_per_token(SIZES, 6400, 256) - 6 * weights == 6 * 8 * 512 * 256


def stage(**settings: Any) -> StageSettings:
    return StageSettings(**{"kind": "pretrain", "data": ["x"], "steps": 9, "batch_size": 64, **settings})


def test_a_micro_batch_takes_half_of_what_is_free() -> None:
    row = activation_bytes_per_token(SIZES) * 256
    fixed = 18 * count_parameters(SIZES, 6400).total
    assert choose_micro_batch_size(SIZES, 6400, stage(), fixed + 2 * 5 * row) == 5
    assert choose_micro_batch_size(SIZES, 6400, stage(), 0) == 1
    assert choose_micro_batch_size(SIZES, 6400, stage(), 10**12) == 64


@pytest.mark.parametrize("name", ["adamw", "muon"])
@pytest.mark.parametrize("state", ["fp32", "bf16", "int8"])
def test_counted_state_is_what_the_optimizer_keeps(name: str, state: str) -> None:
    config = ModelConfig(**{**SIZES.__dict__, "hidden_size": 128, "intermediate_size": 352, "num_hidden_layers": 2})
    model = Transformer(config)
    settings = stage(optimizer={"name": name, "state": state}, ema=0.9)
    optimizer = build_optimizer(model, settings.optimizer)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    kept = sum(each.nbytes for each in optimizer_tensors(model, optimizer).values())
    averaged = sum(each.nbytes for each in MovingAverage(model, 0.9).trained_tensors().values())
    # step counters and the float32 state of the norms' few numbers are not worth counting
    assert state_bytes(count_trained(config, 6400, settings), settings) == pytest.approx(kept + averaged, rel=5e-3)


@pytest.mark.parametrize("name", ["adamw", "muon"])
@pytest.mark.parametrize("state", ["fp32", "bf16"])
@pytest.mark.parametrize("family", ["llama3", "moe", "moe-shared"])
@pytest.mark.parametrize("quantize", ["none", "int8"])
def test_under_lora_what_is_counted_is_what_is_held(name: str, state: str, family: str, quantize: str) -> None:
    sizes = {"hidden_size": 128, "intermediate_size": 352, "num_hidden_layers": 2}
    if family != "llama3":
        sizes |= {"model_type": "qwen2_moe", "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 64}
    if family == "moe-shared":
        sizes["shared_expert_intermediate_size"] = 96
    config = ModelConfig(**{**SIZES.__dict__, **sizes})
    model = Transformer(config)
    settings = stage(optimizer={"name": name, "state": state}, ema=0.9, lora={"rank": 64, "quantize": quantize})
    attach_lora(model, settings.lora, seed=0)
    optimizer = build_optimizer(model, settings.optimizer)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    for parameter in trained:
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    counted = count_trained(config, 6400, settings)
    assert counted.total == sum(parameter.numel() for parameter in trained)
    kept = sum(each.nbytes for each in optimizer_tensors(model, optimizer).values())
    averaged = sum(each.nbytes for each in MovingAverage(model, 0.9).trained_tensors().values())
    assert state_bytes(counted, settings) == pytest.approx(kept + averaged, rel=1e-2)
    held = sum(each.nbytes for each in [*model.parameters(), *model.buffers()])
    gradients = sum(parameter.nbytes for parameter in trained)
    # scales of int8 rows and the tables of positions are not worth counting
    known = training_bytes(config, 6400, settings, copied=False)
    assert known == pytest.approx(held + gradients + kept + averaged, rel=2e-2)


def test_a_pair_takes_the_room_of_two_rows() -> None:
    room = 18 * count_parameters(SIZES, 6400).total + 20 * activation_bytes_per_token(SIZES) * 256
    assert choose_micro_batch_size(SIZES, 6400, stage(), room) == 10
    assert choose_micro_batch_size(SIZES, 6400, stage(kind="dpo"), room) == 5


def test_lora_makes_room_for_more_rows_and_takes_less_disk(tmp_path: Path) -> None:
    room = 18 * count_parameters(SIZES, 6400).total + 20 * activation_bytes_per_token(SIZES) * 256
    few, more, most = (
        choose_micro_batch_size(SIZES, 6400, stage(batch_size=1000, **extra), room)
        for extra in ({}, {"lora": {}}, {"lora": {"quantize": "int8"}})
    )
    assert few < more < most
    profile = PROFILE.format(hidden=512) + '[[stage]]\nkind = "sft"\ndata = "x"\nsteps = 100\n'
    whole = estimate_profile(parse_profile(profile, "here"), tmp_path).stages[1]
    lora = estimate_profile(parse_profile(profile + "ema = 0.9\n[stage.lora]\n", "here"), tmp_path).stages[1]
    assert lora.trained_parameters < 0.05 * whole.trained_parameters
    assert lora.training_bytes < 0.5 * whole.training_bytes
    # merged weights, and a twentieth of the numbers five times over, with two memories and the average
    merged = 4 * whole.trained_parameters
    assert merged < lora.disk_bytes < 1.5 * merged < whole.disk_bytes


@pytest.mark.parametrize(
    ("extra", "times"),
    [
        ({"gradient_checkpointing": True}, 4 / 3),
        ({"lora": {}, "gradient_checkpointing": True}, 3 / 2),
        ({"kind": "dpo", "lora": {}}, 3 / 2),
        ({"kind": "dpo", "lora": {}, "dpo": {"loss": "simpo"}}, 1),
        ({"kind": "dpo"}, 1),
    ],
)
def test_what_is_computed_again_takes_its_time(
    extra: dict[str, Any], times: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workbench.estimate._flops_per_second", lambda profile: 1.0)  # what a step costs anyway is lost
    profile = parse_profile(PROFILE.format(hidden=64), "here")
    told = estimate_profile(profile.model_copy(update={"stage": [stage(**extra)]}), tmp_path).stages[0]
    assert told.seconds == pytest.approx(told.flops * times, rel=1e-6)


def test_gradient_checkpointing_makes_room_for_more_rows() -> None:
    room = 18 * count_parameters(SIZES, 6400).total + 10 * activation_bytes_per_token(SIZES) * 256
    kept = choose_micro_batch_size(SIZES, 6400, stage(), room)
    recomputed = choose_micro_batch_size(SIZES, 6400, stage(gradient_checkpointing=True), room)
    assert recomputed > 3 * kept


PROFILE = """
[model]
hidden_size = {hidden}
num_attention_heads = 8
num_hidden_layers = 8
[[stage]]
kind = "pretrain"
data = "x"
steps = 100
"""


def test_a_model_beyond_memory_and_disk_is_told_with_the_arithmetic(tmp_path: Path) -> None:
    estimate = estimate_profile(parse_profile(PROFILE.format(hidden=65536), "here"), tmp_path / "not" / "there")
    assert [problem.split(":")[0] for problem in estimate.problems] == ["memory", "disk"]
    assert "GB are available" in estimate.problems[0]
    assert "llm-workbench model sizes" in estimate.problems[0]


def test_a_small_model_fits_and_its_time_is_told(tmp_path: Path) -> None:
    estimate = estimate_profile(parse_profile(PROFILE.format(hidden=64), "here"), tmp_path)
    assert estimate.problems == ()
    assert estimate.seconds is not None and estimate.seconds > 0


def test_many_steps_of_next_to_no_arithmetic_take_their_time_all_the_same(tmp_path: Path) -> None:
    text = PROFILE.format(hidden=64).replace("steps = 100", "steps = 1_000_000")
    seconds = estimate_profile(parse_profile(text, "here"), tmp_path).seconds
    assert seconds is not None and seconds > 1000


def test_a_program_put_to_sleep_while_it_measures_is_not_slow_for_that(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, calls = [0.0], [0]

    def asleep_in_the_first_lap() -> float:
        calls[0] += 1
        clock[0] += 100.0 if calls[0] == 3 else 1e-3  # the deadline, a start, then the end of the first lap
        return clock[0]

    monkeypatch.setattr("workbench.estimate.time.perf_counter", asleep_in_the_first_lap)
    profile = parse_profile('[[stage]]\nkind = "pretrain"\ndata = "a.txt"\nsteps = 1\n', "a.toml")
    assert _flops_per_second(profile) > 2 * 256**3 / 1.0 / 10
