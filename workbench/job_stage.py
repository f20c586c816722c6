"""One stage of a run: its data, the model it starts from, its training, its result."""

import contextlib
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import torch

from workbench import events
from workbench.config import StageSettings
from workbench.data.loader import Position
from workbench.data.mixture import MixedData, MixedLoader
from workbench.errors import DeviceError, ModelError
from workbench.estimate import choose_micro_batch_size, count_parameters, train_flops_per_token
from workbench.evaluation.perplexity import evaluate_loss
from workbench.evaluation.samples import answer_prompt, continue_prompt
from workbench.job_batches import StageData, training_loader, validation_loader
from workbench.job_plan import StageResult, check_lineage, fingerprint, learning_settings, read_result, write_result
from workbench.job_setting import Parent, Setting
from workbench.model.configuration import ModelConfig, model_config
from workbench.model.initialize import initialize
from workbench.model.precision import autocast
from workbench.model.transformer import Transformer
from workbench.model.weights import load_model
from workbench.runs.metrics import read_metrics
from workbench.runs.store import StageDirectory
from workbench.tokenizer.tokenizer import Tokenizer
from workbench.training.checkpoint import load_resume, save_result
from workbench.training.diagnosis import Diagnosis
from workbench.training.history import StageFigures
from workbench.training.probe import Measured, Sample
from workbench.training.surroundings import Machine, Shelf
from workbench.training.trainer import Trainer


class LookAtModel:
    """The trainer's probe: validation loss, and the profile's prompts continued or answered."""

    def __init__(self, setting: Setting, stage: StageSettings, data: StageData) -> None:
        self._setting, self._stage = setting, stage
        self._tokenizer, self._seed = setting.tokenizer, setting.profile.run.seed
        self._loader = validation_loader(data, stage)

    def validate(self, model: Transformer) -> Measured | None:
        """The loss on the validation rows."""
        if self._loader is None:
            return None
        batches = self._loader.validation_batches(self._stage.batch_size, self._stage.evaluate_batches)
        precision = autocast(self._setting.device, self._setting.precision)
        loss = evaluate_loss(model, batches, self._tokenizer.byte_lengths(), precision)
        return Measured(loss.nats_per_token, loss.perplexity, loss.bits_per_byte)

    def sample(self, model: Transformer) -> list[Sample]:
        """Each prompt with the run's own seed, so that samples of different steps compare."""
        make = answer_prompt if self._stage.kind == "sft" else continue_prompt
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
    """

    def __init__(
        self,
        setting: Setting,
        stage: StageSettings,
        parent: Parent,
        data: StageData,
        micro_batch_size: int | None,
    ) -> None:
        self.setting, self.stage, self.parent, self.data = setting, stage, parent, data
        self.directory = setting.run.stage(stage.name)
        self.loader = training_loader(data, stage, seed=setting.profile.run.seed)
        self.steps = stage_steps(stage, self.loader.steps_per_epoch)
        self.inputs = fingerprint(learning_settings(stage), data.fingerprint, parent.fingerprint)
        self.fingerprint = fingerprint(self.inputs, self.steps)
        self.stages = (*parent.stages, {"name": stage.name, "kind": stage.kind})
        self.trainer: Trainer | None = None
        checkpoint = self.directory.newest_checkpoint()
        self.checkpoint = checkpoint.path if checkpoint is not None else None
        if self.checkpoint is not None:
            check_lineage(self.checkpoint, self.inputs, setting.run, stage.name)
        self.model = self._model(self.checkpoint or parent.directory)
        self.micro_batch_size = self._micro_batch_size(micro_batch_size)

    def run(self) -> bool:
        """Train to the last step or to a stop; True when the last step was taken."""
        self.trainer = trainer = self._make_trainer()
        if self.checkpoint is not None:
            state = load_resume(self.checkpoint, self.model, trainer.optimizer, trainer.average)
            # a checkpoint is saved before its own step is validated
            best, stale = _best_so_far(read_metrics(self.directory.metrics), self.stage.evaluate_every)
            if best is not None:
                state = replace(state, best_val_loss=best, stale_validations=stale)
            # what was measured before the first step is measured again by a stage that begins anew
            trainer.go_on_from(state, *(self._last_looks() if state.step else (-1, -1)))
        self._announce_start(trainer)
        if isinstance(self.loader, MixedLoader):
            self._announce_mixture(self.steps, self.loader.position_after(self.steps))
        with self._diagnosed(trainer.step):
            complete = trainer.run()
        if complete:
            if trainer.step < self.steps:
                self._announce_mixture(trainer.step, trainer.position)
            self.model = self._outcome(trainer)
        return complete

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

    def result(self, scores: dict[str, float], evaluation: str) -> StageResult:
        """Save the trained model as the stage's result, then put it on record."""
        assert self.trainer is not None, "run comes first"
        save_result(self.directory.model, self.model, self.setting.tokenizer, self._lineage())
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
        best = self.directory.best_checkpoint() if self.stage.result == "best" else None
        if best is not None and best.step != trainer.step:
            return self._model(best.path)
        trainer.take_average()
        return self.model

    def _model(self, directory: Path | None) -> Transformer:
        setting = self.setting
        if directory is not None:
            try:
                model = load_model(directory, device=setting.device)
            except ModelError as error:
                if directory is not self.checkpoint:
                    raise
                remedy = "delete this checkpoint to go on from the one before"
                raise ModelError(error.where, error.problem, remedy) from error
            check_vocabulary(model, setting.tokenizer, directory)
            return model
        tokenizer = setting.tokenizer
        config = model_config(
            setting.profile.model,
            tokenizer.vocab_size,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=(tokenizer.eos_token_id, *sorted(tokenizer.stop_token_ids - {tokenizer.eos_token_id})),
            pad_token_id=tokenizer.pad_token_id,
        )
        model = Transformer(config)
        initialize(model, setting.profile.run.seed)
        return model.to(setting.device)

    def _micro_batch_size(self, decided: int | None) -> int:
        if self.stage.micro_batch_size != "auto":
            return min(self.stage.micro_batch_size, self.stage.batch_size)
        if decided is not None:
            return decided
        room = free_memory(self.setting.device)
        return choose_micro_batch_size(self.model.config, self.model.config.vocab_size, self.stage, room)

    def _make_trainer(self) -> Trainer:
        setting, directory, keep = self.setting, self.directory, self.stage.keep
        directory.checkpoints_path.mkdir(parents=True, exist_ok=True)
        directory.remove_leftovers()
        return Trainer(
            model=self.model,
            tokenizer=setting.tokenizer,
            loader=self.loader,
            settings=self.stage,
            steps=self.steps,
            machine=Machine(setting.precision, self.micro_batch_size, setting.compile),
            probe=LookAtModel(setting, self.stage, self.data),
            shelf=Shelf(self._lineage(), directory.checkpoint_path, lambda: _prune(directory, keep)),
            emitter=setting.emitter,
            control=setting.control,
            poll=setting.should_stop,
        )

    def _lineage(self) -> dict[str, Any]:
        return {
            "run": self.setting.run.name,
            "base": self.parent.base,
            "stages": list(self.stages),
            "inputs": self.inputs,
            "data": self.data.fingerprint,
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
                trained_parameters=counted.total,
                active_parameters=counted.active if counted.inactive else None,
                vocab_size=config.vocab_size,
                tokens_per_step=stage.batch_size * stage.sequence_length,
                flops_per_token=train_flops_per_token(config, config.vocab_size, stage.sequence_length),
                micro_batch_size=self.micro_batch_size,
            )
        )


