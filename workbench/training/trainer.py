"""THE training loop: start at `Trainer.run`.

One thread calls `run`; others steer it through `Control` and ask for `snapshot`. All that happens between steps happens
in `_at_boundary`, so a step is never half done, whoever asks for what.
"""

import math
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch

from workbench import events
from workbench.config import StageSettings
from workbench.control import Command, Control
from workbench.data.loader import Batch, Loader, Position
from workbench.errors import WorkbenchError
from workbench.estimate import train_flops_per_token
from workbench.model.lora import plain_state
from workbench.model.precision import autocast
from workbench.model.transformer import Transformer
from workbench.tokenizer.tokenizer import Tokenizer
from workbench.training.checkpoint import Adaptation, TrainingState, random_state, save_checkpoint
from workbench.training.objectives import build_objective
from workbench.training.optimizer import build_optimizer
from workbench.training.probe import Measured, Probe
from workbench.training.schedule import Schedule
from workbench.training.throughput import Throughput, measure_flops_per_second, memory_bytes

Sums = tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]

CHECKPOINT_SECONDS = 600  # without checkpoint_every: what a crash may cost at most


@dataclass(frozen=True)
class Machine:
    """How this machine computes, decided before the stage began.

    Args:
        micro_batch_size: rows computed at once.
    """

    precision: Literal["fp32", "bf16"]
    micro_batch_size: int
    compile: bool = False


@dataclass(frozen=True)
class Shelf:
    """Where checkpoints go.

    Args:
        lineage: what the model was made from; travels with the weights.
        path: the directory for a step.
        tidy: called after a checkpoint is complete and measured; removes those no longer kept.
        adaptation: of a model that is trained by LoRA.
    """

    lineage: dict[str, Any]
    path: Callable[[int], Path]
    tidy: Callable[[], None]
    adaptation: Adaptation | None = None


