"""The `[model]` table: families, presets, scaled contexts, experts; and what is impossible, in one sentence each."""

from dataclasses import fields

import pytest

from workbench.cli.arguments import FAMILIES
from workbench.errors import ProfileError
from workbench.estimate import count_parameters
from workbench.model.configuration import ModelConfig, RopeScaling, model_config
from workbench.model_settings import MODEL_TYPES, ModelSettings
from workbench.presets import PRESETS
from workbench.profile import parse_profile, profile_text

# as published: minimind's README (64M, 198M of which 64M are active), Hugging Face's pages of the others
PUBLISHED = {
    "minimind-3": (64e6, 64e6),
    "minimind-3-moe": (198e6, 64e6),
    "smollm2-135m": (134_515_008, 134_515_008),
    "qwen3-0.6b": (596_049_920, 596_049_920),
    "tinyllama-1.1b": (1_100_048_384, 1_100_048_384),
}


def profile(model: str):
    return parse_profile(f'[model]\n{model}\n[[stage]]\nkind = "pretrain"\ndata = "x"\nsteps = 1\n', "here")


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_has_as_many_parameters_as_it_was_published_with(name: str) -> None:
    counted = count_parameters(ModelSettings(preset=name), PRESETS[name].vocab_size)
    total, active = PUBLISHED[name]
    precision = 0.005 if name.startswith("minimind") else 0
    assert counted.total == pytest.approx(total, rel=precision)
    assert counted.active == pytest.approx(active, rel=precision)


def test_what_is_given_beside_a_preset_holds() -> None:
    model = profile('preset = "qwen3-0.6b"\nnum_hidden_layers = 2').model
    assert (model.num_hidden_layers, model.hidden_size, model.family) == (2, 1024, "qwen3")


@pytest.mark.parametrize(
    "model", ['preset = "minimind-3-moe"', 'family = "moe-shared"', 'rope_scaling = {rope_type = "yarn", factor = 4}']
)
def test_a_written_profile_reads_as_the_same(model: str) -> None:
    once = profile(model)
    assert parse_profile(profile_text(once), "written") == once


def test_the_command_line_offers_the_families_there_are() -> None:
    assert tuple(FAMILIES) == tuple(MODEL_TYPES)


@pytest.mark.parametrize(
    ("family", "theta", "eps"),
    [("llama1", 1e4, 1e-5), ("llama2", 1e4, 1e-5), ("llama3", 5e5, 1e-5), ("qwen3", 1e6, 1e-6), ("moe", 1e6, 1e-6)],
)
def test_a_family_brings_its_own_constants(family: str, theta: float, eps: float) -> None:
    model = ModelSettings(family=family)
    assert (model.rope_theta, model.rms_norm_eps) == (theta, eps)
    assert ModelSettings(family=family, rope_theta=7.0).rope_theta == 7.0


@pytest.mark.parametrize("family", MODEL_TYPES)
def test_the_model_of_a_table_has_the_figures_of_the_table(family: str) -> None:
    settings = ModelSettings(family=family, hidden_size=96, num_attention_heads=3)
    config = model_config(settings, vocab_size=50)
    assert config.model_type == MODEL_TYPES[family]
    assert config.qk_norm == settings.qk_norm
    for field in fields(ModelConfig):
        expected = getattr(settings, field.name, None)
        if field.name != "rope_scaling" and expected is not None:
            assert getattr(config, field.name) == expected, field.name


def test_experts_of_a_token_are_together_as_wide_as_a_feed_forward() -> None:
    model = ModelSettings(family="moe", intermediate_size=704)
    assert (model.num_experts, model.num_experts_per_tok, model.moe_intermediate_size) == (8, 2, 352)
    shared = ModelSettings(family="moe-shared", intermediate_size=768)
    assert shared.moe_intermediate_size == shared.shared_expert_intermediate_size == 256


@pytest.mark.parametrize(
    ("visited", "family", "expected"), [(1, "moe", False), (2, "moe", True), (2, "moe-shared", False)]
)
def test_weights_of_experts_are_renormalised_only_where_that_teaches_the_router(visited, family, expected) -> None:
    assert ModelSettings(family=family, num_experts_per_tok=visited).norm_topk_prob is expected


def test_a_stretched_context_knows_its_original() -> None:
    model = profile('max_position_embeddings = 2048\nrope_scaling = {rope_type = "llama3", factor = 8}').model
    config = model_config(model, vocab_size=50)
    assert config.rope_scaling == RopeScaling("llama3", 8, 256, low_freq_factor=1.0, high_freq_factor=4.0)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ('preset = "minimind-4"', r"model\.preset: 'minimind-4' is not allowed"),
        ('family = "qwen3"\nnum_experts = 4', r"model\.num_experts: qwen3 has no experts; choose family = 'moe'"),
        ("norm_topk_prob = true", r"model\.norm_topk_prob: llama3 has no experts"),
        ('family = "moe"\nnum_experts = 1', r"model\.num_experts: 1 is not allowed"),
        ('family = "moe"\nnum_experts_per_tok = 9', r"model\.num_experts_per_tok: 9 experts a token, of 8"),
        (
            'family = "moe"\nnum_experts_per_tok = 1\nnorm_topk_prob = true',
            r"model\.norm_topk_prob: the weight of a single expert",
        ),
        (
            'family = "moe"\nshared_expert_intermediate_size = 64',
            r"model\.shared_expert_intermediate_size: moe has no such expert; choose family = 'moe-shared'",
        ),
        ('rope_scaling = {rope_type = "yarn"}', r"model\.rope_scaling\.factor: is missing"),
        ("rope_scaling = {factor = 2}", r"model\.rope_scaling\.factor: has no effect with rope_type = 'default'"),
        ('rope_scaling = {rope_type = "linear", factor = 0.5}', r"model\.rope_scaling\.factor: 0\.5 is not allowed"),
        (
            'rope_scaling = {rope_type = "linear", factor = 2, beta_fast = 3}',
            r"model\.rope_scaling\.beta_fast: has no effect with rope_type = 'linear'",
        ),
        (
            'rope_scaling = {rope_type = "llama3", factor = 2, low_freq_factor = 4}',
            r"model\.rope_scaling\.low_freq_factor: 4 is not below high_freq_factor 4",
        ),
        (
            'rope_scaling = {rope_type = "yarn", factor = 2, original_max_position_embeddings = 1024}',
            r"model\.rope_scaling\.original_max_position_embeddings: 1024 is more than max_position_embeddings 512",
        ),
        ('rope_scaling = {rope_typ = "yarn"}', r"unknown key model\.rope_scaling\.rope_typ; did you mean rope_type"),
        ('family = "qwen3"\nhidden_size = 100\nnum_attention_heads = 3', r"model\.num_attention_heads: 3 heads"),
        ('path = "x"\npreset = "qwen3-0.6b"', r"preset: has no effect beside path"),
    ],
)
def test_what_is_impossible_is_refused_with_key_and_remedy(model: str, message: str) -> None:
    with pytest.raises(ProfileError, match=message):
        profile(model)
