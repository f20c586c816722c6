"""What is exported comes back, and transformers and llama.cpp compute the same from it, or it is refused."""

import math
import platform
from dataclasses import replace
from pathlib import Path
from typing import Any

import gguf
import pytest
import tokenizers
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from workbench.cli.main import main
from workbench.config import TokenizerSettings
from workbench.errors import ModelError
from workbench.interop.gguf import convert_gguf
from workbench.interop.gguf_write import export_gguf
from workbench.model.configuration import ModelConfig, RopeScaling
from workbench.model.initialize import initialize
from workbench.model.transformer import Transformer
from workbench.model.weights import load_model, save_model
from workbench.tokenizer.bpe import train_tokenizer
from workbench.tokenizer.tokenizer import Tokenizer

TEXT = ["The cat sat on the mat, 12 times. It's 3 o'clock.", "唐诗三百首，床前明月光", "  spaces\n\nand lines "] * 4
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
LLAMA3 = RopeScaling("llama3", 8.0, 16, low_freq_factor=1.0, high_freq_factor=4.0)
YARN = RopeScaling("yarn", 4.0, 32, beta_fast=32.0, beta_slow=1.0)
MODELS: dict[str, dict[str, Any]] = {
    "llama": {},
    "llama-untied": {"tie_word_embeddings": False},
    "llama-linear": {"rope_scaling": RopeScaling("linear", 2.0)},
    "llama3": {"rope_scaling": LLAMA3},
    "qwen3": {"model_type": "qwen3", "head_dim": 16},
    "qwen3-yarn": {"model_type": "qwen3", "rope_scaling": YARN},
    "moe": {"model_type": "qwen3_moe", **EXPERTS, "norm_topk_prob": True},
    "moe-shared": {"model_type": "qwen2_moe", **EXPERTS, "shared_expert_intermediate_size": 64},
}


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    settings = TokenizerSettings(vocab_size=320, special_tokens=["<|tool|>"])
    trained = train_tokenizer(settings, TEXT, on_progress=lambda *_: None, should_stop=lambda: False)
    assert trained is not None
    return trained


@pytest.fixture
def make(tokenizer: Tokenizer, tmp_path: Path):
    """A model directory of some sizes."""

    def directory(own: Tokenizer = tokenizer, **sizes: object) -> Path:
        config = ModelConfig(
            vocab_size=own.vocab_size + 8,  # embeddings may be more than tokens
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            head_dim=8,
            max_position_embeddings=128,
            initializer_range=0.2,
            eos_token_id=own.eos_token_id,
            pad_token_id=own.pad_token_id,
        )
        model = Transformer(replace(config, **sizes))
        initialize(model, seed=0)
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.ndim == 1:
                    parameter.uniform_(0.5, 1.5, generator=torch.Generator().manual_seed(1))
        save_model(model, tmp_path / "model")
        own.save(tmp_path / "model")
        return tmp_path / "model"

    return directory


@pytest.mark.parametrize("case", MODELS)
def test_what_was_exported_is_read_back_as_the_same_model(make, tmp_path: Path, case: str) -> None:
    directory = make(**MODELS[case])
    export_gguf(directory, tmp_path / "out" / "model.gguf", "f32")
    convert_gguf(tmp_path / "out" / "model.gguf", tmp_path / "again")
    own, again = load_model(directory), load_model(tmp_path / "again")
    left_out = {"initializer_range": 0.02, "router_aux_loss_coef": 0.0, "router_z_loss_coef": 0.0, "rope_scaling": None}
    if again.config.model_type == "qwen2_moe":
        left_out["tie_word_embeddings"] = False
    assert replace(again.config, **left_out) == replace(own.config, **left_out)
    ids = torch.arange(60).view(2, 30) * 3 % own.config.vocab_size
    with torch.no_grad():
        assert (own(ids) - again(ids)).abs().max() < 1e-4
    assert list((tmp_path / "out").iterdir()) == [tmp_path / "out" / "model.gguf"]


