import functools
import threading
from pathlib import Path
from typing import Any

import pytest
import torch

from workbench import events
from workbench.control import Command
from workbench.errors import WorkbenchError
from workbench.model.weights import load_model
from workbench.training.checkpoint import load_resume
from workbench.training.trainer import Trainer


def weights(trainer: Trainer) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in trainer.model.state_dict().items()}


def resumed(make_bench: Any, checkpoint: Path, **settings: Any) -> Any:
    """A new trainer, as another process would make it, that goes on from `checkpoint`."""
    bench = make_bench(**settings)
    torch.manual_seed(999)  # whatever the new process drew before
    bench.trainer.model.load_state_dict(load_model(checkpoint).state_dict())
    state = load_resume(checkpoint, bench.trainer.model, bench.trainer.optimizer)
    bench.trainer.go_on_from(state, validated_step=state.step, sampled_step=state.step)
    return bench


def test_the_loss_falls_from_the_logarithm_of_the_vocabulary(make_bench: Any) -> None:
    bench = make_bench(steps=80)
    assert bench.trainer.run()
    losses = bench.losses()
    assert losses[1] == pytest.approx(torch.log(torch.tensor(272.0)).item(), abs=0.1)
    assert losses[80] < losses[1] - 0.3


@pytest.mark.parametrize("step", [2, 4])
@pytest.mark.parametrize(("precision", "optimizer"), [("fp32", "adamw"), ("bf16", "adamw"), ("fp32", "muon")])
def test_a_resumed_run_has_the_losses_and_weights_it_would_have_had(
    make_bench: Any, tmp_path: Path, step: int, precision: str, optimizer: str
) -> None:
    settings = {"precision": precision, "optimizer": {"name": optimizer}}
    whole = make_bench(**settings)
    whole.trainer.run()
    again = resumed(make_bench, tmp_path / f"step-{step:06d}", **settings)
    again.trainer.run()
    expected = {key: value for key, value in whole.losses().items() if key > step}
    assert again.losses() == expected
    for name, value in weights(whole.trainer).items():
        assert torch.equal(value, again.trainer.model.state_dict()[name]), name


def test_a_resumed_run_goes_on_for_more_steps(make_bench: Any, tmp_path: Path) -> None:
    make_bench(steps=4).trainer.run()
    again = resumed(make_bench, tmp_path / "step-000004", steps=7)
    assert again.trainer.run()
    assert sorted(again.losses()) == [5, 6, 7]


@pytest.mark.parametrize("micro", [1, 3])
def test_the_split_into_micro_batches_changes_nothing(make_bench: Any, micro: int) -> None:
    whole, split = make_bench(micro=4), make_bench(micro=micro)
    whole.trainer.run(), split.trainer.run()
    for step, loss in whole.losses().items():
        # float32 sums in another order: 64 targets of ~5.6 nats, errors of 1e-7 each grow a little over six steps
        assert split.losses()[step] == pytest.approx(loss, abs=2e-5)


def test_a_compiled_stage_trains_as_any_other(make_bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    # the eager backend traces as inductor does, and needs no C++ compiler and no minute of warm-up
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="eager"))
    plain, compiled = make_bench(steps=4), make_bench(steps=4, compiled=True)
    plain.trainer.run(), compiled.trainer.run()
    for step, loss in plain.losses().items():
        assert compiled.losses()[step] == pytest.approx(loss, abs=2e-5)  # as for micro-batches above


def test_looking_never_changes_a_run(make_bench: Any) -> None:
    seen, unseen = make_bench(), make_bench(evaluate_every=0, sample_every=0, checkpoint_every=0)
    seen.trainer.run(), unseen.trainer.run()
    assert seen.trainer.probe.calls > unseen.trainer.probe.calls
    assert seen.losses() == unseen.losses()


