"""Many answers at once: what each prompt would get alone, drawn with random numbers of its own."""

import pytest
import torch

from workbench.errors import WorkbenchError
from workbench.inference.batches import answer_batch
from workbench.inference.generate import generate
from workbench.inference.row_sampling import sample_rows
from workbench.inference.sampling import SamplingSettings, make_generator, sample
from workbench.model.configuration import ModelConfig
from workbench.model.initialize import initialize
from workbench.model.kv_cache import KVCache
from workbench.model.transformer import Transformer

CONFIG = ModelConfig(61, 24, 40, 2, 4, 2, 6, 48, initializer_range=0.5)
STOPS = (3, 4, 5)
PROMPTS = [[7, 8, 9], [10], [11, 12, 13, 14, 15, 16], [17, 18, 19], [20, 21], [22, 23, 24, 25]]
DRAWN = SamplingSettings(temperature=1.2, top_p=0.9, max_new_tokens=12)


@pytest.fixture(scope="module")
def model() -> Transformer:
    made = Transformer(CONFIG)
    initialize(made, 3)
    return made


def alone(model: Transformer, prompt: list[int], settings: SamplingSettings, seed: int) -> tuple[tuple[int, ...], bool]:
    ids, stream = [], generate(model, prompt, settings, STOPS, generator=make_generator(seed))
    while True:
        try:
            ids.append(next(stream))
        except StopIteration as end:
            return tuple(ids), end.value == "length"


@pytest.mark.parametrize(
    "settings",
    [
        DRAWN,
        SamplingSettings(temperature=0.0, max_new_tokens=12),
        SamplingSettings(temperature=0.9, top_k=7, top_p=0.8, min_p=0.05, max_new_tokens=12),
        SamplingSettings(temperature=1.0, top_p=1.0, repetition_penalty=1.4, max_new_tokens=12),
    ],
)
@pytest.mark.parametrize("batch_size", [1, 4, 6])
def test_each_prompt_gets_what_it_would_get_alone(
    model: Transformer, batch_size: int, settings: SamplingSettings
) -> None:
    seeds = [100 + number for number in range(len(PROMPTS))]
    done: list[int] = []
    found = answer_batch(model, PROMPTS, settings, seeds, STOPS, batch_size=batch_size, on_progress=done.append)
    assert found is not None
    expected = [alone(model, prompt, settings, seed) for prompt, seed in zip(PROMPTS, seeds, strict=True)]
    assert [(answer.ids, answer.cut) for answer in found] == expected
    assert done[-1] == len(PROMPTS)


def test_some_answers_end_and_some_are_cut(model: Transformer) -> None:
    found = answer_batch(model, PROMPTS * 4, DRAWN, list(range(24)), STOPS, batch_size=24)
    assert found is not None
    assert {answer.cut for answer in found} == {True, False}
    assert all(len(answer.ids) == 12 for answer in found if answer.cut)
    assert not any(set(answer.ids) & set(STOPS) for answer in found)


def test_near_the_end_of_the_context_nobody_loses_room_to_a_longer_prompt(model: Transformer) -> None:
    settings = SamplingSettings(temperature=0.0, max_new_tokens=12)
    prompts = [list(range(6, 46)), list(range(6, 40)), [7]]
    found = answer_batch(model, prompts, settings, [1, 2, 3], (), batch_size=3)
    assert found is not None
    assert [len(answer.ids) for answer in found] == [8, 12, 12]


def test_a_stop_ends_the_writing(model: Transformer) -> None:
    asked: list[int] = []

    def should_stop() -> bool:
        asked.append(1)
        return len(asked) > 3

    assert answer_batch(model, PROMPTS, DRAWN, [0] * 6, STOPS, batch_size=6, should_stop=should_stop) is None
    assert len(asked) == 4


@pytest.mark.parametrize(
    "settings",
    [
        SamplingSettings(temperature=0.7, top_p=0.9),
        SamplingSettings(temperature=1.5, top_p=0.999),
        SamplingSettings(temperature=1.0, top_p=1.0, min_p=0.1),
        SamplingSettings(temperature=1.0, top_k=5, top_p=1.0),
        SamplingSettings(temperature=1e-4, top_p=0.5),
        SamplingSettings(temperature=1.0, top_p=0.8, repetition_penalty=2.0),
        SamplingSettings(temperature=0.0),
    ],
)
@pytest.mark.parametrize("vocab", [5, 1000])
def test_rows_are_drawn_as_one_row_is(vocab: int, settings: SamplingSettings) -> None:
    torch.manual_seed(vocab)
    logits, previous = torch.randn(9, vocab) * 3, [[row % vocab, 1] for row in range(9)]
    for turn in range(5):
        together = [make_generator(50 * turn + row) for row in range(9)]
        single = [make_generator(50 * turn + row) for row in range(9)]
        rows = zip(logits, previous, single, strict=True)
        expected = [sample(row, ids, settings, generator) for row, ids, generator in rows]
        assert sample_rows(logits, previous, settings, together) == expected


def test_logits_that_are_no_numbers_are_told() -> None:
    logits = torch.zeros(2, 7)
    logits[1] = float("nan")
    with pytest.raises(WorkbenchError, match="not a number"):
        sample_rows(logits, [[0], [0]], DRAWN, [make_generator(0), make_generator(1)])


def test_selected_texts_go_on_as_before(model: Transformer) -> None:
    ids = torch.tensor([[7, 8, 9], [10, 11, 12], [13, 14, 15]])
    cache = KVCache(CONFIG, 3, 8)
    with torch.no_grad():
        model(ids, cache=cache)
        cache.select(torch.tensor([2, 0]))
        found = model(torch.tensor([[16], [17]]), cache=cache)[:, -1]
        whole = model(torch.tensor([[13, 14, 15, 16], [7, 8, 9, 17]]))[:, -1]
    assert (found - whole).abs().max() < 1e-5
