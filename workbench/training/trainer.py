"""THE training loop: start at `Trainer.run`.

One thread calls `run`; others steer it through `Control` and ask for `snapshot`. All that happens between steps happens
in `_at_boundary`, so a step is never half done, whoever asks for what.
"""

import contextlib
import math
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import asdict, replace

from workbench import events
from workbench.config import StageSettings
from workbench.control import Command, Control
from workbench.data.loader import Batch, Loader, Position
from workbench.data.mixture import MixedLoader
from workbench.errors import WorkbenchError
from workbench.estimate import train_flops_per_token
from workbench.model.lora import plain_state
from workbench.model.precision import DTYPES
from workbench.model.transformer import Transformer
from workbench.schedule import Schedule
from workbench.tokenizer.tokenizer import Tokenizer
from workbench.training.checkpoint import TrainingState, save_checkpoint
from workbench.training.diagnosis import diagnosed, not_finite
from workbench.training.loss_scale import LossScale
from workbench.training.moving_average import MovingAverage
from workbench.training.nonfinite import explain, find_origin
from workbench.training.objectives import Objective, build_objective
from workbench.training.optimizer import build_optimizer, clip_gradients, optimizer_tensors
from workbench.training.probe import Measured, Probe
from workbench.training.random_numbers import random_state
from workbench.training.ranks import Wishes
from workbench.training.step import StepPasses
from workbench.training.surroundings import Machine, Shelf
from workbench.training.throughput import Throughput, measure_flops_per_second, memory_bytes
from workbench.training.utilisation import Utilisation

CHECKPOINT_SECONDS = 600  # without checkpoint_every: what a crash may cost at most


