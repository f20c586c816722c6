"""One stage of a run: its data, the model it starts from, its training, its result."""

import contextlib
import math
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from workbench import events
from workbench.baselines import compared_with
from workbench.config import StageSettings
from workbench.data.loader import Position
from workbench.data.mixture import MixedData, MixedLoader
from workbench.errors import ModelError
from workbench.estimate import (
    choose_micro_batch_size,
    count_parameters,
    rows_per_unit,
    train_flops_per_token,
)
from workbench.evaluation.perplexity import evaluate_loss
from workbench.evaluation.samples import answer_prompt, continue_prompt
from workbench.job_batches import StageData, training_loader, validation_loader
from workbench.job_data import purpose
from workbench.job_machine import free_memory
from workbench.job_parents import check_vocabulary
from workbench.job_plan import StageResult, check_lineage, fingerprint, learning_settings, read_result, write_result
from workbench.job_preferences import make_reference, measure_preferences, needs_reference, open_reference
from workbench.job_setting import Parent, Setting, lineage_entry
from workbench.job_teacher import Teaching
from workbench.model.adapter import ADAPTER_FOLDER, base_of, load_adapter, load_stacked
from workbench.model.configuration import model_config
from workbench.model.initialize import initialize
from workbench.model.lora import attach_lora, trained_parameters, update_sizes
from workbench.model.precision import autocast
from workbench.model.transformer import Transformer
from workbench.runs.metrics import read_metrics
from workbench.runs.store import StageDirectory
from workbench.training.checkpoint import Adaptation, load_resume, save_adapter_result, save_result
from workbench.training.diagnosis import Diagnosis
from workbench.training.history import StageFigures
from workbench.training.probe import Measured, Sample
from workbench.training.surroundings import Machine, Shelf
from workbench.training.trainer import Trainer


class LookAtModel:
    """The trainer's probe: validation loss, and the profile's prompts continued or answered."""

    def __init__(self, setting: Setting, stage: StageSettings, data: StageData, teaching: Teaching | None) -> None:
        self._setting, self._stage, self._teaching = setting, stage, teaching
        self._tokenizer, self._seed = setting.tokenizer, setting.profile.run.seed
        self._loader = validation_loader(data, stage)
        self._ranks = setting.spread.validating

    def validate(self, model: Transformer) -> Measured | None:
        """The loss on the validation rows."""
        if self._loader is None:
            return None
        every = self._loader.validation_batches(self._stage.batch_size, self._stage.evaluate_batches)
        batches = islice(every, self._ranks.rank, None, self._ranks.count)
        collected = self._ranks.collected
        precision = autocast(self._setting.device, self._setting.precision)
        if self._teaching is not None:
            return self._teaching.measure(model, batches, collected)
        if self._stage.kind == "dpo":
            lengths = self._tokenizer.byte_lengths()
            return measure_preferences(model, self._stage, batches, lengths, precision, collected)
        loss = evaluate_loss(model, batches, self._tokenizer.byte_lengths(), precision, collected)
        return Measured(loss.nats_per_token, loss.perplexity, loss.bits_per_byte)

    def sample(self, model: Transformer) -> list[Sample]:
        """Each prompt with the run's own seed, so that samples of different steps compare."""
        make = continue_prompt if purpose(self._stage) == "pretrain" else answer_prompt
        return [
            Sample(
                prompt,
                make(model, self._tokenizer, prompt, seed=self._seed, max_new_tokens=self._stage.sample_tokens),
                self._seed,
            )
            for prompt in self._stage.prompts
        ]


