"""Model directories: what is saved comes back; what is not a model is refused in one sentence."""

import json
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from workbench.errors import ModelError
from workbench.model.configuration import ModelConfig, RopeScaling, load_config
from workbench.model.transformer import Transformer
from workbench.model.weights import load_model, save_model


@pytest.fixture(params=[True, False], ids=["tied", "untied"])
def saved(request: pytest.FixtureRequest, build, tmp_path: Path) -> tuple[Transformer, Path]:
    model = build(tie_word_embeddings=request.param)
    save_model(model, tmp_path)
    return model, tmp_path


@pytest.fixture
def directory(build, tmp_path: Path) -> Path:
    save_model(build(), tmp_path)
    return tmp_path


def change_config(directory: Path, **values: object) -> None:
    path = directory / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), **values}), encoding="utf-8")


def change_tensors(directory: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    tensors = load_file(directory / "model.safetensors")
    change(tensors)
    save_file(tensors, directory / "model.safetensors")


def test_a_saved_model_comes_back_bit_by_bit(saved) -> None:
    model, directory = saved
    again = load_model(directory)
    assert again.config == model.config
    for (name, own), (_, loaded) in zip(model.named_parameters(), again.named_parameters(), strict=True):
        assert torch.equal(own, loaded), name
        assert loaded.requires_grad


def test_the_output_matrix_is_stored_only_where_it_is_one_of_its_own(saved) -> None:
    model, directory = saved
    names = load_file(directory / "model.safetensors").keys()
    assert ("lm_head.weight" in names) == (not model.config.tie_word_embeddings)


def test_files_are_readable_by_others_and_nothing_else_is_left(directory: Path) -> None:
    assert {path.name for path in directory.iterdir()} == {"config.json", "generation_config.json", "model.safetensors"}
    assert all(stat.S_IMODE(path.stat().st_mode) & 0o044 == 0o044 for path in directory.iterdir())


def test_a_save_that_fails_leaves_the_old_weights(build, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_tensors: object, path: Path, **_options: object) -> None:
        path.write_bytes(b"half")
        raise OSError("no space left on device")

    before = (directory / "model.safetensors").read_bytes()
    monkeypatch.setattr("workbench.model.weights.save_file", full)
    with pytest.raises(OSError, match="no space"):
        save_model(build(seed=1), directory)
    assert (directory / "model.safetensors").read_bytes() == before
    assert len(list(directory.iterdir())) == 3


@pytest.mark.parametrize("stored", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("wanted", [torch.float32, torch.bfloat16])
def test_weights_of_any_float_are_read_as_any(build, tmp_path: Path, stored, wanted) -> None:
    model = build()
    save_model(model, tmp_path, stored)
    assert json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))["dtype"] == str(stored)[6:]
    weight = load_model(tmp_path, dtype=wanted).head_weight
    assert weight.dtype == wanted
    assert torch.equal(weight, model.head_weight.to(stored).to(wanted))


def test_shards_are_one_model(directory: Path) -> None:
    whole = load_model(directory)
    tensors = load_file(directory / "model.safetensors")
    names, weight_map = sorted(tensors), {}
    for number, part in enumerate((names[:5], names[5:])):
        file = f"model-{number + 1:05}-of-00002.safetensors"
        save_file({name: tensors[name] for name in part}, directory / file)
        weight_map |= dict.fromkeys(part, file)
    (directory / "model.safetensors").unlink()
    index = {"metadata": {"total_size": 1}, "weight_map": weight_map}
    (directory / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    again = load_model(directory)
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), again.parameters(), strict=True))
    (directory / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(ModelError, match="lacks model-00002-of-00002"):
        load_model(directory)


def test_what_files_hold_twice_is_passed_over(directory: Path) -> None:
    def add(tensors: dict[str, torch.Tensor]) -> None:
        tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].clone()
        tensors["model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.ones(6)

    change_tensors(directory, add)
    load_model(directory)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tensors: tensors.pop("model.norm.weight"), "lacks model.norm.weight"),
        (lambda tensors: tensors.update({"model.odd.weight": torch.ones(1)}), "has the unknown model.odd.weight"),
        (lambda tensors: tensors.update({"model.norm.weight": torch.ones(3)}), r"is \(3,\), not \(48,\)"),
        (lambda tensors: tensors.update({"model.norm.weight": torch.ones(48).int()}), "holds int32, not floats"),
    ],
)
def test_weights_that_do_not_fit_are_refused(directory: Path, change, message: str) -> None:
    change_tensors(directory, change)
    with pytest.raises(ModelError, match=message):
        load_model(directory)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"model_type": "qwen2"}, "model_type is 'qwen2'"),
        ({"model_type": ["llama"]}, "model_type is"),
        ({"rope_parameters": {"rope_type": "dynamic", "factor": 8.0}}, "rope scaling of type 'dynamic'"),
        ({"rope_parameters": {"rope_type": ["yarn"]}}, "rope scaling of type"),
        ({"rope_parameters": {"rope_type": "llama3", "factor": 8.0}}, "'llama3' does not say low_freq_factor"),
        ({"rope_parameters": None, "rope_scaling": {"type": "linear"}}, "'linear' does not say factor"),
        ({"rope_parameters": {"rope_type": "yarn", "factor": 2.0, "mscale": 1.0}}, "mscale of rope scaling 'yarn'"),
        ({"rope_parameters": {"rope_type": "yarn", "factor": "2"}}, "rope_parameters.factor is '2', not a positive"),
        ({"rope_parameters": {"rope_type": "yarn", "factor": 2.0, "truncate": 2}}, "truncate is 2, not true or false"),
        ({"rope_parameters": {"rope_type": "default", "partial_rotary_factor": 0.5}}, "partial_rotary_factor"),
        ({"model_type": "qwen3", "use_sliding_window": True}, "use_sliding_window"),
        ({"attention_bias": True}, "attention_bias"),
        ({"mlp_bias": True}, "mlp_bias"),
        ({"hidden_act": "gelu"}, "'gelu'"),
        ({"quantization_config": {"bits": 4}}, "quantised"),
        ({"num_hidden_layers": "three"}, "num_hidden_layers is 'three'"),
        ({"num_hidden_layers": 0}, "num_hidden_layers is 0"),
        ({"num_key_value_heads": 3}, "does not divide"),
        ({"head_dim": 11}, "odd"),
        ({"vocab_size": None}, "vocab_size is None"),
        ({"num_hidden_layers": True}, "num_hidden_layers is True"),
        ({"rms_norm_eps": "x"}, "rms_norm_eps is 'x', not a positive number"),
        ({"rms_norm_eps": float("nan")}, "rms_norm_eps is nan"),
        ({"rope_theta": "x"}, "rope_theta is 'x'"),
        ({"rope_parameters": {"rope_theta": -1}}, "rope_parameters.rope_theta is -1"),
        ({"rope_theta": 10**400, "rope_parameters": None}, "rope_theta is 1000"),
        ({"initializer_range": [1]}, "initializer_range is"),
        ({"partial_rotary_factor": "x"}, "partial_rotary_factor"),
        ({"tie_word_embeddings": "no"}, "tie_word_embeddings is 'no', not true or false"),
        ({"eos_token_id": [2, "x"]}, "eos_token_id is .* not the number of a token"),
        ({"bos_token_id": True}, "bos_token_id is True"),
    ],
)
def test_configs_of_other_models_are_refused(directory: Path, values: dict[str, object], message: str) -> None:
    change_config(directory, **values)
    with pytest.raises(ModelError, match=message):
        load_config(directory)