def test_a_paused_run_takes_no_step_and_obeys_commands(make_bench: Any) -> None:
    bench = make_bench()
    control = bench.trainer.control
    control.pause()
    thread = threading.Thread(target=bench.trainer.run)
    thread.start()
    snapshot = bench.trainer.snapshot().result(timeout=120)
    control.request(Command("evaluate"))
    control.request(Command("sample"))
    control.request(Command("checkpoint"))
    while not any(isinstance(event, events.CheckpointSaved) for event in bench.heard):
        thread.join(0.02)
    assert bench.trainer.step == 0
    assert not any(isinstance(event, events.StepFinished) for event in bench.heard)
    control.resume()
    thread.join(30)
    kinds = [type(event).__name__ for event in bench.heard]
    assert kinds.index("Paused") < kinds.index("SampleMade") < kinds.index("Resumed") < kinds.index("StepFinished")
    assert not torch.equal(snapshot.head_weight, bench.trainer.model.head_weight), "a copy of its own"


def test_a_stop_finishes_the_step_and_saves(make_bench: Any, tmp_path: Path) -> None:
    bench = make_bench(checkpoint_every=0)
    emitter, control = bench.trainer.emitter, bench.trainer.control
    emitter.subscribe(lambda event: control.stop() if getattr(event, "step", 0) == 3 else None)
    assert bench.trainer.run() is False
    assert bench.trainer.step == 3
    assert (tmp_path / "step-000003" / "resume" / "state.json").is_file()


@pytest.mark.parametrize("look", ["validate", "sample"])
def test_a_stop_while_the_model_is_looked_at_saves_that_step(make_bench: Any, tmp_path: Path, look: str) -> None:
    bench = make_bench(checkpoint_every=0)
    looking = getattr(bench.trainer.probe, look)

    def stops_at_two(model: Any) -> Any:
        if bench.trainer.step == 2:
            bench.trainer.control.stop()
        return looking(model)

    setattr(bench.trainer.probe, look, stops_at_two)
    assert bench.trainer.run() is False
    assert (tmp_path / "step-000002" / "resume" / "state.json").is_file()


def test_a_changed_learning_rate_holds_from_the_next_step_and_survives_a_resume(
    make_bench: Any, tmp_path: Path
) -> None:
    bench = make_bench(schedule="constant")
    bench.trainer.control.request(Command("learning_rate", 5e-4))
    bench.trainer.run()
    rates = {event.learning_rate for event in bench.heard if isinstance(event, events.StepFinished)}
    assert rates == {5e-4}
    again = resumed(make_bench, tmp_path / "step-000002", schedule="constant")
    again.trainer.run()
    assert {event.learning_rate for event in again.heard if isinstance(event, events.StepFinished)} == {5e-4}


def test_a_loss_that_is_no_number_ends_the_stage_and_keeps_the_weights(make_bench: Any) -> None:
    bench = make_bench()
    with torch.no_grad():
        bench.trainer.model.model.norm.weight.fill_(float("nan"))
    before = weights(bench.trainer)
    with pytest.raises(WorkbenchError, match="step 1: the loss is nan"):
        bench.trainer.run()
    for name, value in weights(bench.trainer).items():
        assert torch.equal(value.nan_to_num(), before[name].nan_to_num())


def test_the_checkpoint_comes_before_the_evaluation_that_may_fail(make_bench: Any, tmp_path: Path) -> None:
    bench = make_bench()
    validate = bench.trainer.probe.validate

    def fails_later(model: Any) -> Any:
        if bench.trainer.step == 2:
            raise MemoryError
        return validate(model)

    bench.trainer.probe.validate = fails_later
    with pytest.raises(MemoryError):
        bench.trainer.run()
    assert load_model(tmp_path / "step-000002")


def test_validation_comes_before_the_first_step_and_after_the_last(make_bench: Any) -> None:
    bench = make_bench(steps=5, evaluate_every=0)
    bench.trainer.run()
    assert [event.step for event in bench.heard if isinstance(event, events.Validated)] == [0, 5]
