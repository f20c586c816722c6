import functools
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.training.conftest import CONFIG
from workbench import events
from workbench.control import Command
from workbench.data.loader import Batch
from workbench.errors import WorkbenchError
from workbench.model.weights import load_model
from workbench.training import state_formats
from workbench.training.checkpoint import load_resume
from workbench.training.probe import Measured
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
@pytest.mark.parametrize(
    ("precision", "optimizer", "state"),
    [
        ("fp32", "adamw", "fp32"),
        ("bf16", "adamw", "fp32"),
        ("fp32", "muon", "fp32"),
        ("fp32", "adamw", "int8"),
        ("fp32", "adamw", "bf16"),
        ("fp32", "muon", "int8"),
    ],
)
def test_a_resumed_run_has_the_losses_and_weights_it_would_have_had(
    make_bench: Any, tmp_path: Path, monkeypatch: Any, step: int, precision: str, optimizer: str, state: str
) -> None:
    monkeypatch.setattr(state_formats, "SMALLEST", 16)  # the model's matrices are small
    settings = {"precision": precision, "optimizer": {"name": optimizer, "state": state}}
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


def test_what_cannot_be_compiled_is_trained_all_the_same_and_told(
    make_bench: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> Any:
        raise RuntimeError("no compiler was found")

    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend=broken))
    plain, compiled = make_bench(steps=2), make_bench(steps=2, compiled=True)
    plain.trainer.run(), compiled.trainer.run()
    assert compiled.losses() == plain.losses()
    warned = [event.message for event in compiled.heard if isinstance(event, events.Warned)]
    assert len(warned) == 1 and "no compiler was found" in warned[0]


