"""Sampling: each filter keeps what its definition says, transformers agrees, and seeds mean something."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers.generation.logits_process import (
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from workbench.errors import UsageError, WorkbenchError
from workbench.inference.sampling import SamplingSettings, candidates, make_generator, penalise_repeats, sample

OFF = {"temperature": 1.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0, "repetition_penalty": 1.0}

# Whole multiples of 1/64, all different: ties are where two correct filters may keep different tokens.
distinct_scores = st.lists(st.integers(-1500, 1500), min_size=1, max_size=700, unique=True).map(
    lambda values: torch.tensor(values, dtype=torch.float32) / 64
)
few_examples = settings(max_examples=60, deadline=None)


def kept_ids(scores: torch.Tensor, **changes: float) -> set[int]:
    return set(candidates(scores, SamplingSettings(**(OFF | changes)))[1].tolist())


def finite_ids(processed: torch.Tensor) -> set[int]:
    return set(processed[0].isfinite().nonzero().flatten().tolist())


@few_examples
@given(distinct_scores, st.integers(1, 800))
def test_top_k_keeps_exactly_the_k_likeliest(scores: torch.Tensor, top_k: int) -> None:
    kept = kept_ids(scores, top_k=top_k)
    assert kept == set(scores.argsort(descending=True)[:top_k].tolist())
    assert kept == finite_ids(TopKLogitsWarper(top_k)(None, scores[None]))


@few_examples
@given(st.lists(st.integers(0, 2), min_size=5, max_size=50), st.integers(1, 5))
def test_top_k_keeps_exactly_k_among_equals(values: list[int], top_k: int) -> None:
    assert len(kept_ids(torch.tensor(values, dtype=torch.float32), top_k=top_k)) == top_k


@few_examples
@given(distinct_scores, st.floats(0.01, 0.999))
def test_top_p_keeps_the_smallest_set_that_reaches_p(scores: torch.Tensor, top_p: float) -> None:
    kept = kept_ids(scores, top_p=top_p)
    probabilities = scores.double().softmax(-1)
    chosen = sorted((probabilities[i].item() for i in kept), reverse=True)
    slack = 1e-6  # float32 probabilities of up to 700 tokens
    assert sum(chosen) >= top_p - slack
    assert sum(chosen[:-1]) < top_p + slack
    assert kept == set(scores.argsort(descending=True)[: len(kept)].tolist())


@pytest.mark.parametrize("top_p", [0.05, 0.5, 0.9, 0.95, 0.999])
@pytest.mark.parametrize("scale", [0.01, 1.0, 5.0])
def test_top_p_keeps_what_transformers_keeps(top_p: float, scale: float) -> None:
    scores = torch.randn(5000, generator=torch.Generator().manual_seed(1)) * scale
    kept = kept_ids(scores, top_p=top_p)
    theirs = finite_ids(TopPLogitsWarper(top_p)(None, scores.double()[None]))
    # float32 against float64 probabilities: at most the one token on the border differs
    assert len(kept ^ theirs) <= 1


@few_examples
@given(distinct_scores, st.floats(0.001, 1.0))
def test_min_p_keeps_tokens_at_least_that_share_as_likely_as_the_likeliest(scores: torch.Tensor, min_p: float) -> None:
    kept = kept_ids(scores, min_p=min_p)
    share = (scores.double() - scores.double().max()).exp()
    clear = (share / min_p - 1).abs() > 1e-5
    assert all((i in kept) == bool(share[i] >= min_p) for i in range(len(scores)) if clear[i])
    theirs = finite_ids(MinPLogitsWarper(min_p)(None, scores.double()[None]))
    assert all(clear[i].logical_not() for i in kept ^ theirs)


@few_examples
@given(distinct_scores, st.integers(1, 50), st.floats(0.05, 0.99), st.floats(0.001, 0.5))
def test_all_filters_together_keep_what_transformers_keeps(
    scores: torch.Tensor, top_k: int, top_p: float, min_p: float
) -> None:
    kept = kept_ids(scores, top_k=top_k, top_p=top_p, min_p=min_p)
    processed = scores.double()[None]
    for processor in (TopKLogitsWarper(top_k), TopPLogitsWarper(top_p), MinPLogitsWarper(min_p)):
        processed = processor(None, processed)
    assert len(kept ^ finite_ids(processed)) <= 1  # rounding on the border, as above


@few_examples
@given(distinct_scores, st.lists(st.integers(0, 10_000), max_size=30), st.floats(0.5, 2.0))
def test_the_repetition_penalty_equals_transformers(scores: torch.Tensor, picks: list[int], penalty: float) -> None:
    previous = [pick % len(scores) for pick in picks]
    ours = penalise_repeats(scores, previous, penalty)
    if previous:
        theirs = RepetitionPenaltyLogitsProcessor(penalty)(torch.tensor([previous]), scores[None])[0]
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0)
    else:
        assert ours is scores


@few_examples
@given(distinct_scores, st.sampled_from([0.0, 1e-30, 1e-8, 1e-4]))
def test_a_temperature_towards_zero_is_greedy(scores: torch.Tensor, temperature: float) -> None:
    cold = SamplingSettings(temperature=temperature)
    assert sample(scores, [], cold, make_generator(None)) == int(scores.argmax())


def test_the_same_seed_gives_the_same_tokens_and_another_seed_others() -> None:
    scores = torch.randn(300, generator=torch.Generator().manual_seed(3))

    def drawn(seed: int | None) -> list[int]:
        generator = make_generator(seed)
        return [sample(scores, [], SamplingSettings(), generator) for _ in range(20)]

    assert drawn(7) == drawn(7)
    assert drawn(7) != drawn(8)
    assert drawn(None) != drawn(None)


def test_sampling_leaves_the_global_random_state_alone() -> None:
    before = torch.get_rng_state()
    sample(torch.randn(50, generator=make_generator(0)), [1], SamplingSettings(), make_generator(None))
    assert torch.equal(before, torch.get_rng_state())


def test_tokens_are_drawn_as_often_as_their_probability_says() -> None:
    probabilities = torch.tensor([0.5, 0.3, 0.15, 0.05])
    generator, draws = make_generator(5), 4000
    plain = SamplingSettings(**OFF)
    counts = torch.zeros(4)
    for _ in range(draws):
        counts[sample(probabilities.log(), [], plain, generator)] += 1
    # five standard deviations of a binomial share
    tolerance = 5 * (probabilities * (1 - probabilities) / draws).sqrt()
    assert ((counts / draws - probabilities).abs() < tolerance).all()


def test_a_token_of_probability_zero_is_never_drawn() -> None:
    scores = torch.tensor([-math.inf, 0.0, -math.inf, 0.0, -math.inf])
    generator = make_generator(0)
    drawn = {sample(scores, [], SamplingSettings(**OFF), generator) for _ in range(200)}
    assert drawn == {1, 3}


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_logits_of_a_diverged_model_are_an_error_not_a_token(bad: float, temperature: float) -> None:
    with pytest.raises(WorkbenchError, match="diverged"):
        sample(torch.tensor([0.0, bad, 1.0]), [], SamplingSettings(temperature=temperature), make_generator(0))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", -0.1),
        ("temperature", math.nan),
        ("top_k", -1),
        ("top_k", 1.5),
        ("top_p", 0.0),
        ("top_p", 1.1),
        ("min_p", -0.1),
        ("min_p", 1.1),
        ("repetition_penalty", 0.0),
        ("seed", -1),
        ("seed", 2**60),
        ("max_new_tokens", 0),
        ("temperature", "hot"),
    ],
)
def test_a_setting_out_of_range_is_refused_by_name_and_value(name: str, value: object) -> None:
    with pytest.raises(UsageError) as refused:
        SamplingSettings(**{name: value})
    assert name in str(refused.value) and repr(value) in str(refused.value)


def test_all_settings_out_of_range_are_told_together() -> None:
    with pytest.raises(UsageError) as refused:
        SamplingSettings(temperature=-1, top_p=2)
    assert "temperature" in str(refused.value) and "top_p" in str(refused.value)
