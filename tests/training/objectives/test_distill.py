"""Distillation's loss is its definition, and TRL's; a teacher that is kept on the disk says what it said."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import AutoModelForCausalLM

from workbench.config import DistillSettings
from workbench.data.loader import IGNORED, Batch, Loader, Position
from workbench.data.stores import TokenStore
from workbench.data.top_k_store import TopKStore, TopKWriter
from workbench.model.configuration import ModelConfig
from workbench.model.initialize import initialize
from workbench.model.output import likeliest
from workbench.model.transformer import Transformer
from workbench.model.weights import save_model
from workbench.training.objectives.distill import DistillObjective
from workbench.training.objectives.next_token import NextToken
from workbench.training.objectives.top_k import TopKSource, likeliest_tokens, top_k_divergence
from workbench.training.step import StepPasses
from workbench.training.surroundings import Machine

VOCAB = 61
TEACHER = ModelConfig(VOCAB, 48, 80, 2, 4, 2, 12, 64, initializer_range=0.2, eos_token_id=2, pad_token_id=2)
STUDENT = ModelConfig(VOCAB, 24, 40, 1, 2, 2, 12, 64, initializer_range=0.2, eos_token_id=2, pad_token_id=2)
DIRECTIONS = ["forward", "reverse"]


def model_of(config: ModelConfig, seed: int) -> Transformer:
    model = Transformer(config)
    initialize(model, seed)
    return model


def loader_of(seed: int = 0, **settings: Any) -> Loader:
    """Conversations, as it were: of each document the later half is learned."""
    generator = np.random.default_rng(seed)
    documents = [generator.integers(3, VOCAB, size=generator.integers(4, 15)).tolist() for _ in range(14)]
    masks = [[place >= len(each) // 2 for place in range(len(each))] for each in documents]
    store = TokenStore.from_documents(documents, masks, pad_token_id=2)
    return Loader(store, sequence_length=24, batch_size=3, seed=5, packing="whole", **settings)


def batch_of() -> Batch:
    return loader_of().batch(Position())


def logits_of(model: Transformer, batch: Batch) -> Tensor:
    starts = None if batch.document_starts is None else torch.from_numpy(batch.document_starts)
    return model(torch.from_numpy(batch.input_ids), document_starts=starts)


def defined(settings: DistillSettings, student: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
    """The mean loss, straight from its definition, in float64."""
    kept = labels != IGNORED
    student, teacher, targets = student.double()[kept], teacher.detach().double()[kept], labels[kept]
    divergence = torch.zeros(len(student), dtype=torch.float64)
    for row in range(len(student)):
        q = torch.softmax(student[row] / settings.temperature, 0)
        p = torch.softmax(teacher[row] / settings.temperature, 0)
        first, second = (p, q) if settings.direction == "forward" else (q, p)
        divergence[row] = sum(a * (a.log() - b.log()) for a, b in zip(first, second, strict=True))
    cross_entropy = F.cross_entropy(student, targets)
    return settings.alpha * cross_entropy + (1 - settings.alpha) * settings.temperature**2 * divergence.mean()


def gradients(model: Transformer) -> dict[str, Tensor]:
    return {name: each.grad.clone() for name, each in model.named_parameters() if each.grad is not None}


def take(objective: Any, model: Transformer, batch: Batch, size: int = 3) -> tuple[float, dict[str, Tensor]]:
    """The mean loss of a step and its gradient."""
    model.zero_grad(set_to_none=True)
    loss, _ = StepPasses(model, objective, Machine("fp32", size)).take(batch)
    return loss, gradients(model)


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize(("alpha", "temperature"), [(0.0, 1.0), (0.0, 3.0), (0.3, 2.0), (0.7, 0.5), (1.0, 2.0)])
def test_loss_and_gradient_are_the_definition(alpha: float, temperature: float, direction: Any) -> None:
    settings = DistillSettings(alpha=alpha, temperature=temperature, direction=direction)
    teacher, batch = model_of(TEACHER, 1), batch_of()
    student = model_of(STUDENT, 2)
    expected = defined(settings, logits_of(student, batch), logits_of(teacher, batch), torch.from_numpy(batch.labels))
    expected.backward()
    wanted = gradients(student)
    loss, found = take(DistillObjective(settings, teacher), student, batch)
    assert loss == pytest.approx(float(expected.detach()), abs=2e-6)
    for name, value in wanted.items():
        # float32 sums of some hundred terms: relative errors of 1e-6 of the largest
        assert (found[name] - value).abs().max() < 1e-5 * max(1.0, float(value.abs().max())), name
    assert all(each.grad is None for each in teacher.parameters())


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_loss_and_gradient_are_those_of_trl(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, temperature: float, direction: Any
) -> None:
    monkeypatch.setenv("TRL_EXPERIMENTAL_SILENCE", "1")
    from trl.experimental.gkd.gkd_trainer import GKDTrainer

    batch = batch_of()  # its documents would be seen by each other there: one by one they are rows
    rows = [batch.input_ids[0, :6], batch.input_ids[1, :6]]
    labels = [[IGNORED, IGNORED, 7, 8, 9, 3], [IGNORED, 5, 6, IGNORED, 9, 4]]
    batch = Batch(np.stack(rows), np.array(labels), None)
    teacher, student = model_of(TEACHER, 1), model_of(STUDENT, 2)
    for name, model in (("teacher", teacher), ("student", student)):
        save_model(model, tmp_path / name)
    theirs = {name: AutoModelForCausalLM.from_pretrained(tmp_path / name) for name in ("teacher", "student")}
    ids = torch.from_numpy(batch.input_ids)
    with torch.no_grad():
        said = theirs["teacher"](ids).logits
    expected = GKDTrainer.generalized_jsd_loss(
        theirs["student"](ids).logits,
        said,
        torch.from_numpy(batch.labels),
        beta=0 if direction == "forward" else 1,
        temperature=temperature,
    )
    (temperature**2 * expected).backward()  # which TRL leaves to the learning rate
    settings = DistillSettings(alpha=0.0, temperature=temperature, direction=direction)
    loss, found = take(DistillObjective(settings, teacher), student, batch)
    assert loss == pytest.approx(temperature**2 * float(expected.detach()), abs=1e-5)
    for name, parameter in theirs["student"].named_parameters():
        if name in found:
            assert (found[name] - parameter.grad).abs().max() < 1e-5, name


def test_alpha_weighs_the_two_gradients_and_one_is_plain_training() -> None:
    teacher, student, batch = model_of(TEACHER, 1), model_of(STUDENT, 2), batch_of()
    parts = {
        alpha: take(DistillObjective(DistillSettings(alpha=alpha, temperature=2.0), teacher), student, batch)
        for alpha in (0.0, 0.25, 1.0)
    }
    plain = take(NextToken(), student, batch)
    assert parts[1.0][0] == pytest.approx(plain[0], abs=1e-6)
    for name, value in plain[1].items():
        assert (parts[1.0][1][name] - value).abs().max() < 1e-6
        mixed = 0.25 * value + 0.75 * parts[0.0][1][name]
        assert (parts[0.25][1][name] - mixed).abs().max() < 1e-5


def test_the_split_into_micro_batches_changes_nothing() -> None:
    teacher, student, batch = model_of(TEACHER, 1), model_of(STUDENT, 2), batch_of()
    objective = DistillObjective(DistillSettings(temperature=2.0), teacher)
    (whole, grads), (parts, split) = (take(objective, student, batch, size) for size in (3, 1))
    assert whole == pytest.approx(parts, abs=1e-6)
    assert all((split[name] - value).abs().max() < 1e-5 for name, value in grads.items())


def test_a_teacher_with_a_padded_vocabulary_is_cut_to_what_both_know() -> None:
    wide = ModelConfig(**{**TEACHER.__dict__, "vocab_size": VOCAB + 7})
    padded, student, batch = model_of(wide, 1), model_of(STUDENT, 2), batch_of()
    said = logits_of(padded, batch)[..., :VOCAB]
    settings = DistillSettings(alpha=0.0)
    expected = defined(settings, logits_of(student, batch), said, torch.from_numpy(batch.labels))
    loss, _ = take(DistillObjective(settings, padded), student, batch)
    assert loss == pytest.approx(float(expected.detach()), abs=2e-6)


def test_measures_are_those_of_the_two_distributions() -> None:
    teacher, student, batch = model_of(TEACHER, 1), model_of(STUDENT, 2), batch_of()
    objective = DistillObjective(DistillSettings(temperature=3.0, direction="reverse"), teacher)
    labels = torch.from_numpy(batch.labels)
    kept = labels != IGNORED
    ours, theirs = logits_of(student, batch)[kept].detach(), logits_of(teacher, batch)[kept].detach()
    found = objective.measure(student, batch)
    count = int(kept.sum())
    assert found["targets"] == count
    assert found["agreement"] == int((ours.argmax(-1) == theirs.argmax(-1)).sum())
    kl = F.kl_div(ours.log_softmax(-1), theirs.log_softmax(-1), reduction="sum", log_target=True)
    assert found["kl"] == pytest.approx(float(kl), rel=1e-5)
    assert found["nats"] == pytest.approx(float(F.cross_entropy(ours, labels[kept], reduction="sum")), rel=1e-5)
    own = F.cross_entropy(theirs, labels[kept], reduction="sum")
    assert found["teacher_nats"] == pytest.approx(float(own), rel=1e-5)
    same = DistillObjective(DistillSettings(), teacher).measure(model_of(TEACHER, 1), batch)
    assert same["agreement"] == count and abs(same["kl"]) < 1e-4


def test_the_likeliest_tokens_are_the_same_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    hidden, weight = torch.randn(11, 8), torch.randn(VOCAB, 8)
    monkeypatch.setattr("workbench.model.output._LOGITS_AT_ONCE", 3 * VOCAB)
    assert torch.equal(likeliest(hidden, weight), (hidden @ weight.T).argmax(1))
    assert likeliest(hidden[:0], weight).shape == (0,)


def test_compiled_it_is_the_same() -> None:
    teacher, student, batch = model_of(TEACHER, 1), model_of(STUDENT, 2), batch_of()
    objective = DistillObjective(DistillSettings(alpha=0.3, temperature=2.0), teacher)
    prepared = objective.prepare(student, batch)
    results = []
    for compute in (objective.__call__, torch.compile(objective.__call__, backend="aot_eager")):
        student.zero_grad(set_to_none=True)
        loss = compute(student, prepared)[0]["targets"]
        loss.backward()
        results.append((float(loss.detach()), gradients(student)))
    (loss, grads), (other, others) = results
    assert other == pytest.approx(loss, rel=1e-6)
    assert all((others[name] - value).abs().max() < 1e-4 for name, value in grads.items())


# --- kept on the disk -------------------------------------------------------------------------------------------------


def kept_source(folder: Path, teacher: Transformer, loader: Loader, k: int, temperature: float) -> TopKSource:
    """What the teacher says of every row, written and opened."""
    rows = np.arange(loader.rows)
    writer = TopKWriter(folder, "train", "it", k, VOCAB)
    for first in range(0, len(rows), 2):
        batch = loader.numbered(rows[first : first + 2])
        labels = torch.from_numpy(batch.labels)
        kept = labels != IGNORED
        taught = DistillObjective(DistillSettings(), teacher).taught(batch)
        assert taught.teacher_hidden is not None
        found = likeliest_tokens(taught.teacher_hidden[kept], teacher.head_weight, labels[kept], k, temperature)
        ids, logps, sums = (each.numpy() for each in found)
        writer.append(ids, logps, sums, kept.sum(1).numpy())
    writer.sync()
    writer.close()
    return TopKSource(TopKStore(folder, "train", rows, k, VOCAB), VOCAB, torch.device("cpu"))


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_with_the_whole_vocabulary_kept_nothing_changes(tmp_path: Path, temperature: float, direction: Any) -> None:
    loader, teacher, student = loader_of(same_cuts=True), model_of(TEACHER, 1), model_of(STUDENT, 2)
    settings = DistillSettings(alpha=0.3, temperature=temperature, direction=direction)
    source = kept_source(tmp_path, teacher, loader, VOCAB, temperature)
    position = Position()
    for _ in range(3):  # the third batch goes on into the next epoch
        batch = loader.batch(position)
        streamed = take(DistillObjective(settings, teacher), student, batch)
        stored = take(DistillObjective(settings, source=source), student, batch, size=2)
        assert stored[0] == pytest.approx(streamed[0], abs=1e-5)
        assert all((stored[1][name] - value).abs().max() < 1e-5 for name, value in streamed[1].items())
        position = loader.next_position(position)
    ours = DistillObjective(settings, source=source).measure(student, batch)
    theirs = DistillObjective(settings, teacher).measure(student, batch)
    assert ours == pytest.approx(theirs, rel=1e-4)


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("temperature", [1.0, 2.0])
@pytest.mark.parametrize("parts", [False, True])
def test_with_a_few_tokens_kept_the_others_are_one_event(
    monkeypatch: pytest.MonkeyPatch, parts: bool, temperature: float, direction: str
) -> None:
    if parts:
        monkeypatch.setattr("workbench.training.objectives.top_k._FEWEST_ROWS", 4)
        monkeypatch.setattr("workbench.training.objectives.top_k._LOGITS_AT_ONCE", 1)
    torch.manual_seed(3)
    said, head = torch.randn(9, 16), torch.randn(VOCAB, 16)
    hidden, weight = torch.randn(9, 8, requires_grad=True), torch.randn(VOCAB, 8, requires_grad=True)
    labels = torch.randint(0, VOCAB, (9,))
    ids, logps, sums = likeliest_tokens(said, head, labels, 5, temperature)
    top_k = _top_k(ids, logps, sums)
    p = (said.double() @ head.double().T / temperature).softmax(-1)
    q = (hidden.double() @ weight.double().T / temperature).softmax(-1)
    grouped = [torch.cat([each.gather(1, ids), 1 - each.gather(1, ids).sum(1, keepdim=True)], 1) for each in (p, q)]
    first, second = grouped if direction == "forward" else grouped[::-1]
    expected = (first * (first.log() - second.log())).sum(1)
    found = top_k_divergence(hidden, weight, top_k, temperature, direction)
    assert (found - expected).abs().max() < 1e-5
    wanted = torch.autograd.grad(expected.sum(), [hidden, weight])
    for ours, theirs in zip(torch.autograd.grad(found.sum(), [hidden, weight]), wanted, strict=True):
        assert (ours - theirs).abs().max() < 1e-4
    whole = F.kl_div(q.log(), p, reduction="none").sum(1)
    if direction == "forward":  # grouping events can only hide differences
        assert (found <= whole + 1e-5).all() and (found < whole - 1e-4).any()
    own = (said.double() @ head.double().T).log_softmax(-1)
    assert (top_k.label_logps - own.gather(1, labels[:, None])[:, 0]).abs().max() < 1e-5


def _top_k(ids: Tensor, logps: Tensor, sums: Tensor) -> Any:
    from workbench.training.objectives.top_k import TopK

    return TopK(torch.arange(len(ids)), ids, logps, *sums.unbind(1), VOCAB)
