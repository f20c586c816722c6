"""Loss on validation data: the sum over all targets by their count, however they are batched."""

import math
from contextlib import nullcontext

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from workbench.data.loader import IGNORED, Batch
from workbench.errors import DataError
from workbench.evaluation.perplexity import evaluate_loss
from workbench.model.transformer import Transformer

LENGTHS = np.arange(300, dtype=np.int32) % 4


def rows(seed: int, count: int, ignored_share: float = 0.4) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    ids, labels = random.integers(0, 300, (2, count, 12))
    labels[random.random((count, 12)) < ignored_share] = IGNORED
    return ids, labels


def test_the_loss_is_the_mean_over_targets_not_over_batches(model: Transformer) -> None:
    ids, labels = rows(0, 5)
    batches = [Batch(ids[:1], labels[:1], None), Batch(ids[1:], labels[1:], None)]
    measured = evaluate_loss(model, batches, LENGTHS, nullcontext())
    with torch.no_grad():
        logits = model(torch.from_numpy(ids)).double()
    expected = F.cross_entropy(logits.flatten(0, 1), torch.from_numpy(labels).flatten()).item()
    # float32 logits against the same in float64
    assert measured.nats_per_token == pytest.approx(expected, rel=1e-5)
    assert measured.perplexity == pytest.approx(math.exp(expected), rel=1e-4)
    assert measured.tokens == int((labels >= 0).sum())


def test_bits_per_byte_count_the_bytes_of_the_targets_alone(model: Transformer) -> None:
    ids, labels = rows(1, 3)
    measured = evaluate_loss(model, [Batch(ids, labels, None)], LENGTHS, nullcontext())
    text_bytes = LENGTHS[labels[labels >= 0]].sum()
    bits = measured.nats_per_token * measured.tokens / math.log(2)
    assert measured.bits_per_byte == pytest.approx(bits / text_bytes)


def test_documents_of_a_row_do_not_see_each_other(model: Transformer) -> None:
    ids, labels = rows(2, 1, ignored_share=0)
    labels[0, 5] = IGNORED  # the first token of the second document
    starts = np.array([[0] * 6 + [6] * 6], dtype=np.int32)
    together = evaluate_loss(model, [Batch(ids, labels, starts)], LENGTHS, nullcontext())
    apart = [Batch(ids[:, :6], labels[:, :6], None), Batch(ids[:, 6:], labels[:, 6:], None)]
    assert together.nats_per_token == pytest.approx(evaluate_loss(model, apart, LENGTHS, nullcontext()).nats_per_token)


def test_measuring_leaves_the_model_and_random_numbers_as_they_were(model: Transformer) -> None:
    model.train()
    ids, labels = rows(3, 2)
    before = torch.get_rng_state()
    evaluate_loss(model, [Batch(ids, labels, None)], LENGTHS, torch.autocast("cpu", torch.bfloat16))
    assert model.training and torch.equal(before, torch.get_rng_state())
    assert all(parameter.grad is None for parameter in model.parameters())
    # Autocast keeps copies of weights: one made without gradients must not be found by training.
    with torch.autocast("cpu", torch.bfloat16):
        model.loss(torch.from_numpy(ids), torch.from_numpy(labels))[0].backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_no_target_at_all_is_an_error(model: Transformer) -> None:
    ids, labels = rows(4, 1, ignored_share=1.1)
    for batches in ([], [Batch(ids, labels, None)]):
        with pytest.raises(DataError, match="no token"):
            evaluate_loss(model, batches, LENGTHS, nullcontext())


def test_a_diverged_model_has_an_infinite_perplexity_and_no_exception(model: Transformer) -> None:
    with torch.no_grad():
        model.head_weight.mul_(1e5)
    ids, labels = rows(5, 1)
    assert evaluate_loss(model, [Batch(ids, labels, None)], LENGTHS, nullcontext()).perplexity == math.inf
