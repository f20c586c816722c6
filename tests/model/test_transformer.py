"""What a decoder promises: causality, caches that change nothing, isolated documents."""

import math

import pytest
import torch

from workbench.errors import ModelError
from workbench.model.initialize import initialize
from workbench.model.kv_cache import KVCache
from workbench.model.transformer import Transformer


def test_a_later_token_changes_no_earlier_logits(build, ids) -> None:
    model, changed = build(), ids.clone()
    changed[:, 11] = (changed[:, 11] + 1) % model.config.vocab_size
    before, after = model(ids), model(changed)
    assert torch.equal(before[:, :11], after[:, :11])
    assert not torch.equal(before[:, 11], after[:, 11])


@pytest.mark.parametrize("pieces", [[20], [7, 13], [1] * 20, [5, 1, 1, 13]])
def test_reading_with_a_cache_in_any_pieces_gives_the_same_logits(build, ids, pieces: list[int]) -> None:
    model = build()
    cache = KVCache(model.config, batch=2, max_length=20)
    with torch.no_grad():
        whole = model(ids)
        parts = [model(part, cache=cache) for part in ids.split(pieces, dim=1)]
    assert cache.length == 20
    assert (torch.cat(parts, dim=1) - whole).abs().max() < 1e-5


def test_a_cropped_cache_has_forgotten(build, ids) -> None:
    model = build()
    cache = KVCache(model.config, batch=2)
    with torch.no_grad():
        model(ids, cache=cache)
        cache.crop(8)
        again = model(ids[:, 8:], cache=cache)
        assert (again - model(ids)[:, 8:]).abs().max() < 1e-5


def test_left_padded_rows_decode_as_they_would_alone(build, ids) -> None:
    model, pads = build(), 6
    padded = torch.stack((ids[0], torch.cat((torch.zeros(pads, dtype=ids.dtype), ids[1, :-pads]))))
    starts = torch.tensor([[0] * 20, [0] * pads + [pads] * (20 - pads)])
    new = torch.tensor([[7], [9]])
    cache = KVCache(model.config, batch=2)
    with torch.no_grad():
        model(padded, cache=cache, document_starts=starts)
        together = model(new, cache=cache, document_starts=torch.tensor([[0], [pads]]))[1, -1]
        alone = model(torch.cat((ids[1:, :-pads], new[1:]), dim=1))[0, -1]
    assert (together - alone).abs().max() < 1e-5


def test_a_document_in_a_row_reads_as_it_would_alone(build, ids) -> None:
    model = build()
    starts = torch.tensor([[0] * 9 + [9] * 11] * 2)
    with torch.no_grad():
        packed = model(ids, document_starts=starts)
        assert (packed[:, :9] - model(ids[:, :9])).abs().max() < 1e-5
        assert (packed[:, 9:] - model(ids[:, 9:])).abs().max() < 1e-5  # rotary positions are relative


def test_the_other_document_changes_no_bit(build, ids) -> None:
    model, changed = build(), ids.clone()
    changed[:, :9] = (changed[:, :9] + 1) % model.config.vocab_size
    starts = torch.tensor([[0] * 9 + [9] * 11] * 2)
    before, after = (model(rows, document_starts=starts) for rows in (ids, changed))
    assert torch.equal(before[:, 9:], after[:, 9:])
    assert not torch.equal(before[:, :9], after[:, :9])


@pytest.mark.parametrize("tied", [True, False])
def test_the_first_loss_is_that_of_guessing(build, ids, tied: bool) -> None:
    model = build(initializer_range=0.02, tie_word_embeddings=tied)
    total, count = model.loss(ids, ids.roll(-1, 1))
    assert total.item() / count.item() == pytest.approx(math.log(97), abs=0.1)


def test_a_split_batch_has_the_same_gradient(build, ids) -> None:
    model, labels = build(), ids.roll(-1, 1)
    labels[0, 5:] = -100
    model.loss(ids, labels)[0].backward()
    whole = [parameter.grad.clone() for parameter in model.parameters()]
    model.zero_grad()
    for row in range(2):
        model.loss(ids[row : row + 1], labels[row : row + 1])[0].backward()
    for parameter, gradient in zip(model.parameters(), whole, strict=True):
        assert torch.allclose(parameter.grad, gradient, atol=1e-4, rtol=1e-4)


def test_bf16_learns_nearly_the_same_gradient(build, ids) -> None:
    model, gradients = build(), []
    for enabled in (False, True):
        model.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            loss, _ = model.loss(ids, ids.roll(-1, 1))
        loss.backward()
        gradients.append(torch.cat([parameter.grad.flatten() for parameter in model.parameters()]))
    exact, rounded = gradients
    assert rounded.dtype == torch.float32
    assert torch.nn.functional.cosine_similarity(exact, rounded, dim=0) > 0.999


def test_a_text_past_the_context_is_refused(build) -> None:
    with pytest.raises(ModelError, match="max_position_embeddings = 64"):
        build()(torch.zeros(1, 65, dtype=torch.long))


def test_tokens_past_the_cache_are_refused_and_nothing_is_stored(build, ids) -> None:
    model = build()
    cache = KVCache(model.config, batch=2, max_length=22)
    with torch.no_grad():
        model(ids, cache=cache)
        with pytest.raises(ModelError, match="do not fit"):
            model(ids[:, :3], cache=cache)
    assert cache.length == 20


def test_positions_stay_exact_in_a_bf16_model(build) -> None:
    model = build().to(torch.bfloat16)
    cos, _ = model.model.rotary.at(0, 64, torch.device("cpu"))
    assert cos.dtype == torch.float32


def test_the_same_seed_gives_the_same_weights_and_leaves_other_random_numbers_alone(small) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    first, second, other = (Transformer(small) for _ in range(3))
    torch.manual_seed(5)
    for model, seed in ((first, 1), (second, 1), (other, 2)):
        initialize(model, seed)
    assert torch.equal(torch.rand(3), expected)
    for own, same in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(own, same)
    assert not torch.equal(first.head_weight, other.head_weight)


def test_what_adds_to_the_residual_stream_starts_smaller(build) -> None:
    model = build(hidden_size=256, head_dim=64, intermediate_size=512, initializer_range=0.02)
    layer = model.model.layers[0]
    expected = 0.02 / math.sqrt(2 * 3)
    assert layer.self_attn.q_proj.weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert layer.self_attn.o_proj.weight.std().item() == pytest.approx(expected, rel=0.05)
    assert layer.mlp.down_proj.weight.std().item() == pytest.approx(expected, rel=0.05)