class Trainer:
    """Takes a model through the steps of one stage.

    Args:
        model: float32 weights on the device to train on; cut into the ranks' parts here where they share it.
        steps: of the whole stage.
        tokenizer: saved beside the weights; nothing here encodes or decodes.
        poll: called at every step boundary; takes in wishes of other processes.
        objective: what is minimised; that of `settings` when None.
    """

    def __init__(
        self,
        model: Transformer,
        tokenizer: Tokenizer,
        loader: Loader | MixedLoader,
        settings: StageSettings,
        steps: int,
        machine: Machine,
        probe: Probe,
        shelf: Shelf,
        emitter: events.Emitter,
        control: Control,
        poll: Callable[[], object],
        objective: Objective | None = None,
    ) -> None:
        self.model, self.tokenizer, self.loader, self.settings, self.steps = model, tokenizer, loader, settings, steps
        self.machine, self.probe, self.shelf, self.emitter, self.control = machine, probe, shelf, emitter, control
        self.poll, self.spread, self.ranks = poll, machine.spread, machine.spread.ranks
        self.spread.place(model)
        self.optimizer = build_optimizer(model, settings.optimizer)
        self.schedule = Schedule(
            settings.schedule,
            settings.learning_rate,
            settings.warmup,
            steps,
            settings.min_learning_rate_ratio,
            settings.decay_fraction,
        )
        self.average = MovingAverage(model, settings.ema) if settings.ema else None
        self.loss_scale = LossScale() if machine.precision == "fp16" else None
        self.step, self.tokens, self.seconds = 0, 0, 0.0
        self.position: Position = loader.first
        self.best_val_loss: float | None = None
        self.stale_validations = 0
        self.last_measured: Measured | None = None
        self.validated_step, self.sampled_step, self.saved_step = -1, -1, -1
        self._snapshots: deque[Future[Transformer]] = deque()
        flops = train_flops_per_token(model.config, model.config.vocab_size, settings.sequence_length, settings.lora)
        self._throughput = Throughput(flops, self._ceiling() * self.ranks.count)
        self._utilisation = Utilisation(model.device, self.ranks.local_count)
        self._saved_at = time.monotonic()
        self.passes = StepPasses(model, objective or build_objective(settings), machine)
        model.model.recompute_activations = settings.gradient_checkpointing

    @property
    def state(self) -> TrainingState:
        """All that the next step depends on, beside weights and optimizer."""
        return TrainingState(
            step=self.step,
            tokens=self.tokens,
            seconds=self.seconds,
            position=self.position,
            peak_learning_rate=self.schedule.peak,
            best_val_loss=self.best_val_loss,
            random_state=random_state(),
            stale_validations=self.stale_validations,
            loss_scale=None if self.loss_scale is None else self.loss_scale.state,
        )

    @property
    def ended_early(self) -> bool:
        """Whether validation has not improved for as long as the stage has patience."""
        return 0 < self.settings.patience <= self.stale_validations

    def go_on_from(self, state: TrainingState, validated_step: int, sampled_step: int) -> None:
        """Continue where `state` was taken; weights and optimizer are already in place.

        Args:
            validated_step: the last step whose validation is on record, which is not made twice; likewise sampled_step.
        """
        self.step, self.tokens, self.seconds = state.step, state.tokens, state.seconds
        self.position, self.best_val_loss = state.position, state.best_val_loss
        self.stale_validations = state.stale_validations
        if self.loss_scale is not None and state.loss_scale is not None:
            self.loss_scale = LossScale(*state.loss_scale)
        self.schedule = replace(self.schedule, peak=state.peak_learning_rate)
        self.validated_step, self.sampled_step, self.saved_step = validated_step, sampled_step, state.step

    def run(self) -> bool:
        """Train to the last step, or until told to stop; True when the stage is complete.

        Either way the newest step is saved. The first validation comes before the first step.

        Raises:
            WorkbenchError: the loss or a gradient is no longer a number; the last checkpoint stands.
        """
        self.model.train()
        if self.machine.compile:
            self.passes.compile(self.loader.batch(self.position), self._warn)
        try:
            while self._at_boundary():
                self.take_step()
            return self.step >= self.steps or self.ended_early
        finally:
            self._serve_snapshots()

    def take_step(self) -> None:
        """One optimizer step on the batch at the current position; `run` decides when.

        Raises:
            WorkbenchError: the loss or a gradient is no longer a number.
        """
        start = time.perf_counter()
        batch = self.loader.batch(self.position)
        learning_rate = self.schedule.learning_rate(self.step)
        self.spread.reseed(self.step)
        loss, measures = self.passes.take(batch, self.loss_scale)
        if self.loss_scale is not None:
            self.loss_scale.unscale([each.grad for each in self.model.parameters() if each.grad is not None])
        grad_norm = clip_gradients(self.model, self.settings.clip)
        if self._usable(loss, grad_norm, batch):
            for group in self.optimizer.param_groups:
                group["lr"] = learning_rate
            self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1
        if self.average is not None:
            self.average.follow(self.step)
        self.position = self.loader.next_position(self.position)
        tokens, seconds = batch.input_ids.size, time.perf_counter() - start
        self.tokens, self.seconds = self.tokens + tokens, self.seconds + seconds
        self._throughput.add(tokens, seconds)
        if self.step == 1 or self.step == self.steps or self.step % self.settings.log_every == 0:
            self._report(loss, learning_rate, grad_norm, measures)

    def take_average(self) -> None:
        """Leave the moving average in the model for good, where there is one: the stage is over."""
        if self.average is not None:
            self.average.settle()

    def snapshot(self) -> "Future[Transformer]":
        """A copy of the model as it stands at the next step boundary, for other threads to talk to."""
        future: Future[Transformer] = Future()
        self._snapshots.append(future)
        return future

    def _at_boundary(self) -> bool:
        """All that happens between two steps; False when there is no further step."""
        finished = self.step >= self.steps or self.ended_early
        wishes = self._obey()
        stopping = wishes.stop
        if finished or stopping or self._checkpoint_due(wishes):
            self._save()
        first = self.step == 0 or finished
        if not stopping and (first or _due(self.step, self.settings.evaluate_every)):
            self._validate()
            if self.ended_early and not finished:
                finished = first = True
                self.emitter.emit(events.EndedEarly(stage=self.settings.name, step=self.step, steps=self.steps))
        if not stopping and (first or _due(self.step, self.settings.sample_every)):
            self._sample()
        done = finished or self.ranks.any(self.control.stop_requested)
        if done:
            self._save()  # the stop may have come while the model was looked at
        if self.saved_step == self.step:
            self.shelf.tidy()
        self._serve_snapshots()
        return not done

    def _usable(self, loss: float, grad_norm: float, batch: Batch) -> bool:
        """Whether the step can be taken; False where float16 overflowed, and the loss is scaled less from now on.

        Raises:
            WorkbenchError: the loss or a gradient is not a number, and scaling does not help.
        """
        scale = self.loss_scale
        if math.isfinite(loss) and scale is not None and not scale.exhausted:
            before, taken = scale.value, scale.update(grad_norm)
            if not taken:
                self._warn(
                    f"step {self.step + 1} is skipped: its gradients overflowed float16 at a loss scale of {before:g}, "
                    f"which is now {scale.value:g}"
                )
            return taken
        if not math.isfinite(loss) or not math.isfinite(grad_norm):
            raise self._not_finite(loss, grad_norm, batch)
        return True

    def _not_finite(self, loss: float, grad_norm: float, batch: Batch) -> WorkbenchError:
        """Look for where it came from, and announce it."""
        origin = self.spread.looked_at(
            self.model,
            lambda model: find_origin(
                model, lambda part: self.passes.compute(part, model), batch, self.machine.micro_batch_size
            ),
        )
        finding = explain(origin, batch, self.position, self.tokenizer, loss, grad_norm)
        self.emitter.emit(diagnosed(self.settings.name, self.step + 1, finding))
        precision = self.machine.precision
        return not_finite(self.settings.name, self.step + 1, loss, grad_norm, precision, origin.text)

    def _warn(self, message: str) -> None:
        self.emitter.emit(events.Warned(stage=self.settings.name, message=message))

    def _report(self, loss: float, learning_rate: float, grad_norm: float, measures: dict[str, float]) -> None:
        routing = self.passes.experts.figures()
        self.emitter.emit(
            events.StepFinished(
                stage=self.settings.name,
                step=self.step,
                steps=self.steps,
                tokens=self.tokens,
                seconds=self.seconds,
                loss=loss,
                learning_rate=learning_rate,
                grad_norm=grad_norm,
                tokens_per_second=self._throughput.tokens_per_second,
                mfu=self._throughput.mfu,
                memory_bytes=memory_bytes(self.model.device),
                eta_seconds=self._throughput.eta_seconds(self.steps - self.step),
                utilisation=self._utilisation.share(),
                measures=measures,
                **({} if routing is None else asdict(routing)),
            )
        )

    def _obey(self) -> Wishes:
        """Carry out commands, and wait while paused; a stop ends the waiting. What is wished at the end of it."""
        wishes = self._take_wishes()
        if not wishes.pause or wishes.stop:
            return wishes
        self.emitter.emit(events.Paused(stage=self.settings.name, step=self.step))
        while wishes.pause and not wishes.stop:
            self.control.wait_while_paused(timeout_seconds=0.2)
            wishes = self._take_wishes()
            self._serve_snapshots()
        self.emitter.emit(events.Resumed(stage=self.settings.name, step=self.step))
        return wishes

    def _take_wishes(self) -> Wishes:
        """The wishes that all ranks obey, those of the moment carried out."""
        self.poll()
        wishes = self.ranks.share_wishes(self.control, time.monotonic() - self._saved_at > CHECKPOINT_SECONDS)
        self._carry_out(wishes.commands)
        return wishes

    def _carry_out(self, commands: list[Command]) -> None:
        for command in commands:
            if command.name == "checkpoint":
                self._save()
            elif command.name == "evaluate":
                self._validate(again=True)
            elif command.name == "sample":
                self._sample(again=True)
            elif command.value is not None:
                self.schedule = replace(self.schedule, peak=command.value)
                self.emitter.emit(
                    events.LearningRateChanged(stage=self.settings.name, step=self.step, learning_rate=command.value)
                )

    def _checkpoint_due(self, wishes: Wishes) -> bool:
        if self.settings.checkpoint_every:
            return _due(self.step, self.settings.checkpoint_every)
        return wishes.checkpoint

    def _save(self) -> None:
        """Save this step, once; before anything is measured, as a measurement may fail."""
        if self.saved_step == self.step:
            return
        start, size, leads = time.perf_counter(), 0, self.ranks.leads
        path = self.shelf.path(self.step)
        lineage = {**self.shelf.lineage, "step": self.step}
        trained = None if self.average is None else self.average.trained_tensors(keep=leads)
        memories = optimizer_tensors(self.model, self.optimizer, keep=leads)
        with self._as_seen():
            model = self.spread.whole(self.model, "cpu")
            if model is not None:
                size = save_checkpoint(
                    path, model, memories, self.tokenizer, self.state, lineage, trained, self.shelf.adaptation
                )
        self.saved_step, self._saved_at = self.step, time.monotonic()
        self.emitter.emit(
            events.CheckpointSaved(
                stage=self.settings.name,
                step=self.step,
                path=str(path),
                size_bytes=size,
                seconds=time.perf_counter() - start,
            )
        )

    def _validate(self, again: bool = False) -> None:
        if self.validated_step == self.step and not again:
            return
        start, fresh = time.perf_counter(), self.validated_step != self.step
        with self._as_seen():
            if self.spread.sharded:
                measured = self.spread.looked_at(self.model, self.probe.validate)
            else:
                measured = self.probe.validate(self.model)
        self.validated_step = self.step
        if measured is None:
            if again:
                self._warn("there is no validation data to measure; give the stage validation or validation_fraction")
            return
        self.last_measured = measured
        due = _due(self.step, self.settings.evaluate_every)
        best = self.best_val_loss is None or measured.loss < self.best_val_loss
        # what somebody asked for in between is told, but decides neither when the stage ends nor what comes of it
        counts = due or self.step in (0, self.steps)
        if best and counts:
            self.best_val_loss, self.stale_validations = measured.loss, 0
        elif fresh and due:
            self.stale_validations += 1
        self.emitter.emit(
            events.Validated(
                stage=self.settings.name,
                step=self.step,
                val_loss=measured.loss,
                val_perplexity=measured.perplexity,
                val_bits_per_byte=measured.bits_per_byte,
                best=best,
                seconds=time.perf_counter() - start,
                measures=measured.measures,
            )
        )
        if best and counts and self.settings.result == "best":
            self._save()

    def _sample(self, again: bool = False) -> None:
        if self.sampled_step == self.step and not again:
            return
        with self._as_seen():
            samples = self.spread.looked_at(self.model, self.probe.sample)
        self.sampled_step = self.step
        if again and not samples:
            self._warn('the stage has no prompts to go on with; give it some, such as prompts = ["Once upon a time"]')
        for sample in samples:
            self.emitter.emit(
                events.SampleMade(
                    stage=self.settings.name, step=self.step, prompt=sample.prompt, text=sample.text, seed=sample.seed
                )
            )

    def _serve_snapshots(self) -> None:
        while self._snapshots:
            future = self._snapshots.popleft()
            if future.set_running_or_notify_cancel():
                copied = Transformer(self.model.config)
                with self._as_seen():
                    weights = {name: value.cpu().clone() for name, value in plain_state(self.model).items()}
                copied.load_state_dict(weights)
                future.set_result(copied.eval())

    def _as_seen(self) -> contextlib.AbstractContextManager[None]:
        """Inside, the model has the weights that are looked at and saved: their average, where the stage keeps one."""
        return contextlib.nullcontext() if self.average is None else self.average.in_place()

    def _ceiling(self) -> float:
        dtype = DTYPES[self.machine.precision]
        return measure_flops_per_second(self.model.device, dtype, self.model.config.hidden_size)


def _due(step: int, every: int) -> bool:
    return every > 0 and step > 0 and step % every == 0
