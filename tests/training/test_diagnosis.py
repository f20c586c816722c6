"""The diagnosis speaks where training goes wrong, says it with the run's figures, and is silent where it goes well."""

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from workbench import events
from workbench.training.diagnosis import Diagnosis, diagnose
from workbench.training.history import StageFigures, level_and_noise
from workbench.training.symptoms import Finding

CURVES = Path(__file__).parent / "curves"


def stage(**changes: Any) -> StageFigures:
    values = {
        "name": "pretrain",
        "kind": "pretrain",
        "steps": 1000,
        "vocab_size": 2048,
        "fresh": True,
        "epochs": 2.0,
        "learning_rate": 1e-3,
        "warmup": 20,
        "clip": 1.0,
        **changes,
    }
    return StageFigures(**values)


def curve(losses: Any, every: int = 10, **columns: Any) -> list[dict[str, Any]]:
    """Records of metrics.jsonl with these losses, one every so many steps; the first at step 1."""
    return [
        {
            "step": max(1, index * every),
            "loss": float(loss),
            "learning_rate": 1e-3,
            "grad_norm": 0.5,
            **{name: values[index] for name, values in columns.items()},
        }
        for index, loss in enumerate(losses)
    ]


def healthy(reports: int = 60) -> Any:
    """A loss that falls from ln 2048 as language models do, with the noise of small batches."""
    noise = np.random.default_rng(0).normal(0, 0.04, reports)
    return 1.0 + (math.log(2048) - 1.0) * np.exp(-np.arange(reports) / 8) + noise


def found(figures: StageFigures, records: list[dict[str, Any]]) -> dict[str, tuple[int, Finding]]:
    return {finding.name: (step, finding) for step, finding in diagnose(figures, records)}


