"""Generation: the cache, batches and prompt pieces change nothing, and every end has its reason."""

from collections.abc import Generator

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from workbench.errors import UsageError
from workbench.inference import generate as generate_module
from workbench.inference.generate import StopReason, evaluating, generate, generate_greedy_batch, make_cache
from workbench.inference.sampling import SamplingSettings
from workbench.model.transformer import Transformer

PROMPT = [5, 17, 200, 3, 99]


def drained(tokens: Generator[int, None, StopReason]) -> tuple[list[int], StopReason]:
    ids: list[int] = []
    while True:
        try:
            ids.append(next(tokens))
        except StopIteration as end:
            return ids, end.value


def greedy(count: int) -> SamplingSettings:
    return SamplingSettings(temperature=0, max_new_tokens=count)


def greedy_without_cache(model: Transformer, prompt: list[int], count: int) -> list[int]:
    ids = list(prompt)
    with torch.inference_mode():
        for _ in range(count):
            ids.append(int(model(torch.tensor([ids]))[0, -1].argmax()))
    return ids[len(prompt) :]


def test_cached_generation_equals_the_whole_text_read_anew_for_each_token(model: Transformer) -> None:
    assert drained(generate(model, PROMPT, greedy(40), ())) == (greedy_without_cache(model, PROMPT, 40), "length")


def test_a_prompt_read_in_pieces_gives_the_same_tokens(model: Transformer, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = drained(generate(model, PROMPT * 4, greedy(10), ()))
    monkeypatch.setattr(generate_module, "PROMPT_PIECE", 3)
    assert drained(generate(model, PROMPT * 4, greedy(10), ())) == whole


def test_a_cache_that_holds_the_start_of_the_prompt_gives_the_same_tokens(model: Transformer) -> None:
    cache = make_cache(model, 1, 64)
    drained(generate(model, [*PROMPT, 7, 8], greedy(5), (), cache=cache))
    cache.crop(len(PROMPT))
    longer = [*PROMPT, 250, 251]
    assert drained(generate(model, longer, greedy(10), (), cache=cache))[0] == greedy_without_cache(model, longer, 10)


def test_generation_equals_transformers(model: Transformer) -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    theirs = LlamaForCausalLM(LlamaConfig(**model.config.to_dict())).eval()
    missing = theirs.load_state_dict(model.state_dict(), strict=False).missing_keys
    assert missing in ([], ["lm_head.weight"])
    theirs.tie_weights()
    ids = theirs.generate(torch.tensor([PROMPT]), do_sample=False, max_new_tokens=30, pad_token_id=0)
    assert drained(generate(model, PROMPT, greedy(30), ()))[0] == ids[0, len(PROMPT) :].tolist()


def test_a_stop_token_ends_the_text_and_is_not_part_of_it(model: Transformer) -> None:
    plain = greedy_without_cache(model, PROMPT, 20)
    ending = plain[6]
    first = plain.index(ending)
    assert drained(generate(model, PROMPT, greedy(20), {ending})) == (plain[:first], "end")


def test_a_full_context_ends_the_text_by_length(model: Transformer) -> None:
    limit = model.config.max_position_embeddings
    ids, reason = drained(generate(model, PROMPT, greedy(1000), ()))
    assert (len(PROMPT) + len(ids), reason) == (limit, "length")
    ids, reason = drained(generate(model, [1] * (limit - 1), greedy(1000), ()))
    assert (len(ids), reason) == (1, "length")


@pytest.mark.parametrize("prompt", [[], [1] * 64, [1] * 100])
def test_a_prompt_without_room_for_an_answer_is_refused(model: Transformer, prompt: list[int]) -> None:
    with pytest.raises(UsageError, match="prompt"):
        next(generate(model, prompt, greedy(5), ()))


def test_a_stop_is_heard_before_the_next_token(model: Transformer) -> None:
    wanted = False
    tokens = generate(model, PROMPT, greedy(20), (), lambda: wanted)
    next(tokens)
    next(tokens)
    wanted = True
    assert drained(tokens) == ([], "stopped")


def test_a_stop_is_heard_within_a_long_prompt(model: Transformer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generate_module, "PROMPT_PIECE", 2)
    asked = iter([False, False, True])
    cache = make_cache(model, 1, 64)
    assert drained(generate(model, PROMPT, greedy(5), (), lambda: next(asked), cache=cache)) == ([], "stopped")
    assert cache.length == 4


def test_the_same_seed_streams_the_same_tokens(model: Transformer) -> None:
    def drawn(seed: int) -> list[int]:
        return drained(generate(model, PROMPT, SamplingSettings(temperature=2.0, seed=seed, max_new_tokens=20), ()))[0]

    assert drawn(1) == drawn(1) != drawn(2)


def test_generation_changes_no_random_state_no_mode_and_no_grad_mode(model: Transformer) -> None:
    model.train()
    before = torch.get_rng_state()
    tokens = generate(model, PROMPT, SamplingSettings(max_new_tokens=3), ())
    next(tokens)
    # Between two tokens the consumer may train: neither inference mode nor evaluation mode may be left on.
    assert not torch.is_inference_mode_enabled() and torch.is_grad_enabled() and model.training
    drained(tokens)
    assert torch.equal(before, torch.get_rng_state())
    assert model.training


def test_the_model_is_in_evaluation_mode_inside_and_as_it_was_after_a_failure(model: Transformer) -> None:
    model.train()
    with pytest.raises(ZeroDivisionError), evaluating(model):
        assert not model.training
        raise ZeroDivisionError
    assert model.training


# The model is only read here, so one for all examples will do.
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.lists(st.integers(0, 299), min_size=1, max_size=6), max_size=9),
    st.integers(1, 4),
    st.integers(1, 8),
)
def test_a_greedy_batch_equals_the_prompts_one_by_one(
    model: Transformer, prompts: list[list[int]], batch_size: int, count: int
) -> None:
    stops = set(range(0, 300, 7))
    alone = [drained(generate(model, prompt, greedy(count), stops))[0] for prompt in prompts]
    assert generate_greedy_batch(model, prompts, count, stops, batch_size=batch_size) == alone


def test_a_batch_reports_its_progress_and_stops_between_batches(model: Transformer) -> None:
    prompts, done = [[1, 2], [3], [4, 5], [6, 7]], []
    generate_greedy_batch(model, prompts, 2, (), batch_size=2, on_progress=done.append)
    assert done == [2, 3, 4]
    assert generate_greedy_batch(model, prompts, 2, (), should_stop=lambda: True) is None


def test_a_batch_ends_where_the_context_is_full(model: Transformer) -> None:
    rows = generate_greedy_batch(model, [[1] * 60, [2] * 60, [3] * 64, [4] * 90], 100, ())
    assert rows is not None and [len(row) for row in rows] == [4, 4, 0, 0]
