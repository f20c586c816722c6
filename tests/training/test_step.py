"""A step of preferences on a mixture of experts with LoRA: each pass counts once, and the split changes nothing."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from tests.training.test_balance import mixture
from workbench.config import LoraSettings, PreferenceSettings
from workbench.data.packing import Batch, PairPacking
from workbench.data.stores import TokenStore
from workbench.model.lora import attach_lora, lora_layers
from workbench.model.routing import RoutingSums
from workbench.model.transformer import Transformer
from workbench.training.compiling import compiled
from workbench.training.loss_scale import LossScale
from workbench.training.objectives.dpo import PreferenceObjective
from workbench.training.step import StepPasses
from workbench.training.surroundings import Machine

ADAPTED = ["q_proj", "v_proj", "o_proj"]


def adapted(dropout: float = 0.0) -> Transformer:
    model = mixture()
    attach_lora(model, LoraSettings(rank=4, target_modules=ADAPTED, dropout=dropout), seed=2)
    with torch.no_grad():
        for layer in lora_layers(model).values():
            layer.lora_B.normal_(0, 0.3, generator=torch.Generator().manual_seed(1))
    return model.train()


def pairs(count: int = 5) -> Batch:
    """Pairs of answers of different lengths to questions of their own."""
    generator = np.random.default_rng(0)
    documents, masks = [], []
    for _ in range(count):
        prompt = generator.integers(9, 250, size=generator.integers(2, 6)).tolist()
        for _ in range(2):
            answer = generator.integers(9, 250, size=generator.integers(1, 9)).tolist()
            documents.append(prompt + answer)
            masks.append([False] * len(prompt) + [True] * len(answer))
    store = TokenStore.from_documents(documents, masks, pad_token_id=0)
    return PairPacking(store, 32).assemble(np.arange(count), np.zeros(count, np.int64))


def passes_of(model: Transformer, size: int) -> StepPasses:
    return StepPasses(model, PreferenceObjective(PreferenceSettings()), Machine("fp32", size))


def gradients(model: Transformer) -> dict[str, torch.Tensor]:
    return {name: each.grad for name, each in model.named_parameters() if each.grad is not None}


@pytest.mark.parametrize("size", [1, 2, 3])
def test_a_step_in_parts_is_the_step_at_once(size: int) -> None:
    whole, split = adapted(), adapted()
    one, other = passes_of(whole, 5), passes_of(split, size)
    loss, measures = one.take(pairs())
    loss_too, measures_too = other.take(pairs())
    assert loss == pytest.approx(loss_too, rel=1e-5)
    assert measures == pytest.approx(measures_too, rel=1e-4, abs=1e-5)
    figures, figures_too = one.experts.figures(), other.experts.figures()
    assert figures is not None and figures_too is not None and figures.expert_load == figures_too.expert_load
    assert figures.balance_loss == pytest.approx(figures_too.balance_loss, rel=1e-5)
    expected = gradients(whole)
    assert expected.keys() == {f"{name}.{part}" for name in lora_layers(whole) for part in ("lora_A", "lora_B")}
    for name, gradient in gradients(split).items():
        assert torch.allclose(gradient, expected[name], atol=1e-6, rtol=1e-3), name


def test_the_experts_that_the_reference_visits_are_not_counted() -> None:
    model, batch = adapted(), pairs()
    passes = passes_of(model, 5)
    passes.take(batch)
    figures = passes.experts.figures()
    assert model.routing is not None and figures is not None
    with torch.no_grad(), model.routing.watching() as watch:
        model(torch.from_numpy(batch.input_ids))
    counts = watch.sums.counts
    assert torch.tensor(figures.expert_load).numpy() == pytest.approx(
        (counts / counts.sum(dim=1, keepdim=True)).numpy(), abs=1e-5
    )


def test_dropout_sends_no_token_elsewhere_when_a_step_is_read_beforehand(monkeypatch: pytest.MonkeyPatch) -> None:
    passes = passes_of(adapted(dropout=0.5), 2)
    begin, counted = passes.experts.begin_step, list[RoutingSums | None]()

    def watched(parts: list[Callable[[], object]], most: int) -> None:
        begin(parts, most)
        counted.append(passes.experts._whole)

    monkeypatch.setattr(passes.experts, "begin_step", watched)
    passes.take(pairs())
    whole, done = counted[0], passes.experts._step
    assert whole is not None and done is not None
    assert torch.equal(whole.counts, done.counts) and torch.equal(whole.tokens, done.tokens)


def test_a_loss_scale_is_on_the_gradient_and_not_on_what_is_told() -> None:
    plain, scaled = adapted(), adapted()
    told = passes_of(plain, 2).take(pairs())
    assert passes_of(scaled, 2).take(pairs(), LossScale(1024.0)) == told
    for name, gradient in gradients(scaled).items():
        assert torch.equal(gradient, 1024 * gradients(plain)[name]), name  # a power of two rounds nothing


@pytest.mark.parametrize("broken", [False, True])
def test_compiling_on_trial_uses_up_no_random_numbers_and_leaves_no_gradient(
    monkeypatch: pytest.MonkeyPatch, broken: bool
) -> None:
    def compile_nothing(compute: Callable[..., object]) -> Callable[..., object]:
        return compute if not broken else lambda *_: torch.rand(3).reshape(2)

    monkeypatch.setattr(torch, "compile", compile_nothing)
    model, told = adapted(dropout=0.5), list[str]()
    objective = PreferenceObjective(PreferenceSettings())
    before = torch.get_rng_state()
    kept = compiled(objective, model, objective.prepare(model, pairs()), "fp32", told.append)
    assert torch.equal(torch.get_rng_state(), before)
    assert kept is objective and len(told) == broken
    assert not gradients(model)
