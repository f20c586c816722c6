"""Conversations that share a row are trained as if each had one of its own."""

import random

import pytest
import torch

from workbench.data.loader import Batch, Loader, Position
from workbench.data.stores import TokenStore
from workbench.model.configuration import ModelConfig
from workbench.model.initialize import initialize
from workbench.model.transformer import Transformer
from workbench.training.objectives.next_token import NextToken

CONFIG = ModelConfig(97, 48, 80, 2, 4, 2, 12, 64, initializer_range=0.1)


def store(documents: int) -> TokenStore:
    draw = random.Random(1)
    lengths = [draw.randint(3, 20) for _ in range(documents)]
    texts = [[draw.randrange(97) for _ in range(length)] for length in lengths]
    masks = [[False, *(draw.random() < 0.6 for _ in range(length - 2)), True] for length in lengths]
    return TokenStore.from_documents(texts, masks, pad_token_id=0)


def step(batches: list[Batch]) -> tuple[float, dict[str, torch.Tensor]]:
    """The mean loss over all batches together, and its gradients."""
    model, objective = Transformer(CONFIG), NextToken()
    initialize(model, seed=0)
    targets = sum(objective.totals(batch)["targets"] for batch in batches)
    loss = 0.0
    for batch in batches:
        mean = objective(model, batch)[0]["targets"] / targets
        mean.backward()
        loss += float(mean.detach())
    return loss, {name: parameter.grad for name, parameter in model.named_parameters()}  # type: ignore[misc]


def rows(packing: str, length: int, documents: int) -> list[Batch]:
    loader = Loader(
        store(documents),
        sequence_length=length,
        batch_size=1,
        seed=0,
        shuffle=False,
        packing=packing,  # type: ignore[arg-type]
    )
    return [loader.batch(Position(0, index)) for index in range(loader.rows)]


def test_packed_conversations_have_the_loss_and_gradients_of_single_ones() -> None:
    packed = rows("whole", 64, documents=12)
    single = [
        Batch(batch.input_ids[:, first:last], batch.labels[:, first:last], None)
        for batch in packed
        for first, last in borders(batch)
    ]
    assert len(packed) < 6 and len(single) >= 12, "several share a row"
    loss, gradients = step(packed)
    expected, others = step(single)
    assert loss == pytest.approx(expected, abs=1e-5)
    for name, gradient in gradients.items():
        # sums of about a hundred float32 terms in another order
        assert (gradient - others[name]).abs().max() <= 1e-5 * max(1.0, float(others[name].abs().max())), name


def borders(batch: Batch) -> list[tuple[int, int]]:
    """Where each conversation of a row begins and ends."""
    assert batch.document_starts is not None
    starts = sorted(set(batch.document_starts[0].tolist()))
    return list(zip(starts, [*starts[1:], batch.input_ids.shape[1]], strict=True))


def test_without_isolation_they_would_not() -> None:
    packed = rows("whole", 64, documents=12)
    mixed = [Batch(batch.input_ids, batch.labels, None) for batch in packed]
    assert abs(step(packed)[0] - step(mixed)[0]) > 1e-3