@pytest.mark.parametrize("case", ["llama", "llama-untied", "qwen3", "moe", "moe-shared"])
def test_transformers_computes_the_same_from_the_file(make, tmp_path: Path, case: str) -> None:
    directory = make(**MODELS[case])
    export_gguf(directory, tmp_path / "model.gguf", "f32")
    # its reader takes head and expert sizes of Qwen's own models for granted, so the sizes are given to it
    config = AutoConfig.from_pretrained(directory)
    foreign = AutoModelForCausalLM.from_pretrained(
        tmp_path, gguf_file="model.gguf", config=config, dtype=torch.float32
    ).eval()
    own = load_model(directory)
    ids = torch.arange(60).view(2, 30) * 3 % own.config.vocab_size
    with torch.no_grad():
        assert (own(ids) - foreign(ids).logits).abs().max() < 1e-4


def serve(path: Path) -> Any:
    """llama.cpp with a file, computing in float32 throughout (it keeps keys and values in float16 by itself)."""
    import xllamacpp

    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(path)
    parameters.n_ctx, parameters.n_parallel, parameters.warmup, parameters.verbosity = 128, 1, False, -1
    parameters.cpuparams.n_threads = 1
    parameters.cache_type_k = parameters.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
    parameters.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    return xllamacpp.Server(parameters)


def likeliest(server: Any, ids: list[int]) -> list[dict[str, Any]] | None:
    """The five likeliest next tokens, each with its `id` and `logprob`; None where the first is no whole character.

    A byte of a character is held back until the rest of it is there, and its likelihood with it.
    """
    wanted = {"prompt": ids, "n_predict": 1, "temperature": 0, "logprobs": 5, "stream": False}
    told = server.handle_completions(wanted)["choices"][0]["logprobs"]
    return told["content"][0]["top_logprobs"] if told else None


@pytest.mark.skipif(
    platform.system() != "Linux" or platform.machine() != "x86_64", reason="its wheels are for Linux on x86-64"
)
@pytest.mark.parametrize("case", MODELS)
def test_llama_cpp_computes_the_same_from_the_file(make, tmp_path: Path, case: str) -> None:
    directory = make(**MODELS[case])
    export_gguf(directory, tmp_path / "model.gguf", "f32")
    ids = torch.randint(0, 320, (40,), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        own = load_model(directory)(ids[None]).log_softmax(dim=-1)[0]  # (tokens, vocab)
    server = serve(tmp_path / "model.gguf")
    compared = 0
    for known in range(1, len(ids)):
        theirs = likeliest(server, ids[:known].tolist())
        if theirs is None:
            continue
        compared += 1
        ours = own[known - 1]
        assert theirs[0]["id"] == int(ours.argmax())
        assert all(abs(token["logprob"] - float(ours[token["id"]])) < 1e-4 for token in theirs)
    assert compared > len(ids) // 2


def test_the_tokenizer_in_the_file_is_the_models(make, tmp_path: Path, tokenizer: Tokenizer) -> None:
    export_gguf(make(), tmp_path / "model.gguf")
    convert_gguf(tmp_path / "model.gguf", tmp_path / "again")
    again = Tokenizer.load(tmp_path / "again")
    for text in (*TEXT, "it's 2,024 today — 今天 🙂"):
        assert again.encode(text) == tokenizer.encode(text)
        assert again.encode_with_specials(f"<|tool|>{text}") == tokenizer.encode_with_specials(f"<|tool|>{text}")
    assert again.eos_token_id == tokenizer.eos_token_id
    assert (again.chat is None) == (tokenizer.chat is None)


@pytest.mark.parametrize(("kind", "error"), [("f32", 0.0), ("f16", 2e-3), ("bf16", 1e-2), ("q8_0", 1e-2)])
def test_numbers_are_as_exact_as_their_type(make, tmp_path: Path, kind, error: float) -> None:
    directory = make(**MODELS["moe"])
    export_gguf(directory, tmp_path / "model.gguf", kind)
    types = {tensor.name: tensor.tensor_type.name for tensor in gguf.GGUFReader(tmp_path / "model.gguf").tensors}
    assert types["blk.0.attn_q.weight"] == types["blk.1.ffn_down_exps.weight"] == kind.upper()
    assert types["blk.0.ffn_gate_inp.weight"] == types["blk.0.attn_q_norm.weight"] == "F32"
    convert_gguf(tmp_path / "model.gguf", tmp_path / "again")
    for one, other in zip(load_model(directory).parameters(), load_model(tmp_path / "again").parameters(), strict=True):
        assert (one - other).abs().max() <= error * max(1.0, float(one.abs().max().detach()))


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({**MODELS["moe"], "norm_topk_prob": False}, "norm_topk_prob is false"),
        ({**MODELS["moe-shared"], "norm_topk_prob": True}, "norm_topk_prob is true"),
        ({**MODELS["moe-shared"], "head_dim": 12}, "4 heads of 12 are not as wide as hidden_size 32"),
        ({"model_type": "qwen3", "rope_scaling": LLAMA3}, "'llama3' of llama models only"),
        ({"rope_scaling": replace(LLAMA3, high_freq_factor=3.0)}, "other frequency factors than 1 and 4"),
        ({"rope_scaling": replace(YARN, beta_fast=16.0)}, "rope scaling 'yarn' with its own"),
        ({"rope_scaling": replace(YARN, attention_factor=1.0)}, "rope scaling 'yarn' with its own"),
    ],
)
def test_what_llama_cpp_computes_otherwise_is_refused_and_nothing_is_left(make, tmp_path, sizes, message) -> None:
    directory = make(**sizes)
    with pytest.raises(ModelError, match=message):
        export_gguf(directory, tmp_path / "out" / "model.gguf")
    assert not (tmp_path / "out").exists()


