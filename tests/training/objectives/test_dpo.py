"""The preference losses are TRL's, value and gradient; a batch is worth the same however it is split."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from datasets import Dataset
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast
from trl import DPOConfig, DPOTrainer
from trl.experimental.cpo.cpo_trainer import CPOTrainer
from trl.experimental.orpo.orpo_trainer import ORPOTrainer

from workbench.config import LoraSettings, PreferenceSettings
from workbench.data.packing import Batch, PairPacking
from workbench.data.stores import TokenStore
from workbench.model.configuration import ModelConfig
from workbench.model.initialize import initialize
from workbench.model.lora import attach_lora, lora_layers
from workbench.model.transformer import Transformer
from workbench.model.weights import load_model, save_model
from workbench.training.objectives.dpo import (
    PairLogps,
    PreferenceObjective,
    ipo_loss,
    odds_ratio_loss,
    sigmoid_loss,
    simpo_loss,
)
from workbench.training.step import StepPasses, micro_batches
from workbench.training.surroundings import Machine

CONFIG = ModelConfig(97, 48, 80, 2, 4, 2, 12, 64, initializer_range=0.1, eos_token_id=2, pad_token_id=2)
# prompt, chosen, rejected: lengths differ, and one pair of answers begins alike
PAIRS = [
    ([5, 6, 7], [8, 9, 10, 2], [8, 11, 2]),
    ([12, 13], [14, 2], [15, 16, 17, 18, 2]),
    ([19, 20, 21, 22], [23, 24, 2], [25, 26, 2]),
]


def model_of(seed: int) -> Transformer:
    model = Transformer(CONFIG)
    initialize(model, seed)
    return model


def pair_batch(reference: Transformer | None) -> Batch:
    """PAIRS as the loader gives them, with what `reference` thinks of them."""
    documents = [prompt + answer for prompt, *answers in PAIRS for answer in answers]
    masks = [[False] * len(prompt) + [True] * len(answer) for prompt, *answers in PAIRS for answer in answers]
    store = TokenStore.from_documents(documents, masks, pad_token_id=2)
    batch = PairPacking(store, 32).assemble(torch.arange(len(PAIRS)).numpy(), torch.zeros(len(PAIRS)).long().numpy())
    if reference is None:
        return batch
    with torch.no_grad():
        logps = -reference.token_losses(torch.from_numpy(batch.input_ids), torch.from_numpy(batch.labels))
    return Batch(batch.input_ids, batch.labels, None, logps.numpy(), rows_per_unit=2)


def step(objective: PreferenceObjective, model: Transformer, batch: Batch, size: int) -> tuple[float, dict[str, float]]:
    """The mean loss and measures of a step, its gradient left in the model."""
    return StepPasses(model, objective, Machine("fp32", size)).take(batch)


def trl_trainer(folder: Path, policy: Path, reference: Path, **settings: Any) -> DPOTrainer:
    words = Tokenizer(models.WordLevel({str(n): n for n in range(97)}, unk_token="0"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    return DPOTrainer(
        model=AutoModelForCausalLM.from_pretrained(policy),
        ref_model=AutoModelForCausalLM.from_pretrained(reference),
        args=DPOConfig(
            output_dir=str(folder / "trl"),
            use_cpu=True,
            bf16=False,
            report_to=[],
            gradient_checkpointing=False,
            **settings,
        ),
        train_dataset=Dataset.from_list([{"prompt": "5 6", "chosen": "7", "rejected": "8"}]),  # it wants some
        processing_class=PreTrainedTokenizerFast(tokenizer_object=words, eos_token="2", pad_token="2"),
    )


@pytest.mark.parametrize(("loss", "sft_weight"), [("sigmoid", 0.0), ("ipo", 0.0), ("sigmoid", 0.7)])
def test_loss_gradients_and_measures_are_those_of_trl(tmp_path: Path, loss: str, sft_weight: float) -> None:
    for name, seed in (("policy", 1), ("reference", 2)):
        save_model(model_of(seed), tmp_path / name)
    parts = {"loss_type": [loss, "sft"], "loss_weights": [1.0, sft_weight]} if sft_weight else {"loss_type": [loss]}
    theirs = trl_trainer(tmp_path, tmp_path / "policy", tmp_path / "reference", beta=0.3, **parts)
    theirs.model.train()
    rows = [{"prompt_ids": asked, "chosen_ids": good, "rejected_ids": bad} for asked, good, bad in PAIRS]
    expected = theirs.compute_loss(theirs.model, theirs.data_collator(rows))
    expected.backward()
    own = load_model(tmp_path / "policy")
    objective = PreferenceObjective(PreferenceSettings(loss=loss, beta=0.3, sft_weight=sft_weight))  # type: ignore[arg-type]
    value, measures = step(objective, own, pair_batch(load_model(tmp_path / "reference")), size=2)
    assert value == pytest.approx(float(expected.detach()), abs=1e-5)
    for name, parameter in theirs.model.named_parameters():
        if name in dict(own.named_parameters()):
            assert (own.get_parameter(name).grad - parameter.grad).abs().max() < 1e-5, name
    told = theirs._metrics["train"]
    for ours, name in (
        ("reward_margin", "rewards/margins"),
        ("reward_accuracy", "rewards/accuracies"),
        ("chosen_logp", "logps/chosen"),
        ("rejected_logp", "logps/rejected"),
    ):
        assert measures[ours] == pytest.approx(told[name][-1], abs=1e-4), name


def logps(seed: int = 0, pairs: int = 7) -> PairLogps:
    generator = torch.Generator().manual_seed(seed)

    def drawn() -> torch.Tensor:
        return -10 * torch.rand(pairs, generator=generator, dtype=torch.float64) - 0.1

    counts = [torch.randint(1, 9, (pairs,), generator=generator) for _ in range(2)]
    return PairLogps(drawn(), drawn(), drawn(), drawn(), *counts)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_simpo_is_trls(smoothing: float) -> None:
    pairs = logps()
    theirs = SimpleNamespace(
        alpha=0.0,
        loss_type="simpo",
        simpo_gamma=0.8,
        beta=2.5,
        label_smoothing=smoothing,
        accelerator=SimpleNamespace(device="cpu"),
    )
    expected, chosen, rejected = CPOTrainer.cpo_loss(theirs, pairs.mean_chosen, pairs.mean_rejected)
    assert (simpo_loss(pairs, 2.5, 0.8, smoothing) - expected).abs().max() < 1e-12
    assert torch.equal(chosen, 2.5 * pairs.mean_chosen) and torch.equal(rejected, 2.5 * pairs.mean_rejected)


def test_the_odds_ratio_is_trls() -> None:
    pairs = logps()
    theirs = SimpleNamespace(beta=0.4, accelerator=SimpleNamespace(device="cpu"))
    expected, *_ = ORPOTrainer.odds_ratio_loss(theirs, pairs.mean_chosen, pairs.mean_rejected)
    assert (odds_ratio_loss(pairs, 0.4) + expected).abs().max() < 1e-5  # theirs is rounded to float32, and negative


def test_orpo_also_imitates_the_chosen_answers_token_by_token() -> None:
    model, batch = model_of(1), pair_batch(None)
    objective = PreferenceObjective(PreferenceSettings(loss="orpo", beta=0.4))
    value, measures = step(objective, model, batch, size=1)
    answers = torch.from_numpy(batch.labels[::2])
    imitation = float(model.token_losses(torch.from_numpy(batch.input_ids[::2]), answers).sum()) / int(
        (answers >= 0).sum()
    )
    logp = -model.token_losses(torch.from_numpy(batch.input_ids), torch.from_numpy(batch.labels)).sum(1)
    counts = torch.from_numpy((batch.labels >= 0).sum(1))
    none = torch.zeros(len(PAIRS))
    pairs = PairLogps(logp[::2], logp[1::2], none, none, counts[::2], counts[1::2])
    assert value == pytest.approx(imitation + float(odds_ratio_loss(pairs, 0.4).mean()), abs=1e-5)
    assert "kl" not in measures


def test_an_answer_that_is_certain_has_finite_odds() -> None:
    one, zero = torch.tensor([-1.0], requires_grad=True), torch.tensor([0.0], requires_grad=True)
    count = torch.tensor([1])
    loss = odds_ratio_loss(PairLogps(zero, one, one, one, count, count), 0.1)
    loss.sum().backward()
    assert loss.isfinite().all() and zero.grad.isfinite().all() and one.grad.isfinite().all()


def test_smoothing_is_the_loss_of_the_pair_and_of_the_pair_turned_round() -> None:
    pairs = logps()
    turned = PairLogps(
        pairs.rejected, pairs.chosen, pairs.reference_rejected, pairs.reference_chosen, *[pairs.chosen_tokens] * 2
    )
    expected = 0.9 * sigmoid_loss(pairs, 0.5) + 0.1 * sigmoid_loss(turned, 0.5)
    assert torch.allclose(sigmoid_loss(pairs, 0.5, 0.1), expected)


def test_ipo_is_least_at_its_target() -> None:
    pairs = logps()
    target = pairs.chosen_tokens * (pairs.rejected_ratio / pairs.rejected_tokens + 1 / (2 * 0.25))
    reached = PairLogps(
        pairs.reference_chosen + target,
        pairs.rejected,
        pairs.reference_chosen,
        pairs.reference_rejected,
        pairs.chosen_tokens,
        pairs.rejected_tokens,
    )
    assert ipo_loss(reached, 0.25).abs().max() < 1e-12


@pytest.mark.parametrize("loss", ["sigmoid", "ipo", "simpo", "orpo"])
@pytest.mark.parametrize("size", [1, 2])
def test_the_split_into_micro_batches_changes_nothing(loss: str, size: int) -> None:
    objective = PreferenceObjective(PreferenceSettings(loss=loss))  # type: ignore[arg-type]
    batch, results = pair_batch(model_of(2)), []
    for parts in (3, size):
        model = model_of(1)
        value, measures = step(objective, model, batch, parts)
        results.append((value, measures, model.get_parameter("model.layers.0.self_attn.q_proj.weight").grad))
    (one, told, gradient), (other, told_too, gradient_too) = results
    assert one == pytest.approx(other, abs=1e-5)
    assert told == pytest.approx(told_too, abs=1e-4)
    assert (gradient - gradient_too).abs().max() < 1e-5


@pytest.mark.parametrize("loss", ["sigmoid", "ipo"])
def test_with_lora_the_model_itself_is_the_reference(loss: str) -> None:
    """Adapters switched off give what a second model with the base's weights would."""
    model = model_of(1)
    attach_lora(model, LoraSettings(rank=4, dropout=0.0), seed=0)
    with torch.no_grad():
        for layer in lora_layers(model).values():
            layer.lora_B.normal_(0, 0.1, generator=torch.Generator().manual_seed(1))
    objective = PreferenceObjective(PreferenceSettings(loss=loss))  # type: ignore[arg-type]
    own, measures = step(objective, model, pair_batch(None), size=2)
    given, measures_too = step(objective, model, pair_batch(model_of(1)), size=2)
    assert own == pytest.approx(given, abs=1e-5)
    assert measures == pytest.approx(measures_too, abs=1e-4)
    assert measures["kl"] > 0


