"""Likelihoods do not depend on what shares their batch."""

import pytest
import torch

from workbench.errors import UsageError
from workbench.inference import likelihood
from workbench.inference.likelihood import continuation_likelihoods, rolling_windows
from workbench.model.transformer import Transformer

PAIRS = [([5], [7, 8, 9]), ([1, 2, 3, 4, 5, 6], [7]), ([9, 9], [3] * 12), ([4, 5, 6], [7, 8])]


@pytest.mark.parametrize("batch_size", [2, 8])
def test_a_batch_of_any_lengths_gives_what_each_text_gives_alone(model: Transformer, batch_size: int) -> None:
    together = continuation_likelihoods(model, PAIRS, batch_size=batch_size)
    alone = [continuation_likelihoods(model, [pair])[0] for pair in PAIRS]  # type: ignore[index]
    assert together is not None
    for ours, theirs in zip(together, alone, strict=True):
        # float32 products in another order, summed over a dozen tokens
        assert ours.log_probability == pytest.approx(theirs.log_probability, rel=1e-4, abs=1e-4)
        assert (ours.greedy, ours.tokens) == (theirs.greedy, theirs.tokens)


def test_it_is_the_sum_of_the_models_own_log_probabilities(model: Transformer) -> None:
    context, continuation = PAIRS[2]
    with torch.no_grad():
        logs = model(torch.tensor([[*context, *continuation]]))[0].double().log_softmax(-1)
    expected = sum(float(logs[len(context) - 1 + place, token]) for place, token in enumerate(continuation))
    (found,) = continuation_likelihoods(model, [PAIRS[2]])  # type: ignore[misc]
    assert found.log_probability == pytest.approx(expected, rel=1e-4)


def test_logits_are_made_in_pieces_without_changing_anything(
    model: Transformer, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = continuation_likelihoods(model, PAIRS)
    monkeypatch.setattr(likelihood, "POSITIONS_AT_ONCE", 3)
    pieces = continuation_likelihoods(model, PAIRS)
    assert whole is not None and pieces is not None
    for ours, theirs in zip(whole, pieces, strict=True):
        assert ours.log_probability == pytest.approx(theirs.log_probability, rel=1e-5)


def test_a_context_that_does_not_fit_loses_its_start(model: Transformer) -> None:
    limit = model.config.max_position_embeddings
    long = [place % 250 for place in range(limit + 40)]
    (found,) = continuation_likelihoods(model, [(long, [3, 4])])  # type: ignore[misc]
    (kept,) = continuation_likelihoods(model, [(long[-(limit - 1) :], [3, 4])])  # type: ignore[misc]
    assert found == kept


def test_a_continuation_longer_than_the_model_is_refused(model: Transformer) -> None:
    with pytest.raises(UsageError, match="longer than"):
        continuation_likelihoods(model, [([1], [2] * (model.config.max_position_embeddings + 1))])


def test_a_stop_gives_nothing_and_progress_is_told(model: Transformer) -> None:
    told: list[int] = []
    continuation_likelihoods(model, PAIRS, batch_size=3, on_progress=told.append)
    assert told == [3, 4]
    assert continuation_likelihoods(model, PAIRS, should_stop=lambda: True) is None


@pytest.mark.parametrize("length", [1, 4, 5, 8, 11])
def test_windows_predict_each_token_once(length: int) -> None:
    ids = list(range(10, 10 + length))
    windows = rolling_windows(ids, 0, 4)
    assert [token for _, continuation in windows for token in continuation] == ids
    assert all(len(context) + len(continuation) <= 5 for context, continuation in windows)
    for context, continuation in windows:
        place = ids.index(continuation[0])
        assert [0, *ids][: place + 1][-len(context) :] == context
