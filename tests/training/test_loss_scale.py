"""float16: overflow is met by a smaller scale, never by a broken weight."""

from pathlib import Path
from typing import Any

import pytest
import torch

from workbench import events
from workbench.errors import WorkbenchError
from workbench.model.weights import load_model
from workbench.training.checkpoint import load_resume
from workbench.training.loss_scale import FIRST_SCALE, LARGEST_SCALE, STEPS_TO_GROW, LossScale


def overflowing_at(bench: Any, steps: set[int]) -> None:
    """Let the backward pass of these steps (from 1) give an infinite gradient, as float16 does when it overflows."""
    trainer = bench.trainer
    trainer.model.model.norm.weight.register_hook(
        lambda grad: torch.full_like(grad, float("inf")) if trainer.step + 1 in steps else grad
    )


def test_an_overflow_halves_the_scale_and_skips_the_step(make_bench: Any) -> None:
    bench = make_bench(precision="fp16", steps=3, evaluate_every=0, sample_every=0)
    overflowing_at(bench, {2})
    trainer = bench.trainer
    trainer.take_step()
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    moments = trainer.optimizer.state[trainer.model.model.norm.weight]["exp_avg"].clone()
    trainer.take_step()
    assert trainer.loss_scale.state == (FIRST_SCALE / 2, 0)
    assert all(torch.equal(value, before[name]) for name, value in trainer.model.state_dict().items())
    assert torch.equal(trainer.optimizer.state[trainer.model.model.norm.weight]["exp_avg"], moments)
    warned = [event.message for event in bench.heard if isinstance(event, events.Warned)]
    assert len(warned) == 1 and "step 2 is skipped" in warned[0]
    trainer.take_step()
    assert trainer.loss_scale.state == (FIRST_SCALE / 2, 1)
    assert not torch.equal(trainer.model.model.norm.weight, before["model.norm.weight"])


def test_the_scale_doubles_after_enough_good_steps_up_to_a_limit() -> None:
    scale = LossScale(LARGEST_SCALE / 2, STEPS_TO_GROW - 2)
    assert scale.update(1.0) and scale.value == LARGEST_SCALE / 2
    assert scale.update(1.0) and scale.state == (LARGEST_SCALE, 0)
    full = LossScale(LARGEST_SCALE, STEPS_TO_GROW - 1)
    assert full.update(1.0) and full.value == LARGEST_SCALE


def test_gradients_are_those_of_an_unscaled_loss(make_bench: Any) -> None:
    def gradient(scale: float) -> torch.Tensor:
        bench = make_bench(precision="fp16")
        trainer = bench.trainer
        trainer.loss_scale = LossScale(scale)
        trainer.passes.take(trainer.loader.batch(trainer.position), trainer.loss_scale)
        trainer.loss_scale.unscale([each.grad for each in trainer.model.parameters()])
        return trainer.model.model.norm.weight.grad

    # a power of two changes no float16 mantissa; what differs is only what had been too small to be held
    torch.testing.assert_close(gradient(2.0**14), gradient(2.0**12), rtol=1e-3, atol=1e-6)


def test_a_resumed_run_has_the_scale_and_the_steps_it_would_have_had(make_bench: Any, tmp_path: Path) -> None:
    whole = make_bench(precision="fp16")
    overflowing_at(whole, {1, 4})
    whole.trainer.run()
    again = make_bench(precision="fp16")
    overflowing_at(again, {4})
    checkpoint = tmp_path / "step-000002"
    again.trainer.model.load_state_dict(load_model(checkpoint).state_dict())
    state = load_resume(checkpoint, again.trainer.model, again.trainer.optimizer)
    assert state.loss_scale == (FIRST_SCALE / 2, 1)
    again.trainer.go_on_from(state, validated_step=2, sampled_step=2)
    again.trainer.run()
    assert again.trainer.loss_scale.state == whole.trainer.loss_scale.state == (FIRST_SCALE / 4, 2)
    for name, value in whole.trainer.model.state_dict().items():
        assert torch.equal(value, again.trainer.model.state_dict()[name]), name


def test_overflow_without_end_is_an_error_and_not_an_endless_run(make_bench: Any) -> None:
    bench = make_bench(precision="fp16", steps=200, evaluate_every=0, sample_every=0, checkpoint_every=0)
    overflowing_at(bench, set(range(1, 201)))
    with pytest.raises(WorkbenchError, match="float16 cannot hold"):
        bench.trainer.run()
    assert bench.trainer.step < 30


def test_a_loss_that_is_no_number_is_no_matter_of_scale(make_bench: Any) -> None:
    bench = make_bench(precision="fp16")
    with torch.no_grad():
        bench.trainer.model.model.norm.weight.fill_(float("nan"))
    with pytest.raises(WorkbenchError, match="step 1: the loss is nan"):
        bench.trainer.run()
