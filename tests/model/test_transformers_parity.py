"""These models are the ones that transformers knows, weights and numbers, in both directions."""

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

from tests.model.foreign import CASES, foreign_model
from workbench.model.kv_cache import KVCache
from workbench.model.rotary import rotary_frequencies
from workbench.model.transformer import Transformer
from workbench.model.weights import load_model, save_model

PROMPT = torch.tensor([[5, 17, 42, 8, 3]])


@pytest.fixture(params=CASES)
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[PreTrainedModel, Transformer]:
    """A random model of transformers, and what is loaded from the folder it saved."""
    foreign = foreign_model(request.param)
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


def test_transformers_loads_what_is_saved_here(pair, ids, tmp_path: Path) -> None:
    _, own = pair
    save_model(own, tmp_path / "own")
    again, report = AutoModelForCausalLM.from_pretrained(tmp_path / "own", output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    with torch.no_grad():
        assert (again(ids).logits - own(ids)).abs().max() < 1e-4


def test_a_saved_model_is_the_same_model(pair, tmp_path: Path) -> None:
    _, own = pair
    save_model(own, tmp_path / "own")
    again = load_model(tmp_path / "own")
    assert again.config == own.config
    for (name, one), (_, other) in zip(own.named_parameters(), again.named_parameters(), strict=True):
        assert torch.equal(one, other), name


def test_rotary_frequencies_are_those_of_transformers(pair) -> None:
    foreign, own = pair
    theirs = foreign.model.rotary_emb
    frequencies, length = rotary_frequencies(own.config)
    assert torch.allclose(frequencies, theirs.inv_freq, rtol=1e-5)
    assert length == pytest.approx(theirs.attention_scaling, rel=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("tied", [True, False])
def test_a_model_made_here_is_loaded_by_transformers(build, ids, tmp_path: Path, tied: bool, dtype) -> None:
    own = build(tie_word_embeddings=tied, rope_theta=500_000.0)
    save_model(own, tmp_path, dtype)
    foreign = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32)
    again = load_model(tmp_path)
    with torch.no_grad():
        assert (foreign(ids).logits - again(ids)).abs().max() < 1e-4
    assert foreign.config.rope_parameters["rope_theta"] == 500_000.0