class Trainer:
    """Takes a model through the steps of one stage.

    Args:
        model: float32 weights on the device to train on.
        steps: of the whole stage.
        tokenizer: saved beside the weights; nothing here encodes or decodes.
        poll: called at every step boundary; takes in wishes of other processes.
    """

    def __init__(
        self,
        model: Transformer,
        tokenizer: Tokenizer,
        loader: Loader,
        settings: StageSettings,
        steps: int,
        machine: Machine,
        probe: Probe,
        shelf: Shelf,
        emitter: events.Emitter,
        control: Control,
        poll: Callable[[], object],
    ) -> None:
        self.model, self.tokenizer, self.loader, self.settings, self.steps = model, tokenizer, loader, settings, steps
        self.machine, self.probe, self.shelf, self.emitter, self.control = machine, probe, shelf, emitter, control
        self.poll = poll
        self.optimizer = build_optimizer(model, settings.optimizer)
        self.schedule = Schedule(
            settings.schedule, settings.learning_rate, settings.warmup, steps, settings.min_learning_rate_ratio
        )
        self.step, self.tokens, self.seconds = 0, 0, 0.0
        self.position = Position(0, 0)
        self.best_val_loss: float | None = None
        self.last_measured: Measured | None = None
        self.validated_step, self.sampled_step, self.saved_step = -1, -1, -1
        self._snapshots: deque[Future[Transformer]] = deque()
        flops = train_flops_per_token(model.config, model.config.vocab_size, settings.sequence_length, settings.lora)
        self._throughput = Throughput(flops, self._ceiling())
        self._saved_at = time.monotonic()
        # only what trains is compiled: looking at the model goes its own way, without gradients
        self.objective = build_objective(settings)
        self.compute: Callable[[Transformer, Batch], Sums] = (
            torch.compile(self.objective.__call__) if machine.compile else self.objective
        )

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
        )

    def go_on_from(self, state: TrainingState, validated_step: int, sampled_step: int) -> None:
        """Continue where `state` was taken; weights and optimizer are already in place.

        Args:
            validated_step: the last step whose validation is on record, which is not made twice; likewise sampled_step.
        """
        self.step, self.tokens, self.seconds = state.step, state.tokens, state.seconds
        self.position, self.best_val_loss = state.position, state.best_val_loss
        self.schedule = replace(self.schedule, peak=state.peak_learning_rate)
        self.validated_step, self.sampled_step, self.saved_step = validated_step, sampled_step, state.step

    def run(self) -> bool:
        """Train to the last step, or until told to stop; True when the stage is complete.

        Either way the newest step is saved. The first validation comes before the first step.

        Raises:
            WorkbenchError: the loss or a gradient is no longer a number; the last checkpoint stands.
        """
        self.model.train()
        try:
            while self._at_boundary():
                self.take_step()
            return self.step >= self.steps
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
        loss, measures = self._forward_backward(batch)
        clip = self.settings.clip or math.inf
        grad_norm = float(torch.nn.utils.clip_grad_norm_(self.model.parameters(), clip, foreach=True))
        if not math.isfinite(loss) or not math.isfinite(grad_norm):
            raise WorkbenchError(
                f"stage {self.settings.name}, step {self.step + 1}",
                f"the loss is {loss} and the gradient norm {grad_norm}, so this step was not taken",
                "go on from the last checkpoint with a lower rate (llm-workbench resume RUN --learning-rate VALUE), "
                "or lower learning_rate or raise warmup and start the stage again",
            )
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1
        self.position = self.loader.next_position(self.position)
        tokens, seconds = batch.input_ids.size, time.perf_counter() - start
        self.tokens, self.seconds = self.tokens + tokens, self.seconds + seconds
        self._throughput.add(tokens, seconds)
        if self.step == 1 or self.step == self.steps or self.step % self.settings.log_every == 0:
            self._report(loss, learning_rate, grad_norm, measures)

    def snapshot(self) -> "Future[Transformer]":
        """A copy of the model as it stands at the next step boundary, for other threads to talk to."""
        future: Future[Transformer] = Future()
        self._snapshots.append(future)
        return future

    def _at_boundary(self) -> bool:
        """All that happens between two steps; False when there is no further step."""
        finished = self.step >= self.steps
        self._obey()
        stopping = self.control.stop_requested
        if finished or stopping or self._checkpoint_due():
            self._save()
        first = self.step == 0 or finished
        if not stopping and (first or _due(self.step, self.settings.evaluate_every)):
            self._validate()
        if not stopping and (first or _due(self.step, self.settings.sample_every)):
            self._sample()
        done = finished or self.control.stop_requested
        if done:
            self._save()  # the stop may have come while the model was looked at
        if self.saved_step == self.step:
            self.shelf.tidy()
        self._serve_snapshots()
        return not done

    def _forward_backward(self, batch: Batch) -> tuple[float, dict[str, float]]:
        """Leave the gradient of the step's mean loss in the parameters; the mean itself, and those of its measures."""
        totals = self.objective.totals(batch)
        units = max(next(iter(totals.values())), 1)
        loss, measures = 0.0, dict[str, float]()
        for part in micro_batches(batch, self.machine.micro_batch_size):
            with autocast(self.model.device, self.machine.precision):
                sums, seen = self.compute(self.model, self.objective.prepare(self.model, part))
                # divided by the units of the whole step: the split into parts changes nothing
                mean = torch.stack([total / max(totals[kind], 1) for kind, total in sums.items()]).sum()
            mean.backward()
            loss += float(mean.detach())
            for name, value in seen.items():
                measures[name] = measures.get(name, 0.0) + float(value) / units
        return loss, measures

    def _report(self, loss: float, learning_rate: float, grad_norm: float, measures: dict[str, float]) -> None:
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
                measures=measures,
            )
        )

    def _obey(self) -> None:
        """Carry out commands, and wait while paused; a stop ends the waiting."""
        self.poll()
        self._carry_out(self.control.take_commands())
        if not self.control.pause_requested or self.control.stop_requested:
            return
        self.emitter.emit(events.Paused(stage=self.settings.name, step=self.step))
        while self.control.pause_requested and not self.control.stop_requested:
            self.control.wait_while_paused(timeout_seconds=0.2)
            self.poll()
            self._carry_out(self.control.take_commands())
            self._serve_snapshots()
        self.emitter.emit(events.Resumed(stage=self.settings.name, step=self.step))

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

    def _checkpoint_due(self) -> bool:
        if self.settings.checkpoint_every:
            return _due(self.step, self.settings.checkpoint_every)
        return time.monotonic() - self._saved_at > CHECKPOINT_SECONDS

    def _save(self) -> None:
        """Save this step, once; before anything is measured, as a measurement may fail."""
        if self.saved_step == self.step:
            return
        start = time.perf_counter()
        path = self.shelf.path(self.step)
        lineage = {**self.shelf.lineage, "step": self.step}
        size = save_checkpoint(
            path, self.model, self.optimizer, self.tokenizer, self.state, lineage, self.shelf.adaptation
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
        start = time.perf_counter()
        measured = self.probe.validate(self.model)
        self.validated_step = self.step
        if measured is None:
            return
        self.last_measured = measured
        best = self.best_val_loss is None or measured.loss < self.best_val_loss
        if best:
            self.best_val_loss = measured.loss
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

    def _sample(self, again: bool = False) -> None:
        if self.sampled_step == self.step and not again:
            return
        samples = self.probe.sample(self.model)
        self.sampled_step = self.step
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
                copied.load_state_dict({name: value.cpu().clone() for name, value in plain_state(self.model).items()})
                future.set_result(copied.eval())

    def _ceiling(self) -> float:
        dtype = torch.bfloat16 if self.machine.precision == "bf16" else torch.float32
        return measure_flops_per_second(self.model.device, dtype, self.model.config.hidden_size)


def micro_batches(batch: Batch, size: int) -> Iterator[Batch]:
    """`batch` in parts of at most `size` rows, or pairs; the last, shorter one is not dropped."""
    for start in range(0, batch.units, size):
        yield batch.part(start, start + size)


def _due(step: int, every: int) -> bool:
    return every > 0 and step > 0 and step % every == 0
