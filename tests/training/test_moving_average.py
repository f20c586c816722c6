"""The moving average is what is looked at and saved, and never changes what is trained."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from workbench.model.weights import load_model
from workbench.training.checkpoint import TRAINED_FILE, load_resume


def test_it_follows_the_weights_by_its_formula(make_bench: Any) -> None:
    bench = make_bench(ema=0.5, steps=12, evaluate_every=0, sample_every=0, checkpoint_every=0)
    trainer = bench.trainer
    name = "model.norm.weight"
    weight = trainer.model.model.norm.weight
    expected = weight.detach().clone().double()
    for step in range(1, 13):
        trainer.take_step()
        kept = min(0.5, (1 + step) / (10 + step))
        expected = kept * expected + (1 - kept) * weight.detach().double()
    with trainer.average.in_place():
        # twelve float32 roundings of numbers near one
        torch.testing.assert_close(trainer.model.state_dict()[name].double(), expected, rtol=2e-6, atol=0)
    assert not torch.allclose(weight.double(), expected, rtol=1e-4, atol=0), "its own weights are back"


def test_training_goes_as_without_it(make_bench: Any) -> None:
    plain, averaged = make_bench(), make_bench(ema=0.9)
    plain.trainer.run(), averaged.trainer.run()
    assert plain.losses() == averaged.losses()


def test_what_is_validated_is_the_average_that_is_saved(make_bench: Any, tmp_path: Path) -> None:
    bench = make_bench(ema=0.9)
    seen = {}
    validate = bench.trainer.probe.validate

    def watching(model: Any) -> Any:
        seen[bench.trainer.step] = {name: value.clone() for name, value in model.state_dict().items()}
        return validate(model)

    bench.trainer.probe.validate = watching
    bench.trainer.run()
    for step in (2, 4, 6):
        saved = load_model(tmp_path / f"step-{step:06d}").state_dict()
        assert all(torch.equal(value, saved[name]) for name, value in seen[step].items())
    trained = load_file(tmp_path / "step-000006" / "resume" / TRAINED_FILE)
    assert torch.equal(trained["model.norm.weight"], bench.trainer.model.model.norm.weight)
    assert not torch.equal(trained["model.norm.weight"], seen[6]["model.norm.weight"])
    bench.trainer.take_average()
    assert torch.equal(bench.trainer.model.state_dict()["model.norm.weight"], seen[6]["model.norm.weight"])


@pytest.mark.parametrize("step", [2, 4])
def test_a_resumed_run_has_the_weights_and_the_average_it_would_have_had(
    make_bench: Any, tmp_path: Path, step: int
) -> None:
    whole = make_bench(ema=0.9)
    whole.trainer.run()
    again = make_bench(ema=0.9)
    checkpoint = tmp_path / f"step-{step:06d}"
    again.trainer.model.load_state_dict(load_model(checkpoint).state_dict())
    state = load_resume(checkpoint, again.trainer.model, again.trainer.optimizer, again.trainer.average)
    again.trainer.go_on_from(state, validated_step=step, sampled_step=step)
    again.trainer.run()
    for _ in range(2):  # the weights, then the average
        for name, value in whole.trainer.model.state_dict().items():
            assert torch.equal(value, again.trainer.model.state_dict()[name]), name
        whole.trainer.take_average(), again.trainer.take_average()