class StageRun:
    """A stage whose data is ready: `run` trains it, from the start or from its newest checkpoint.

    Args:
        micro_batch_size: what an earlier start of this run decided; None decides now.
        teacher: of a distill stage.
    """

    def __init__(
        self,
        setting: Setting,
        stage: StageSettings,
        parent: Parent,
        data: StageData,
        micro_batch_size: int | None,
        teacher: Parent | None = None,
    ) -> None:
        self.setting, self.stage, self.parent, self.data = setting, stage, parent, data
        self.directory = setting.run.stage(stage.name)
        self.loader = training_loader(data, stage, seed=setting.profile.run.seed)
        self.steps = stage_steps(stage, self.loader.steps_per_epoch)
        self.inputs = stage_inputs(stage, data, parent, teacher)
        self.fingerprint = fingerprint(self.inputs, self.steps)
        self.stages = (*parent.stages, lineage_entry(stage))
        self.trainer: Trainer | None = None
        checkpoint = setting.ranks.led(self.directory.newest_checkpoint)
        self.checkpoint = checkpoint.path if checkpoint is not None else None
        if self.checkpoint is not None:
            check_lineage(self.checkpoint, self.inputs, setting.run, stage.name)
        self.adaptation = self._adaptation()
        self.model = self._model(self.checkpoint)
        self.teaching = self._teaching(teacher)
        self.micro_batch_size = setting.ranks.led(lambda: self._micro_batch_size(micro_batch_size))

    def run(self) -> bool:
        """Train to the last step or to a stop; True when the last step was taken."""
        if needs_reference(self.stage) and not self.setting.ranks.in_turn(lambda: self._reference_ready() or None):
            return False
        teaching, ranks = self.teaching, self.setting.ranks
        if teaching is not None and not ranks.in_turn(lambda: teaching.prepare(self.micro_batch_size) or None):
            return False
        self.trainer = trainer = self._make_trainer()
        torch.manual_seed(self.setting.profile.run.seed)  # of dropout: the same seed means the same run
        if self.checkpoint is not None:
            state = load_resume(self.checkpoint, self.model, trainer.optimizer, trainer.average)
            # by rank 0, which is about to cut the record back; a checkpoint is saved before its own step is validated
            best, stale, looks = self.setting.ranks.led(self._on_record)
            if best is not None:
                state = replace(state, best_val_loss=best, stale_validations=stale)
            # what was measured before the first step is measured again by a stage that begins anew
            trainer.go_on_from(state, *(looks if state.step else (-1, -1)))
        self._announce_start(trainer)
        if isinstance(self.loader, MixedLoader):
            self._announce_mixture(self.steps, self.loader.position_after(self.steps))
        with self._diagnosed(trainer.step):
            complete = trainer.run()
        if complete:
            if trainer.step < self.steps:
                self._announce_mixture(trainer.step, trainer.position)
            self.model = self._outcome(trainer)
        if teaching is not None:
            if complete and compared_with(self.setting.profile, self.stage) is None:
                complete = ranks.led(lambda: teaching.compare(self.model))
            teaching.release()
        return complete

    def _on_record(self) -> tuple[float | None, int, tuple[int, int]]:
        """The best validation, how many came after it, and the last steps that were looked at."""
        return *_best_so_far(read_metrics(self.directory.metrics), self.stage.evaluate_every), self._last_looks()

    def _teaching(self, teacher: Parent | None) -> Teaching | None:
        if teacher is None:
            return None
        owner = compared_with(self.setting.profile, self.stage) or self.stage.name
        kept = self.setting.run.path / owner / "teacher"
        return Teaching(self.setting, self.stage, teacher, self.data, self.loader, self.model, kept)

    @contextlib.contextmanager
    def _diagnosed(self, step: int) -> Iterator[None]:
        """Let the diagnosis listen meanwhile; it knows the figures of earlier starts of the stage."""
        stage = self.stage
        figures = StageFigures(
            name=stage.name,
            kind=stage.kind,
            steps=self.steps,
            vocab_size=self.model.config.vocab_size,
            fresh=self.parent.directory is None,
            epochs=self.steps / self.loader.steps_per_epoch,
            learning_rate=stage.learning_rate,
            warmup=stage.warmup,
            clip=stage.clip,
        )
        emitter = self.setting.emitter
        diagnosis = Diagnosis(figures, emitter)
        diagnosis.recall(record for record in read_metrics(self.directory.metrics) if record.get("step", 0) <= step)
        emitter.subscribe(diagnosis)
        try:
            diagnosis.begin(step)
            yield
        finally:
            emitter.unsubscribe(diagnosis)

    def _reference_ready(self) -> bool:
        """Have the log-probabilities of the frozen parent at hand; False when stopped while it is asked for them."""
        setting, stage, folder = self.setting, self.stage, self.directory.path / "reference"
        made_of = fingerprint(self.data.fingerprint, self.parent.fingerprint, stage.sequence_length, setting.precision)
        if open_reference(folder, self.data, made_of):
            return True

        def on_progress(done: int, total: int) -> None:
            task = "asking the reference"
            told = events.WorkProgressed(stage=stage.name, task=task, done=done, total=total, unit="pairs")
            setting.emitter.emit(told)

        assert self.parent.directory is not None, "a profile without a reference is refused"
        begun = self.checkpoint is not None  # then its own weights are no longer the reference's
        finished = make_reference(
            folder,
            self.data,
            made_of,
            load_stacked(self.parent.directory, setting.device)
            if begun or self.model.device != setting.device
            else self.model,
            stage.sequence_length,
            self.micro_batch_size,
            lambda: autocast(setting.device, setting.precision),
            on_progress,
            setting.should_stop,
        )
        return finished and open_reference(folder, self.data, made_of)

    def result(self, scores: dict[str, float], evaluation: str) -> StageResult:
        """Save the trained model as the stage's result, then put it on record."""
        assert self.trainer is not None, "run comes first"
        self._save_result()
        validations = _validations(self.directory)
        first, last = (validations[0], validations[-1]) if validations else ({}, {})
        if validations and self.stage.result == "best":
            last = min(validations, key=lambda record: record["val_loss"])
        result = StageResult(
            fingerprint=self.fingerprint,
            steps=self.trainer.step,
            tokens=self.trainer.tokens,
            seconds=self.trainer.seconds,
            before={**first, **self.parent.scores},
            after={**last, **scores},
            evaluation=evaluation,
        )
        write_result(self.directory, result)
        return result

    def _outcome(self, trainer: Trainer) -> Transformer:
        """The trained model as the stage's settings want it: of its last step or its best, averaged or not."""
        best = self.setting.ranks.led(lambda: self.directory.best_checkpoint() if self.stage.result == "best" else None)
        if best is not None and best.step != trainer.step:
            return self._model(best.path)
        trainer.take_average()
        return self.setting.spread.whole(self.model) or self.model

    def _save_result(self) -> None:
        """The whole weights; of a model trained by LoRA the adapter, and unless unwanted the merged weights as well."""
        model, tokenizer, lineage = self.model, self.setting.tokenizer, self._lineage()
        if self.adaptation is not None:
            save_adapter_result(self.directory.adapter, model, tokenizer, lineage, self.adaptation)
            self.setting.emitter.emit(events.WeightsAdapted(stage=self.stage.name, updates=update_sizes(model)))
        if self.adaptation is None or self.adaptation.settings.merge:
            save_result(self.directory.model, model, tokenizer, lineage)

    def _adaptation(self) -> Adaptation | None:
        if self.stage.lora is None:
            return None
        assert self.parent.directory is not None, "a profile without weights to adapt is refused"
        return Adaptation(self.stage.lora, base_of(self.parent.directory))

    def _model(self, checkpoint: Path | None) -> Transformer:
        """The model as `checkpoint` has it, or without one as the stage begins with it."""
        if self.adaptation is not None:
            return self._adapted_model(self.adaptation, checkpoint)
        setting, directory = self.setting, checkpoint or self.parent.directory
        if directory is not None:
            with _damage_told() if checkpoint is not None else contextlib.nullcontext():
                model = load_stacked(directory, setting.spread.loading_device)
            check_vocabulary(model, setting.tokenizer, directory)
            return model
        tokenizer = setting.tokenizer
        config = model_config(
            self.stage.model or setting.profile.model,
            tokenizer.vocab_size,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=(tokenizer.eos_token_id, *sorted(tokenizer.stop_token_ids - {tokenizer.eos_token_id})),
            pad_token_id=tokenizer.pad_token_id,
        )
        model = Transformer(config)
        initialize(model, setting.profile.run.seed)
        return model.to(setting.spread.loading_device)

    def _adapted_model(self, adaptation: Adaptation, checkpoint: Path | None) -> Transformer:
        """The parent's model with an adapter beside it, that of `checkpoint` where there is one."""
        base = adaptation.base
        model = load_stacked(base.directory, self.setting.spread.loading_device)
        check_vocabulary(model, self.setting.tokenizer, base.directory)
        attach_lora(model, adaptation.settings, self.setting.profile.run.seed)
        if checkpoint is not None:
            with _damage_told():
                load_adapter(model, checkpoint / ADAPTER_FOLDER, base)
        return model

    def _micro_batch_size(self, decided: int | None) -> int:
        if self.stage.micro_batch_size != "auto":
            return min(self.stage.micro_batch_size, self.stage.batch_size)
        if decided is not None:
            return decided
        room = free_memory(self.setting.device)
        if self.setting.device.type == "cpu":
            room //= self.setting.ranks.local_count
        return choose_micro_batch_size(self.model.config, self.model.config.vocab_size, self.stage, room)

    def _make_trainer(self) -> Trainer:
        setting, directory, keep = self.setting, self.directory, self.stage.keep
        if setting.ranks.leads:
            directory.checkpoints_path.mkdir(parents=True, exist_ok=True)
            directory.remove_leftovers()
        return Trainer(
            model=self.model,
            tokenizer=setting.tokenizer,
            loader=self.loader,
            settings=self.stage,
            steps=self.steps,
            machine=Machine(setting.precision, self.micro_batch_size, setting.compile, setting.spread),
            probe=LookAtModel(setting, self.stage, self.data, self.teaching),
            shelf=Shelf(
                self._lineage(),
                directory.checkpoint_path,
                lambda: _prune(directory, keep) if setting.ranks.leads else None,
                self.adaptation,
            ),
            emitter=setting.emitter,
            control=setting.control,
            poll=setting.should_stop,
            objective=None if self.teaching is None else self.teaching.objective,
        )

    def _lineage(self) -> dict[str, Any]:
        return {
            "run": self.setting.run.name,
            "base": self.parent.base,
            "stages": list(self.stages),
            "inputs": self.inputs,
            "data": self.data.fingerprint,
            **({} if self.teaching is None else {"teacher": self.teaching.name}),
        }

    def _last_looks(self) -> tuple[int, int]:
        """The last steps whose validation and samples are on record."""
        validated = [record["step"] for record in read_metrics(self.directory.metrics) if "val_loss" in record]
        sampled = [record["step"] for record in read_metrics(self.directory.samples)]
        return max(validated, default=-1), max(sampled, default=-1)

    def _announce_mixture(self, step: int, position: Position) -> None:
        """How often each data set is used up at a step, where there are several."""
        if isinstance(self.loader, MixedLoader) and isinstance(self.data, MixedData):
            shares, epochs = self.data.shares, self.loader.epochs(position)
            self.setting.emitter.emit(
                events.DataMixed(
                    stage=self.stage.name,
                    step=step,
                    shares=dict(zip(self.data.names, shares, strict=True)),
                    epochs=dict(zip(self.data.names, epochs, strict=True)),
                )
            )

    def _announce_start(self, trainer: Trainer) -> None:
        config, stage = self.model.config, self.stage
        counted = count_parameters(config, config.vocab_size)
        if config.norm_topk_prob and config.num_experts_per_tok == 1:
            message = (
                "each token's single expert has weight 1 (norm_topk_prob, as its config.json says): the routers learn "
                "from the balance loss alone"
            )
            self.setting.emitter.emit(events.Warned(stage=stage.name, message=message))
        self.setting.emitter.emit(
            events.StageStarted(
                stage=stage.name,
                kind=stage.kind,
                step=trainer.step,
                steps=self.steps,
                parameters=counted.total,
                trained_parameters=trained_parameters(self.model),
                active_parameters=counted.active if counted.inactive else None,
                vocab_size=config.vocab_size,
                tokens_per_step=stage.batch_size * stage.sequence_length * rows_per_unit(stage),
                flops_per_token=train_flops_per_token(config, config.vocab_size, stage.sequence_length, stage.lora),
                micro_batch_size=self.micro_batch_size,
            )
        )


