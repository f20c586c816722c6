"""The lens shows the numbers that transformers has for the same model."""

import math
from typing import Any

import pytest
import torch

from workbench.errors import UsageError
from workbench.inspection.lens import logit_lens, read_text
from workbench.inspection.watching import read_parts
from workbench.model.transformer import Transformer

# float32 logits of about 1 by two implementations: their sums run in another order
TOLERANCE = 1e-4
Pair = tuple[Any, Transformer]


def foreign_logits(foreign: Any, ids: list[int]) -> torch.Tensor:
    with torch.no_grad():
        logits: torch.Tensor = foreign(torch.tensor([ids])).logits[0]
    return logits


def test_hidden_states_are_those_of_transformers(pair: Pair, ids: list[int]) -> None:
    foreign, own = pair
    with torch.no_grad():
        expected = foreign(torch.tensor([ids]), output_hidden_states=True).hidden_states
        residual = read_parts(own, ids).residual
        assert len(residual) == len(expected) == 4
        for ours, theirs in zip(residual[:-1], expected[:-1], strict=True):
            assert (ours - theirs[0]).abs().max() < TOLERANCE
        # the last of transformers has gone through the norm already
        assert (own.model.norm(residual[-1]) - expected[-1][0]).abs().max() < TOLERANCE


def test_the_parts_add_up_to_the_residual_stream(model: Transformer, ids: list[int]) -> None:
    passed = read_parts(model, ids)
    for layer in range(3):
        added = passed.residual[layer] + passed.attention[layer] + passed.feed_forward[layer]
        assert (added - passed.residual[layer + 1]).abs().max() < 1e-5


def test_probabilities_ranks_and_entropy_are_those_of_transformers(pair: Pair, ids: list[int]) -> None:
    foreign, own = pair
    logs = foreign_logits(foreign, ids).log_softmax(-1)
    places = read_text(own, ids, top=5)
    assert [place.token_id for place in places] == ids
    assert places[0].log_probability is None and places[0].rank is None
    for index, place in enumerate(places[1:], start=1):
        row = logs[index - 1]
        assert place.log_probability == pytest.approx(float(row[ids[index]]), abs=TOLERANCE)
        assert place.rank == int((row > row[ids[index]]).sum()) + 1
    for place, row in zip(places, logs, strict=True):
        assert place.entropy == pytest.approx(float(-(row.exp() * row).sum()), abs=TOLERANCE)
        assert [choice.token_id for choice in place.choices] == row.topk(5).indices.tolist()
        assert place.choices[0].probability == pytest.approx(float(row.exp().max()), abs=TOLERANCE)


def test_a_model_without_an_idea_has_the_entropy_of_its_vocabulary(model: Transformer, ids: list[int]) -> None:
    flat = Transformer(model.config)
    with torch.no_grad():
        for parameter in flat.parameters():
            parameter.zero_()
    assert read_text(flat, ids)[3].entropy == pytest.approx(math.log(97), abs=1e-5)


def test_the_last_layer_of_the_lens_is_the_model_itself(model: Transformer, ids: list[int]) -> None:
    layers = logit_lens(model, ids, top=3)
    assert len(layers) == 4 and all(len(places) == len(ids) for places in layers)
    own = [place.choices[:3] for place in read_text(model, ids, top=3)]
    for lens, place in zip(layers[-1], own, strict=True):
        assert [choice.token_id for choice in lens] == [choice.token_id for choice in place]
        assert lens[0].probability == pytest.approx(place[0].probability, abs=1e-5)


def test_a_layer_of_the_lens_is_its_hidden_state_through_norm_and_head(pair: Pair, ids: list[int]) -> None:
    foreign, own = pair
    with torch.no_grad():
        hidden = foreign(torch.tensor([ids]), output_hidden_states=True).hidden_states[1]
        expected = foreign.lm_head(foreign.model.norm(hidden))[0].softmax(-1)
    for place, row in zip(logit_lens(own, ids)[1], expected, strict=True):
        assert place[0].token_id == int(row.argmax())
        assert place[0].probability == pytest.approx(float(row.max()), abs=TOLERANCE)


def test_looking_leaves_the_model_as_it_was(model: Transformer, ids: list[int]) -> None:
    model.train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    read_text(model, ids), logit_lens(model, ids)
    assert model.training and torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(module._forward_hooks for module in model.modules())


@pytest.mark.parametrize(("ids", "told"), [([], "no tokens"), ([1] * 65, "65 tokens, and the model reads 64")])
def test_a_text_that_cannot_be_read_is_refused(model: Transformer, ids: list[int], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        read_text(model, ids)