def test_the_usual_attention_factor_is_no_factor_of_its_own(make, tmp_path: Path) -> None:
    usual = replace(YARN, attention_factor=0.1 * math.log(4.0) + 1.0)
    export_gguf(make(rope_scaling=usual), tmp_path / "model.gguf")


def test_tokenizers_without_a_name_in_llama_cpp_are_refused(make, tmp_path: Path, tokenizer: Tokenizer) -> None:
    bytes_alone = train_tokenizer(
        TokenizerSettings(kind="bytes"), [], on_progress=lambda *_: None, should_stop=lambda: False
    )
    with pytest.raises(ModelError, match="its tokenizer is of kind 'bytes'"):
        export_gguf(make(own=bytes_alone), tmp_path / "model.gguf")
    backend = tokenizers.Tokenizer.from_str(tokenizer.backend.to_str())
    backend.pre_tokenizer = tokenizers.pre_tokenizers.Sequence(
        [tokenizers.pre_tokenizers.Punctuation(), tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    with pytest.raises(ModelError, match="cuts text in none of the ways known to both"):
        export_gguf(make(own=Tokenizer(backend, {"eos_token": "<|endoftext|>"}, None)), tmp_path / "model.gguf")


def test_an_existing_file_is_not_touched(make, tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_text("mine", encoding="utf-8")
    with pytest.raises(ModelError, match="exists already"):
        export_gguf(make(), tmp_path / "model.gguf")
    assert (tmp_path / "model.gguf").read_text(encoding="utf-8") == "mine"


def test_the_command_writes_the_file_and_says_where(make, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    directory, target = make(), tmp_path / "my.gguf"
    assert main(["export", str(directory), str(target), "--type", "q8_0"]) == 0
    assert capsys.readouterr().out.strip() == str(target)
    shape = gguf.GGUFReader(target).tensors[0].shape.tolist()
    assert shape == [32, load_model(directory).config.vocab_size]
    assert main(["export", str(directory), str(tmp_path / "my.bin")]) == 2
    assert "let it end in .gguf" in capsys.readouterr().err