def test_before_the_first_step_every_pair_is_undecided() -> None:
    objective = PreferenceObjective(PreferenceSettings())
    value, measures = step(objective, model_of(1), pair_batch(model_of(1)), size=2)
    assert value == pytest.approx(0.693147, abs=1e-5)
    assert measures["reward_accuracy"] == 0.5
    assert abs(measures["kl"]) < 1e-5 and abs(measures["reward_margin"]) < 1e-5


@pytest.mark.parametrize("lora", [False, True])
def test_compiled_it_gives_the_same(lora: bool) -> None:
    # the eager backend traces as inductor does, and needs no C++ compiler
    objective = PreferenceObjective(PreferenceSettings())
    compiled = torch.compile(objective.__call__, backend="eager")
    model, batch = model_of(1), pair_batch(None if lora else model_of(2))
    if lora:
        attach_lora(model, LoraSettings(rank=4), seed=0)
    for part in micro_batches(batch, 3):
        part = objective.prepare(model, part)
        expected, told = objective(model, part)
        sums, measures = compiled(model, part)
        assert float(sums["pairs"].detach()) == pytest.approx(float(expected["pairs"].detach()), abs=1e-5)
        assert {name: float(value) for name, value in measures.items()} == pytest.approx(
            {name: float(value) for name, value in told.items()}, abs=1e-4
        )