@pytest.mark.parametrize(
    ("name", "figures"),
    [
        ("quickstart-pretrain", stage(steps=550, epochs=8.3, learning_rate=5e-3)),
        ("quickstart-sft", stage(name="sft", kind="sft", fresh=False, steps=300, epochs=3.5)),
    ],
)
def test_a_recorded_run_of_a_bundled_profile_gives_no_alarm(name: str, figures: StageFigures) -> None:
    records = [json.loads(line) for line in (CURVES / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len(records) > 30
    assert diagnose(figures, records) == []


def test_a_healthy_curve_gives_no_alarm_whatever_its_noise() -> None:
    for seed in range(20):
        noise = np.random.default_rng(seed).normal(0, 0.08, 200)
        losses = 1.0 + 6.6 * np.exp(-np.arange(200) / 10) + noise
        assert diagnose(stage(steps=2000), curve(losses)) == [], seed


def test_a_spike_is_told_once_with_its_figures() -> None:
    losses = healthy()
    losses[40:43] += [2.0, 1.2, 0.4]
    findings = diagnose(stage(), curve(losses))
    assert [(step, finding.name) for step, finding in findings] == [(400, "spike")]
    finding = findings[0][1]
    assert finding.since == 390
    assert f"jumped to {losses[40]:.3f}" in finding.cause and "step 390" in finding.cure


def test_several_spikes_are_each_told_and_then_the_rate_is_to_blame() -> None:
    losses = healthy(150)
    for place in (40, 75, 110):
        losses[place] += 3.0
    heard: list[events.Event] = []
    emitter = events.Emitter()
    emitter.subscribe(heard.append)
    diagnosis = Diagnosis(stage(), emitter)
    for record in curve(losses):
        diagnosis(step_event(record))
    told = [(event.finding, event.step) for event in heard if isinstance(event, events.Diagnosed)]
    assert told == [("spike", 400), ("spike", 750), ("spike", 1100), ("learning_rate_high", 1100)]


def step_event(record: dict[str, Any]) -> events.StepFinished:
    rest = {"steps": 1000, "tokens": 1, "seconds": 1.0, "tokens_per_second": 1.0, "mfu": None, "memory_bytes": 1}
    return events.StepFinished(stage="pretrain", **record, **rest, eta_seconds=1.0)


def test_a_loss_that_leaves_for_good_blames_the_rate_and_names_the_last_good_step() -> None:
    losses = healthy()
    losses[45:] = np.linspace(3.0, 4.0, 15)
    _, finding = found(stage(), curve(losses))["learning_rate_high"]
    assert 300 <= finding.since <= 450
    assert "3.3e-04" in finding.cure and finding.severity == "error"


def test_a_loss_above_its_start_blames_the_rate_at_once() -> None:
    step, finding = found(stage(), curve([7.6, 7.9, 9.8, 12.0]))["learning_rate_high"]
    assert step == 20 and "9.80, above the 7.60" in finding.cause


@pytest.mark.parametrize(("fresh", "culprit"), [(True, "initializer_range"), (False, "tokenizer.path")])
def test_a_start_above_a_blind_guess_is_explained(fresh: bool, culprit: str) -> None:
    records = [{"step": 0, "val_loss": 9.5}, *curve([9.4, 8.0, 7.0])]
    step, finding = found(stage(fresh=fresh), records)["high_start"]
    assert step == 0 and "9.50" in finding.cause and "ln(2,048) = 7.62" in finding.cause and culprit in finding.cure


def test_a_preference_loss_is_not_compared_with_the_vocabulary() -> None:
    assert "high_start" not in found(stage(kind="dpo", vocab_size=2), curve([0.9, 0.8]))


def test_a_loss_that_does_not_move_blames_a_low_rate() -> None:
    losses = np.linspace(7.62, 7.5, 40)
    step, finding = found(stage(learning_rate=1e-6), curve(losses))["learning_rate_low"]
    assert step == 120, "a hundred steps behind the warmup"
    assert "raise learning_rate, to 1e-04 say" in finding.cure, "ten times next to nothing would be nothing again"
    _, finding = found(stage(learning_rate=5e-5), curve(losses))["learning_rate_low"]
    assert "raise learning_rate, to 5e-04 say" in finding.cure


def test_a_finetuning_that_does_not_move_is_only_told_at_a_tiny_rate() -> None:
    records = curve([2.0] * 60, val_loss=[2.1] * 60)
    assert "learning_rate_low" in found(stage(kind="sft", fresh=False, learning_rate=1e-7), records)
    assert "learning_rate_low" not in found(stage(kind="sft", fresh=False, learning_rate=1e-4), records)


def overfitted(until: float) -> list[dict[str, Any]]:
    validation = [None] * 60
    for place, value in ((10, 2.0), (20, 1.5), (30, 1.4), (40, 1.45), (50, (1.4 + until) / 2), (59, until)):
        validation[place] = value
    records = curve(np.linspace(4.0, 0.3, 60), val_loss=validation)
    return [{key: value for key, value in record.items() if value is not None} for record in records]


def test_validation_that_rises_while_training_falls_is_overfitting() -> None:
    step, finding = found(stage(epochs=9.0), overfitted(1.9))["overfitting"]
    assert step == 590 and finding.since == 300
    assert "1.400 at step 300 to 1.900" in finding.cause and "5.3 passes" in finding.cause


def test_a_small_rise_of_validation_is_none() -> None:
    assert "overfitting" not in found(stage(), overfitted(1.5))


def test_a_loss_of_nearly_nothing_that_doubles_is_no_overfitting() -> None:
    records = [
        record | ({"val_loss": record["val_loss"] * 1e-5} if "val_loss" in record else {}) for record in overfitted(3.0)
    ]
    assert "overfitting" in found(stage(), overfitted(3.0))
    assert "overfitting" not in found(stage(), records)


def test_a_rise_of_both_losses_is_no_overfitting() -> None:
    records = overfitted(1.9)
    for record in records[31:]:
        record["loss"] = 3.0
    assert "overfitting" not in found(stage(), records)


def test_data_read_too_often_is_told_before_the_first_step() -> None:
    step, finding = found(stage(epochs=40.0), [])["repeated_data"]
    assert step == 0 and "40.0 times" in finding.cause and "400 steps" in finding.cure
    assert found(stage(epochs=16.0), []) == {}


def test_a_starved_expert_is_named_with_its_load() -> None:
    loads = [[[0.4, 0.3, 0.3, 0.0], [0.25, 0.25, 0.25, 0.25]]] * 20
    _, finding = found(stage(), curve(healthy(20), expert_load=loads))["starved_experts"]
    assert "layer 0 expert 3 0.00% of 25.0%" in finding.cause and "layer 1" not in finding.cause
    even = [[[0.3, 0.3, 0.2, 0.2]]] * 20
    assert found(stage(), curve(healthy(20), expert_load=even)) == {}


def test_a_router_has_some_time_to_even_the_load() -> None:
    late = [[[0.5, 0.5, 0.0, 0.0]]] * 60 + [[[0.25, 0.25, 0.25, 0.25]]] * 140
    assert found(stage(), curve(healthy(200), every=1, expert_load=late)) == {}
    never = [[[0.5, 0.5, 0.0, 0.0]]] * 200
    step, finding = found(stage(), curve(healthy(200), every=1, expert_load=never))["starved_experts"]
    assert step == 120 and finding.cause.startswith("2 experts get less than 10% of an equal share")
    one = [[[0.4, 0.3, 0.3, 0.0]]] * 60
    step, finding = found(stage(steps=60), curve(healthy(60), every=1, expert_load=one))["starved_experts"]
    assert step == 30 and finding.cause.startswith("1 expert gets less than 10% of an equal share over 10 reports: ")


def test_an_experts_load_is_heard_in_events_as_in_records() -> None:
    heard: list[events.Event] = []
    emitter = events.Emitter()
    emitter.subscribe(heard.append)
    diagnosis = Diagnosis(stage(), emitter)
    for record in curve(healthy(15)):
        diagnosis(dataclasses.replace(step_event(record), expert_load=((0.98, 0.02),)))
    told = [event for event in heard if isinstance(event, events.Diagnosed)]
    assert [event.finding for event in told] == ["starved_experts"] and "expert 1 2.00%" in told[0].cause


def test_preferences_that_stay_at_ln_two_are_told_with_their_margin() -> None:
    flat = curve([math.log(2) + 0.001] * 40, reward_accuracy=[0.51] * 40, reward_margin=[0.002] * 40)
    step, finding = found(stage(kind="dpo", fresh=False), flat)["flat_preferences"]
    assert step == 200 and "reward accuracy 0.510" in finding.cause and "reward margin 0.002" in finding.cause
    imitating = curve([0.9] * 40, reward_margin=[0.002] * 40)  # the loss of fine-tuning beside it
    assert "flat_preferences" in found(stage(kind="dpo", fresh=False), imitating)
    moving = curve(np.linspace(0.693, 0.5, 40))
    assert found(stage(kind="dpo", fresh=False), moving) == {}
    preferring = curve([math.log(2)] * 40, reward_margin=[-900.0, 0.9] * 20)
    assert found(stage(kind="dpo", fresh=False), preferring) == {}


def test_what_earlier_starts_told_is_not_told_again() -> None:
    losses = healthy()
    losses[30] += 3.0
    records = curve(losses)
    heard: list[events.Event] = []
    emitter = events.Emitter()
    emitter.subscribe(heard.append)
    diagnosis = Diagnosis(stage(epochs=40.0), emitter)
    diagnosis.recall(records[:40])
    diagnosis.begin(400)
    for record in records[40:]:
        diagnosis(step_event(record))
    assert heard == []


def test_noise_is_that_of_single_batches_not_of_a_trend() -> None:
    falling = np.linspace(5, 1, 41) + np.tile([0.01, -0.01], 21)[:41]
    _, noise = level_and_noise(list(falling))
    assert noise < 0.15, "a slope of 0.1 a report is no noise of 1.2, which the values' own spread would be"


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"learning_rate": 1.0, "clip": 0.0, "optimizer": {"name": "adamw"}}, "learning_rate_high"),
        ({"learning_rate": 1e-7, "steps": 130}, "learning_rate_low"),
    ],
)
def test_a_real_training_at_a_wrong_rate_is_found_out(make_bench: Any, settings: Any, expected: str) -> None:
    bench = make_bench(**{"steps": 30, "evaluate_every": 0, "sample_every": 0, "checkpoint_every": 0, **settings})
    trainer = bench.trainer
    figures = stage(vocab_size=272, steps=trainer.steps, warmup=0, learning_rate=settings["learning_rate"])
    trainer.emitter.subscribe(Diagnosis(figures, trainer.emitter))
    trainer.run()
    told = [event for event in bench.heard if isinstance(event, events.Diagnosed)]
    assert expected in [event.finding for event in told]


def test_a_real_model_with_wild_weights_starts_too_high(make_bench: Any) -> None:
    bench = make_bench(steps=1)
    trainer = bench.trainer
    trainer.probe.validate = lambda _: None
    with torch.no_grad():
        trainer.model.model.norm.weight.mul_(30)
    trainer.emitter.subscribe(Diagnosis(stage(vocab_size=272), trainer.emitter))
    trainer.run()
    assert "high_start" in [event.finding for event in bench.heard if isinstance(event, events.Diagnosed)]
