"""This model is the LLaMA that transformers knows, weights and numbers, in both directions."""

from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from workbench.model.kv_cache import KVCache
from workbench.model.transformer import Transformer
from workbench.model.weights import load_model, save_model

PROMPT = torch.tensor([[5, 17, 42, 8, 3]])
CASES = [(4, False, 10_000.0), (2, True, 10_000.0), (1, True, 500_000.0)]  # llama1, llama2, llama3


def foreign_model(kv_heads: int, tied: bool, theta: float) -> LlamaForCausalLM:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=97,
        hidden_size=48,
        intermediate_size=80,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=kv_heads,
        max_position_embeddings=64,
        rope_parameters={"rope_type": "default", "rope_theta": theta},
        tie_word_embeddings=tied,
        initializer_range=0.1,
        eos_token_id=None,
        pad_token_id=None,
    )
    return LlamaForCausalLM(config).eval()


@pytest.fixture(params=CASES, ids=["llama1", "llama2", "llama3"])
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[LlamaForCausalLM, Transformer]:
    """A random model of transformers, and what is loaded from the folder it saved."""
    foreign = foreign_model(*request.param)
    foreign.save_pretrained(tmp_path)
    return foreign, load_model(tmp_path)


def greedy(model: Transformer, tokens: int, cached: bool) -> list[int]:
    ids, cache = PROMPT, KVCache(model.config) if cached else None
    new = ids
    with torch.no_grad():
        for _ in range(tokens):
            logits = model(new if cached else ids, cache=cache)
            new = logits[:, -1:].argmax(-1)
            ids = torch.cat((ids, new), dim=1)
    return ids[0, PROMPT.shape[1] :].tolist()


def test_logits_are_those_of_transformers(pair, ids) -> None:
    foreign, own = pair
    with torch.no_grad():
        assert (foreign(ids).logits - own(ids)).abs().max() < 1e-4


def test_greedy_text_is_that_of_transformers_with_and_without_cache(pair) -> None:
    foreign, own = pair
    expected = foreign.generate(
        PROMPT, attention_mask=torch.ones_like(PROMPT), max_new_tokens=24, do_sample=False, pad_token_id=0
    )[0, PROMPT.shape[1] :].tolist()
    assert greedy(own, 24, cached=True) == expected
    assert greedy(own, 24, cached=False) == expected


def test_loss_and_gradients_are_those_of_transformers(pair, ids) -> None:
    foreign, own = pair
    labels = ids.roll(-1, 1)
    labels[:, -3:] = -100
    theirs = torch.nn.functional.cross_entropy(foreign(ids).logits.flatten(0, 1), labels.flatten())
    theirs.backward()
    total, count = own.loss(ids, labels)
    assert count == (labels != -100).sum()
    assert (total / count).item() == pytest.approx(theirs.item(), abs=1e-5)
    (total / count).backward()
    gradients = {name: parameter.grad for name, parameter in foreign.named_parameters()}
    assert gradients.keys() == dict(own.named_parameters()).keys()
    for name, parameter in own.named_parameters():
        assert torch.allclose(parameter.grad, gradients[name], atol=1e-5, rtol=1e-3), name


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_transformers_loads_what_is_saved_here(build, ids, tmp_path: Path, tied: bool, dtype: torch.dtype) -> None:
    own = build(tie_word_embeddings=tied, rope_theta=500_000.0)
    save_model(own, tmp_path, dtype)
    foreign, report = LlamaForCausalLM.from_pretrained(tmp_path, dtype=torch.float32, output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    again = load_model(tmp_path)
    with torch.no_grad():
        assert (foreign(ids).logits - again(ids)).abs().max() < 1e-4
    assert foreign.config.rope_parameters["rope_theta"] == 500_000.0
