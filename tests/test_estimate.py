from pathlib import Path

import pytest

from workbench.estimate import (
    activation_bytes_per_token,
    choose_micro_batch_size,
    count_parameters,
    estimate_profile,
    train_flops_per_token,
)
from workbench.model.configuration import ModelConfig
from workbench.model.transformer import Transformer
from workbench.profile import parse_profile

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


@pytest.mark.parametrize("tied", [True, False])
def test_counted_parameters_are_those_of_the_model(tied: bool) -> None:
    config = ModelConfig(**{**SIZES.__dict__, "tie_word_embeddings": tied, "num_hidden_layers": 2})
    counted = sum(parameter.numel() for parameter in Transformer(config).parameters())
    assert count_parameters(config, config.vocab_size).total == counted


def test_flops_are_six_by_weight_and_token_and_attention_on_top() -> None:
    weights = 8 * (512 * (512 * 2 + 128 * 2) + 3 * 512 * 1664) + 6400 * 512
    assert train_flops_per_token(SIZES, 6400, 0) == 6 * weights
    assert train_flops_per_token(SIZES, 6400, 256) - 6 * weights == 6 * 8 * 512 * 256


def test_a_micro_batch_takes_half_of_what_is_free() -> None:
    row = activation_bytes_per_token(SIZES) * 256
    fixed = 18 * count_parameters(SIZES, 6400).total
    assert choose_micro_batch_size(SIZES, 6400, 256, 64, fixed + 2 * 5 * row) == 5
    assert choose_micro_batch_size(SIZES, 6400, 256, 64, 0) == 1
    assert choose_micro_batch_size(SIZES, 6400, 256, 64, 10**12) == 64


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


def test_a_small_model_fits_and_its_time_is_told(tmp_path: Path) -> None:
    estimate = estimate_profile(parse_profile(PROFILE.format(hidden=64), "here"), tmp_path)
    assert estimate.problems == ()
    assert estimate.seconds is not None and estimate.seconds > 0


def test_many_steps_of_next_to_no_arithmetic_take_their_time_all_the_same(tmp_path: Path) -> None:
    text = PROFILE.format(hidden=64).replace("steps = 100", "steps = 1_000_000")
    seconds = estimate_profile(parse_profile(text, "here"), tmp_path).seconds
    assert seconds is not None and seconds > 1000