def test_all_that_is_wrong_with_a_config_is_said_at_once(directory: Path) -> None:
    change_config(directory, attention_bias=True, mlp_bias=True)
    with pytest.raises(ModelError, match=r"attention_bias.*mlp_bias"):
        load_config(directory)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: (folder / "config.json").unlink(), "has no config.json"),
        (lambda folder: (folder / "config.json").write_text("{", encoding="utf-8"), "cannot be read as JSON"),
        (lambda folder: (folder / "config.json").write_bytes(b"\xff\xfe"), "cannot be read as JSON"),
        (lambda folder: (folder / "config.json").write_text("[]", encoding="utf-8"), "not a JSON object"),
        (lambda folder: (folder / "model.safetensors").unlink(), "has no model.safetensors"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"x" * 99), "cannot be read as safetensors"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b""), "cannot be read as safetensors"),
    ],
)
def test_a_folder_that_is_no_model_is_refused(directory: Path, spoil, message: str) -> None:
    spoil(directory)
    with pytest.raises(ModelError, match=message) as caught:
        load_model(directory)
    assert str(directory) in str(caught.value)


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="is not a folder"):
        load_model(tmp_path / "nowhere")


def test_both_spellings_of_the_rotary_base_are_read_and_written(small: ModelConfig) -> None:
    values = ModelConfig.from_dict({**small.to_dict(), "rope_theta": 5e5, "rope_parameters": None}).to_dict()
    assert values["rope_theta"] == values["rope_parameters"]["rope_theta"] == 5e5
    values = ModelConfig.from_dict({**small.to_dict(), "rope_theta": None, "rope_parameters": {"rope_theta": 7e5}})
    assert values.rope_theta == 7e5


@pytest.mark.parametrize(
    "scaling",
    [
        RopeScaling("linear", 2.0),
        RopeScaling("llama3", 4.0, 16, low_freq_factor=1.0, high_freq_factor=4.0),
        RopeScaling("yarn", 4.0, 16, beta_fast=32.0, beta_slow=1.0, attention_factor=1.1, truncate=False),
    ],
)
def test_every_rope_scaling_is_written_as_both_versions_of_transformers_read_it(small, scaling: RopeScaling) -> None:
    values = replace(small, rope_scaling=scaling).to_dict()
    for left_out in ("rope_parameters", "rope_scaling"):
        assert ModelConfig.from_dict({**values, left_out: None}).rope_scaling == scaling


def test_a_scaling_without_its_original_context_stretches_the_whole_one(small: ModelConfig) -> None:
    rope = {"rope_type": "yarn", "factor": 4.0}
    config = ModelConfig.from_dict({**small.to_dict(), "rope_parameters": rope})
    assert config.rope_scaling == RopeScaling("yarn", 4.0, original_max_position_embeddings=64)


def test_several_end_tokens_survive(small: ModelConfig) -> None:
    config = ModelConfig.from_dict({**small.to_dict(), "eos_token_id": [2, 5]})
    assert config.eos_token_ids == {2, 5}
    assert ModelConfig.from_dict(config.to_dict()) == config