def stage_inputs(stage: StageSettings, data: StageData, parent: Parent, teacher: Parent | None) -> str:
    """A fingerprint of all that a stage learns from, its length left out."""
    taught = () if teacher is None else (teacher.fingerprint,)
    return fingerprint(learning_settings(stage), data.fingerprint, parent.fingerprint, *taught)


def finished_result(
    setting: Setting, stage: StageSettings, parent: Parent, data: StageData, teacher: Parent | None = None
) -> StageResult | None:
    """The stage's result where it stands with the same settings, data, parent, teacher and length."""
    result = read_result(setting.run.stage(stage.name))
    inputs = stage_inputs(stage, data, parent, teacher)
    steps = stage_steps(stage, training_loader(data, stage, setting.profile.run.seed).steps_per_epoch)
    return result if result is not None and result.fingerprint == fingerprint(inputs, steps) else None


def stage_steps(stage: StageSettings, steps_per_epoch: int) -> int:
    """The stage's length in optimizer steps."""
    if stage.steps is not None:
        return stage.steps
    if stage.tokens is not None:
        return math.ceil(stage.tokens / (stage.batch_size * stage.sequence_length * rows_per_unit(stage)))
    assert stage.epochs is not None, "a profile gives one of the three"
    return max(1, round(stage.epochs * steps_per_epoch))


@contextlib.contextmanager
def _damage_told() -> Iterator[None]:
    """Inside, a checkpoint is read: what to do about one that is damaged."""
    try:
        yield
    except ModelError as error:
        remedy = "delete this checkpoint to go on from the one before"
        raise ModelError(error.where, error.problem, remedy) from error


def _validations(directory: StageDirectory) -> list[dict[str, float]]:
    """Every validation of the stage, oldest first."""
    records = [record for record in read_metrics(directory.metrics) if record.get("val_loss") is not None]
    return [{key: value for key, value in record.items() if key.startswith("val_")} for record in records]


def _best_so_far(records: list[dict[str, Any]], evaluate_every: int) -> tuple[float | None, int]:
    """The lowest loss among the validations that the stage makes by itself, and how many of them came after it."""
    losses = {
        record["step"]: record["val_loss"]
        for record in records
        if record.get("val_loss") is not None
        and (record["step"] == 0 or (evaluate_every > 0 and record["step"] % evaluate_every == 0))
    }
    if not losses:
        return None, 0
    best = min(losses, key=lambda step: (losses[step], step))
    return losses[best], sum(step > best for step in losses)


def _prune(directory: StageDirectory, keep: int) -> None:
    directory.prune_checkpoints(keep)