def test_a_compiled_stage_resumes_as_any_other(
    make_bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="eager"))
    whole = make_bench(compiled=True)
    whole.trainer.run()
    again = resumed(make_bench, tmp_path / "step-000002", compiled=True)
    again.trainer.run()
    assert again.losses() == {key: value for key, value in whole.losses().items() if key > 2}


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("experts", [0, 4])
def test_gradient_checkpointing_changes_no_bit(make_bench: Any, precision: str, experts: int) -> None:
    mixture = {"model_type": "qwen3_moe", "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
    config = replace(CONFIG, **mixture) if experts else CONFIG
    kept = make_bench(precision=precision, config=config)
    recomputed = make_bench(precision=precision, config=config, gradient_checkpointing=True)
    kept.trainer.run(), recomputed.trainer.run()
    assert kept.losses() == recomputed.losses()
    for name, value in weights(kept.trainer).items():
        assert torch.equal(value, recomputed.trainer.model.state_dict()[name]), name


def test_gradient_checkpointing_keeps_less_for_the_backward_pass(make_bench: Any) -> None:
    def kept(recomputed: bool) -> int:
        trainer = make_bench(gradient_checkpointing=recomputed).trainer
        sizes = list[int]()
        with torch.autograd.graph.saved_tensors_hooks(lambda x: (sizes.append(x.nbytes), x)[1], lambda x: x):
            trainer.model.loss(torch.arange(64).view(4, 16), torch.arange(64).view(4, 16))
        return sum(sizes)

    # checkpoint() registers hooks of its own inside its blocks, so that what they save is not counted here
    assert kept(True) < 0.6 * kept(False)


def test_clipping_shortens_a_long_gradient_and_leaves_a_short_one(make_bench: Any) -> None:
    def moved(clip: float) -> tuple[float, float]:
        # so large an eps makes the update proportional to the gradient
        bench = make_bench(clip=clip, optimizer={"weight_decay": 0.0, "eps": 1e3})
        before = weights(bench.trainer)
        bench.trainer.take_step()
        changes = [value - before[name] for name, value in weights(bench.trainer).items()]
        norm = next(event.grad_norm for event in bench.heard if isinstance(event, events.StepFinished))
        return float(sum(change.square().sum() for change in changes)) ** 0.5, norm

    free, norm = moved(0.0)
    assert moved(2 * norm) == (free, norm)
    shortened, told = moved(norm / 4)
    assert told == norm, "what is reported is the norm before"
    assert shortened == pytest.approx(free / 4, rel=0.02)  # weights near one round steps of 1e-5 to 1e-7


def test_accumulation_takes_the_exact_mean_over_tokens(make_bench: Any) -> None:
    """Parts with few and with many targets: the mean of their means would be another number."""
    trainer = make_bench(micro=1).trainer
    batch = trainer.loader.batch(trainer.position)
    labels = batch.labels.copy()
    labels[0, 1:] = -100  # one target in the first row, all of them in the others
    uneven = Batch(batch.input_ids, labels, batch.document_starts)
    loss, _ = trainer.passes.take(uneven)
    gradient = trainer.model.model.norm.weight.grad.clone()
    trainer.model.zero_grad()
    starts = None if batch.document_starts is None else torch.from_numpy(batch.document_starts)
    total, count = trainer.model.loss(torch.from_numpy(batch.input_ids), torch.from_numpy(labels), starts)
    (total / count).backward()
    assert loss == pytest.approx(float(total.detach() / count), rel=1e-6)
    torch.testing.assert_close(gradient, trainer.model.model.norm.weight.grad, rtol=1e-5, atol=1e-8)


def losing(bench: Any, losses: dict[int, float]) -> None:
    """Let validation measure these losses, by step."""
    bench.trainer.probe.validate = lambda _: Measured(losses[bench.trainer.step], 1.0, 1.0)


def test_a_stage_ends_when_its_patience_does(make_bench: Any, tmp_path: Path) -> None:
    bench = make_bench(steps=20, patience=2)
    losing(bench, {0: 5.0, 2: 4.0, 4: 4.5, 6: 3.9, 8: 4.0, 10: 3.9})
    assert bench.trainer.run(), "it is complete"
    assert bench.trainer.step == 10
    assert [event.step for event in bench.heard if isinstance(event, events.EndedEarly)] == [10]
    assert [event.step for event in bench.heard if isinstance(event, events.SampleMade)][-1] == 10
    assert (tmp_path / "step-000010" / "resume" / "state.json").is_file()


def test_patience_goes_on_where_a_resumed_run_had_it(make_bench: Any, tmp_path: Path) -> None:
    losses = {0: 5.0, 2: 4.0, 4: 4.5, 6: 4.4, 8: 4.3}
    make = functools.partial(make_bench, patience=3, checkpoint_every=3)
    whole = make(steps=20)
    losing(whole, losses)
    whole.trainer.run()
    again = resumed(make, tmp_path / "step-000006", steps=20)
    again.trainer.validated_step = -1  # the checkpoint came before its own step was measured
    losing(again, losses)
    again.trainer.run()
    assert whole.trainer.step == again.trainer.step == 8


def test_asking_for_a_validation_costs_no_patience(make_bench: Any) -> None:
    bench = make_bench(steps=6, patience=2)
    losing(bench, {0: 5.0, 1: 9.0, 2: 4.0, 3: 9.0, 4: 4.5, 5: 9.0, 6: 3.0})
    heard = bench.trainer.emitter
    heard.subscribe(
        lambda event: (
            [bench.trainer.control.request(Command("evaluate")) for _ in range(2)]
            if isinstance(event, events.StepFinished)
            else None
        )
    )
    bench.trainer.run()
    assert bench.trainer.step == 6


def test_a_low_that_was_asked_for_ends_no_stage_early_and_is_not_saved(make_bench: Any, tmp_path: Path) -> None:
    bench = make_bench(steps=8, patience=2, checkpoint_every=0, result="best")
    losing(bench, {0: 5.0, 1: 1.0, 2: 4.0, 3: 1.0, 4: 3.9, 5: 1.0, 6: 3.8, 7: 1.0, 8: 3.7})
    heard = bench.trainer.emitter
    heard.subscribe(
        lambda event: (
            bench.trainer.control.request(Command("evaluate")) if isinstance(event, events.StepFinished) else 0
        )
    )
    bench.trainer.run()
    assert bench.trainer.step == 8
    assert [event.step for event in bench.heard if isinstance(event, events.Validated) and event.val_loss == 1.0] == [
        1,
        3,
        5,
        7,
    ]
    assert not [path.name for path in tmp_path.glob("step-*") if path.name[-1] in "1357"]


def test_the_best_step_is_saved_although_no_checkpoint_was_due(make_bench: Any, tmp_path: Path) -> None:
    bench = make_bench(steps=7, checkpoint_every=0, evaluate_every=1, result="best")
    losing(bench, {0: 5.0, 1: 4.0, 2: 4.5, 3: 3.9, 4: 4.0, 5: 4.0, 6: 4.0, 7: 4.0})
    bench.trainer.run()
    assert sorted(path.name for path in tmp_path.glob("step-*")) == [f"step-00000{n}" for n in (0, 1, 3, 7)]


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


def test_a_wish_that_nothing_can_come_of_is_answered(make_bench: Any) -> None:
    bench = make_bench(evaluate_every=0, sample_every=0)
    bench.trainer.probe.sample = lambda model: []  # as of a stage without prompts
    bench.trainer.probe.validate = lambda model: None
    bench.trainer.control.request(Command("sample"))
    bench.trainer.control.request(Command("evaluate"))
    bench.trainer.run()
    warned = [event.message for event in bench.heard if isinstance(event, events.Warned)]
    assert ["prompts = [" in message for message in warned] == [True, False]  # once each, and not at every step
    assert "validation_fraction" in warned[1]


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
