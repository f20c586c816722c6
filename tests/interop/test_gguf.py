"""GGUF files become the model and the tokenizer that they were made from."""

from pathlib import Path

import gguf
import pytest
import torch
from tokenizers import Tokenizer as Backend
from transformers import AutoModelForCausalLM, AutoTokenizer

from workbench.errors import ModelError
from workbench.interop.gguf import convert_gguf
from workbench.model.transformer import Transformer
from workbench.model.weights import load_model
from workbench.tokenizer.tokenizer import Tokenizer


def write_other(path: Path, architecture: str = "llama", tokenizer: str = "gpt2", **more: object) -> Path:
    """A GGUF file without weights."""
    writer = gguf.GGUFWriter(str(path), architecture)
    writer.add_tokenizer_model(tokenizer)
    writer.add_token_list(["a", "b"])
    writer.add_token_types([1, 1])
    writer.add_head_count(2)
    writer.add_head_count_kv(1)
    writer.add_embedding_length(16)
    writer.add_feed_forward_length(16)
    writer.add_block_count(1)
    writer.add_context_length(8)
    writer.add_layer_norm_rms_eps(1e-5)
    for name, value in more.items():
        getattr(writer, name)(value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_weights_and_config_are_those_the_file_was_made_of(gguf_file: Path, model: Transformer, tmp_path: Path) -> None:
    convert_gguf(gguf_file, tmp_path / "made")
    made = load_model(tmp_path / "made")
    assert made.config == type(model.config)(**{**vars(model.config), "initializer_range": 0.02})
    for (name, own), (_, converted) in zip(model.named_parameters(), made.named_parameters(), strict=True):
        assert torch.equal(own, converted), name


def test_the_tokenizer_is_the_one_of_the_file(gguf_file: Path, backend: Backend, tmp_path: Path) -> None:
    convert_gguf(gguf_file, tmp_path / "made")
    made = Tokenizer.load(tmp_path / "made")
    text = "the cat 123 唐诗 🙂"
    assert made.encode(text) == backend.encode(text).ids
    assert made.decode(made.encode(text)) == text
    assert (made.bos_token_id, made.pad_token_id) == (1, 2)
    assert 2 in made.stop_token_ids
    assert made.chat is not None


def test_transformers_loads_the_folder(gguf_file: Path, model: Transformer, tmp_path: Path) -> None:
    convert_gguf(gguf_file, tmp_path / "made")
    ids = AutoTokenizer.from_pretrained(tmp_path / "made")("the cat sat", return_tensors="pt")["input_ids"]
    with torch.no_grad():
        theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "made")(ids).logits
        assert (theirs - model(ids)).abs().max() < 1e-4


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ({"architecture": "qwen2"}, "is a 'qwen2' model"),
        ({"tokenizer": "llama"}, "its tokenizer is 'llama'"),
        ({"add_tokenizer_pre": "chatglm"}, "with 'chatglm'"),
        ({"add_tokenizer_pre": "smollm"}, "does not say tokenizer.ggml.merges"),
        ({"add_rope_scaling_type": gguf.RopeScalingType.LINEAR}, "rope scaling 'linear' does not say factor"),
    ],
)
def test_what_cannot_be_converted_is_refused_and_leaves_nothing(tmp_path: Path, kind: dict, message: str) -> None:
    path = write_other(tmp_path / "other.gguf", **kind)
    with pytest.raises(ModelError, match=message):
        convert_gguf(path, tmp_path / "made")
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("content", [b"", b"no gguf at all, but long enough to have a header", b"GGUF\x03\x00\x00\x00"])
def test_a_file_that_is_no_gguf_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "broken.gguf"
    path.write_bytes(content)
    with pytest.raises(ModelError, match="cannot be read as GGUF"):
        convert_gguf(path, tmp_path / "made")


def test_a_cut_off_file_is_refused(gguf_file: Path, tmp_path: Path) -> None:
    content = gguf_file.read_bytes()
    gguf_file.write_bytes(content[: len(content) // 2])
    with pytest.raises(ModelError):
        convert_gguf(gguf_file, tmp_path / "made")