def finished_result(setting: Setting, stage: StageSettings, parent: Parent, data: StageData) -> StageResult | None:
    """The stage's result where it stands with the same settings, data, parent and length."""
    result = read_result(setting.run.stage(stage.name))
    inputs = fingerprint(learning_settings(stage), data.fingerprint, parent.fingerprint)
    steps = stage_steps(stage, training_loader(data, stage, setting.profile.run.seed).steps_per_epoch)
    return result if result is not None and result.fingerprint == fingerprint(inputs, steps) else None


def stage_steps(stage: StageSettings, steps_per_epoch: int) -> int:
    """The stage's length in optimizer steps."""
    if stage.steps is not None:
        return stage.steps
    if stage.tokens is not None:
        return math.ceil(stage.tokens / (stage.batch_size * stage.sequence_length))
    assert stage.epochs is not None, "a profile gives one of the three"
    return max(1, round(stage.epochs * steps_per_epoch))


def free_memory(device: torch.device) -> int:
    """Bytes that a stage may use."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return int(psutil.virtual_memory().available)


def check_memory(config: ModelConfig, device: torch.device) -> None:
    """Refuse a model that this machine could never train, before hours go into trying.

    Raises:
        DeviceError: its weights, their gradients and AdamW's two memories alone are more than there is.
    """
    parameters = count_parameters(config, config.vocab_size).total
    total = psutil.virtual_memory().total
    if device.type == "cuda":
        total = torch.cuda.get_device_properties(device).total_memory
    if 16 * parameters > total:
        needed = f"{parameters:,} parameters need {16 * parameters / 1e9:,.0f} GB to be trained"
        raise DeviceError("model", f"{needed}, this machine has {total / 1e9:,.0f} GB", "make the model smaller")


def check_vocabulary(model: Transformer, tokenizer: Tokenizer, directory: Path) -> None:
    """Refuse a model whose embeddings do not fit the run's tokenizer: its ids would mean other text.

    Raises:
        ModelError: with both sizes.
    """
    if tokenizer.vocab_size > model.config.vocab_size:
        raise ModelError(
            str(directory),
            f"has {model.config.vocab_size} embeddings, the tokenizer {tokenizer.vocab_size} tokens",
            "set tokenizer.path to the directory the model came with",
        )


def _validations(directory: StageDirectory) -> list[dict[str, float]]:
    """Every validation of the stage, oldest first."""
    keys = ("val_loss", "val_perplexity", "val_bits_per_byte")
    records = read_metrics(directory.metrics)
    return [{key: record[key] for key in keys} for record in records if record.get("val_loss") is not None]


def _best_so_far(records: list[dict[str, Any]], evaluate_every: int) -> tuple[float | None, int]:
    """The lowest validation loss on record, and how many validations that the stage makes by itself came after it."""
    losses = {record["step"]: record["val_loss"] for record in records if record.get("val_loss") is not None}
    if not losses:
        return None, 0
    best = min(losses, key=lambda step: (losses[step], step))
    return losses[best], sum(step > best and evaluate_every > 0 and step % evaluate_every == 0 for step in losses)


def _prune(directory: StageDirectory, keep: int) -> None:
    directory.prune_checkpoints(keep)
