"""The X-ray of an answer agrees with transformers' logits, and with what sampling draws from."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import Qwen3MoeConfig, Qwen3MoeForCausalLM

from workbench.errors import UsageError
from workbench.inference.generate import generate
from workbench.inference.sampling import SamplingSettings, distribution, make_generator, sample
from workbench.inspection.xray import x_ray
from workbench.model.transformer import Transformer
from workbench.model.weights import load_model

PLAIN = SamplingSettings(temperature=1.0, top_p=1.0)
ANSWER = [4, 61, 33, 7]


def expected_logs(foreign: Any, ids: Sequence[int]) -> torch.Tensor:
    with torch.no_grad():
        return foreign(torch.tensor([list(ids)])).logits[0].double().log_softmax(-1)


def test_probability_rank_entropy_and_alternatives_are_those_of_transformers(
    pair: tuple[Any, Transformer], ids: list[int]
) -> None:
    foreign, model = pair
    logs = expected_logs(foreign, [*ids, *ANSWER])[len(ids) - 1 :]
    places = x_ray(model, ids, ANSWER, PLAIN, stop_ids=(90,), top=5)
    assert len(places) == len(ANSWER) + 1 and places[-1].token_id == 90
    for place, row, token_id in zip(places, logs, [*ANSWER, 90], strict=True):
        chances = row.exp()
        assert place.token_id == token_id and place.chosen is not None
        assert place.chosen.probability == pytest.approx(float(chances[token_id]), rel=1e-3)
        assert place.rank == int((row > row[token_id]).sum()) + 1
        assert place.entropy == pytest.approx(float(-(chances * row).sum() / math.log(2)), rel=1e-4)
        best = place.alternatives[:5]
        assert [each.token_id for each in best] == chances.topk(5).indices.tolist()
        assert [each.probability for each in best] == pytest.approx(chances.topk(5).values.tolist(), rel=1e-3)
        assert any(each.token_id == token_id for each in place.alternatives) and place.experts == ()
        assert place.possible == len(chances)
        assert place.chosen.drawn == pytest.approx(place.chosen.probability, rel=1e-4)


def test_the_distribution_drawn_from_is_the_one_that_sampling_uses(model: Transformer, ids: list[int]) -> None:
    settings = SamplingSettings(temperature=0.7, top_k=6, top_p=0.9, repetition_penalty=1.2)
    place = x_ray(model, ids, ANSWER, settings, (), top=97)[2]
    with torch.no_grad():
        logits = model(torch.tensor([[*ids, *ANSWER[:2]]]))[0, -1]
    generator, draws = make_generator(3), 4000
    drawn = torch.bincount(
        torch.tensor([sample(logits, [*ids, *ANSWER[:2]], settings, generator) for _ in range(draws)]), minlength=97
    )
    for each in place.alternatives:
        spread = math.sqrt(each.drawn * (1 - each.drawn) / draws)
        # five standard deviations: one false alarm in two million, and the numbers are seeded
        assert abs(float(drawn[each.token_id]) / draws - each.drawn) <= 5 * spread
    assert place.possible == int((drawn > 0).sum()) <= 6
    assert sum(each.drawn for each in place.alternatives) == pytest.approx(1)


def test_at_temperature_0_one_token_alone_can_be_drawn(model: Transformer, ids: list[int]) -> None:
    settings = SamplingSettings(temperature=0, max_new_tokens=6)
    answer = list(generate(model, ids, settings, ()))
    places = x_ray(model, ids, answer, settings, (), "length")
    assert [place.rank for place in places] == [1] * 6 + [0]
    assert all(place.chosen is not None and place.chosen.drawn == 1 for place in places[:-1])
    assert all(place.possible == 1 for place in places)


def test_behind_a_cut_answer_nothing_stands_and_what_could_is_told(model: Transformer, ids: list[int]) -> None:
    last = x_ray(model, ids, ANSWER, PLAIN, (90,), "stopped")[-1]
    assert last.token_id is None and last.chosen is None and last.rank == 0 and len(last.alternatives) == 10


def test_an_empty_answer_has_the_place_behind_it(model: Transformer, ids: list[int]) -> None:
    assert [place.token_id for place in x_ray(model, ids, [], PLAIN, (90, 5000), "end")] == [90]


def test_a_text_longer_than_the_model_reads_is_refused(model: Transformer, ids: list[int]) -> None:
    with pytest.raises(UsageError, match="64"):
        x_ray(model, ids, [1] * 64, PLAIN, ())


def test_nothing_is_computed_that_sampling_would_not_do_and_no_state_changes(
    model: Transformer, ids: list[int]
) -> None:
    state = torch.get_rng_state()
    x_ray(model, ids, ANSWER, PLAIN, ())
    assert torch.equal(state, torch.get_rng_state()) and not any(p.grad is not None for p in model.parameters())
    logits = torch.tensor([0.0, 2.0, 1.0])
    ids_left, chances = distribution(logits, [1], SamplingSettings(temperature=1, top_p=1, repetition_penalty=4.0))
    assert chances[ids_left.tolist().index(2)] == chances.max()  # the repeated token fell behind


def test_experts_of_each_token_are_those_of_transformers(ids: list[int], tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = Qwen3MoeConfig(
        vocab_size=97,
        hidden_size=48,
        intermediate_size=80,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        max_position_embeddings=64,
        initializer_range=0.1,
        num_experts=5,
        num_experts_per_tok=2,
        moe_intermediate_size=24,
        norm_topk_prob=True,
        decoder_sparse_step=1,
        mlp_only_layers=[],
    )
    foreign = Qwen3MoeForCausalLM(config).eval()
    foreign.save_pretrained(tmp_path)
    with torch.no_grad():
        logits = foreign(torch.tensor([[*ids, *ANSWER]]), output_router_logits=True).router_logits
    places = x_ray(load_model(tmp_path), ids, ANSWER, PLAIN, ())
    for number, place in enumerate(places[:-1]):
        expected = [layer[len(ids) + number].topk(2).indices.tolist() for layer in logits]
        assert [[expert for expert, _ in visits] for visits in place.experts] == expected
    assert places[-1].experts == ()
