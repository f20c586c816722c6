"""A distill stage's teacher: at hand in every step, or asked once about every row; and how near the student comes."""

import hashlib
import math
import shutil
import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from workbench import events
from workbench.config import StageSettings
from workbench.data.loader import IGNORED, Batch, Loader
from workbench.data.mixture import MixedLoader
from workbench.data.top_k_store import TopKStore, TopKWriter, complete_rows
from workbench.errors import DataError, DeviceError
from workbench.estimate import cached_bytes_by_target, count_parameters
from workbench.evaluation.speed import measure_speed
from workbench.inference.generate import evaluating
from workbench.job_batches import StageData, validation_loader
from workbench.job_plan import fingerprint
from workbench.job_setting import Parent, Setting
from workbench.model.adapter import load_stacked
from workbench.model.precision import autocast
from workbench.model.transformer import Transformer
from workbench.training.objectives.distill import DistillObjective
from workbench.training.objectives.top_k import TopKSource, likeliest_tokens
from workbench.training.probe import Measured

Collected = Callable[[Any], list[Any]]
SYNC_SECONDS = 5.0  # what a crash may cost while the teacher is asked
SPEED = "tokens_per_second_written"


class Teaching:
    """The teacher of one stage, from its directory to the objectives that go by it.

    Args:
        folder: where what is kept of the teacher lies.
        student: only its vocabulary counts here.
    """

    def __init__(
        self,
        setting: Setting,
        stage: StageSettings,
        teacher: Parent,
        data: StageData,
        loader: Loader | MixedLoader,
        student: Transformer,
        folder: Path,
    ) -> None:
        assert stage.distill is not None and teacher.directory is not None, "a profile without them is refused"
        self.settings, self.name = stage.distill, stage.teacher or ""
        self._setting, self._stage, self._parent, self._data = setting, stage, teacher, data
        self._directory, self._folder = teacher.directory, folder
        self._loader, self._validation = loader, validation_loader(data, stage)
        self._student_vocab_size = student.config.vocab_size
        self._targets = 0
        self._model: Transformer | None = None
        self._training: DistillObjective | None = None
        self._measuring: DistillObjective | None = None
        if not self.settings.cache_top_k:
            self._training = self._measuring = DistillObjective(self.settings, self.model)

    @property
    def model(self) -> Transformer:
        """The teacher itself, loaded where it is not at hand."""
        if self._model is None:
            self._model = load_stacked(self._directory, self._setting.device)
        return self._model

    @property
    def objective(self) -> DistillObjective:
        """What the stage minimises."""
        assert self._training is not None, "prepare comes first"
        return self._training

    def prepare(self, rows_at_once: int) -> bool:
        """Have what the teacher says at hand; False when stopped while it is asked.

        Raises:
            DeviceError: what would be kept does not fit on the disk.
        """
        config = self.model.config
        parameters = count_parameters(config, config.vocab_size).total
        if not self.settings.cache_top_k:
            self._announce(parameters, None, False)
            return True
        vocab_size = min(config.vocab_size, self._student_vocab_size)
        k = min(self.settings.cache_top_k, vocab_size)
        sides = {name: rows for name, rows in self._sides().items() if len(rows)}
        made_of = {name: self._made_of(rows, k, vocab_size) for name, rows in sides.items()}
        todo = {
            name: rows for name, rows in sides.items() if complete_rows(self._folder, name, made_of[name]) < len(rows)
        }
        size = self._targets * cached_bytes_by_target(k, vocab_size)
        self._announce(parameters, size, not todo)
        if todo:
            self._check_disk(size)
        for name, rows in todo.items():
            if not self._ask(name, rows, made_of[name], k, vocab_size, rows_at_once):
                return False
        self._model = None  # it leaves the memory
        objectives = {
            name: DistillObjective(
                self.settings,
                source=TopKSource(TopKStore(self._folder, name, rows, k, vocab_size), vocab_size, self._setting.device),
            )
            for name, rows in sides.items()
        }
        self._training, self._measuring = objectives["train"], objectives.get("validation")
        return True

    def measure(self, model: Transformer, batches: Iterable[Batch], collected: Collected) -> Measured:
        """Loss, perplexity, divergence from the teacher and agreement with it on held-out rows.

        Args:
            collected: gives what all found who share the batches, this process among them.
        Raises:
            DataError: the rows hold no target.
        """
        assert self._measuring is not None, "prepare comes first"
        precision = autocast(self._setting.device, self._setting.precision)
        lengths = self._setting.tokenizer.byte_lengths()
        return measure_distillation(model, self._measuring, batches, lengths, precision, collected)

    def compare(self, student: Transformer) -> bool:
        """Announce the sizes of teacher and student and how fast they write; False when stopped on the way."""
        sizes, speeds = [], []
        for each in (self.model, student):
            found = measure_speed(each, 1, self._setting.should_stop)
            if found is None:
                return False
            sizes.append(count_parameters(each.config, each.config.vocab_size).total)
            speeds.append(found[SPEED])
        self._setting.emitter.emit(
            events.StudentCompared(
                stage=self._stage.name,
                teacher=self.name,
                teacher_parameters=sizes[0],
                parameters=sizes[1],
                teacher_tokens_per_second=speeds[0],
                tokens_per_second=speeds[1],
            )
        )
        return True

    def release(self) -> None:
        """Give back the teacher's memory."""
        self._model = self._training = self._measuring = None

    def _announce(self, parameters: int, cache_bytes: int | None, from_cache: bool) -> None:
        self._setting.emitter.emit(
            events.TeacherReady(
                stage=self._stage.name,
                teacher=self.name,
                parameters=parameters,
                top_k=self.settings.cache_top_k,
                cache_bytes=cache_bytes,
                from_cache=from_cache,
            )
        )

    def _sides(self) -> dict[str, NDArray[np.int64]]:
        """The numbers of the rows to train on, and of those to measure on."""
        measured = list[NDArray[np.int64]]()
        self._targets = self._data.tokens_trained
        if self._validation is not None:
            for batch in self._validation.validation_batches(self._stage.batch_size, self._stage.evaluate_batches):
                assert batch.rows is not None, "only pairs have no numbers"
                measured.append(batch.rows)
                self._targets += int((batch.labels != IGNORED).sum())
        together = np.unique(np.concatenate(measured)) if measured else np.empty(0, np.int64)
        return {"train": np.arange(self._loader.rows, dtype=np.int64), "validation": together}

    def _made_of(self, rows: NDArray[np.int64], k: int, vocab_size: int) -> str:
        stage = self._stage
        return fingerprint(
            self._data.fingerprint,
            self._parent.fingerprint,
            self._setting.precision,
            hashlib.sha256(rows.tobytes()).hexdigest(),
            (stage.sequence_length, stage.isolate_documents),
            (k, vocab_size, self.settings.temperature),
        )

    def _check_disk(self, size: int) -> None:
        run = self._setting.run.path
        free = shutil.disk_usage(run).free
        if size > free:
            problem = f"would keep {size / 1e9:,.1f} GB of the teacher, {free / 1e9:,.1f} GB are free"
            remedy = "lower cache_top_k, or leave it out"
            raise DeviceError(f"stage.{self._stage.name}.distill.cache_top_k", problem, remedy)

    def _ask(
        self, name: str, rows: NDArray[np.int64], made_of: str, k: int, vocab_size: int, rows_at_once: int
    ) -> bool:
        """Show the teacher the rows from where an earlier attempt ended; False when stopped."""
        loader = self._loader if name == "train" else self._validation
        assert loader is not None, "rows come from somewhere"
        writer = TopKWriter(self._folder, name, made_of, k, vocab_size)
        try:
            synced = time.monotonic()
            for first in range(writer.rows, len(rows), rows_at_once):
                if self._setting.should_stop():
                    writer.sync()
                    return False
                batch = loader.numbered(rows[first : first + rows_at_once])
                ids, logps, sums = self._likeliest(batch, k, vocab_size)
                writer.append(ids, logps, sums, (batch.labels != IGNORED).sum(axis=1))
                if time.monotonic() - synced > SYNC_SECONDS:
                    writer.sync()
                    synced = time.monotonic()
                task = "asking the teacher" + ("" if name == "train" else ", to measure")
                self._setting.emitter.emit(
                    events.WorkProgressed(
                        stage=self._stage.name, task=task, done=writer.rows, total=len(rows), unit="rows"
                    )
                )
            writer.sync()
        finally:
            writer.close()
        return True

    def _likeliest(self, batch: Batch, k: int, vocab_size: int) -> list[NDArray[Any]]:
        teacher = self.model
        taught = DistillObjective(self.settings, teacher)
        with evaluating(teacher), autocast(self._setting.device, self._setting.precision):
            hidden = taught.taught(batch).teacher_hidden
            assert hidden is not None, "a teacher at hand gives them"
            labels = torch.from_numpy(batch.labels).to(hidden.device).view(-1)
            kept = labels != IGNORED
            head = teacher.head_weight[:vocab_size]
            found = likeliest_tokens(hidden.flatten(0, 1)[kept], head, labels[kept], k, self.settings.temperature)
        return [each.cpu().numpy() for each in found]


def measure_distillation(
    model: Transformer,
    objective: DistillObjective,
    batches: Iterable[Batch],
    byte_lengths: NDArray[np.int32],
    precision: AbstractContextManager[Any],
    collected: Collected,
) -> Measured:
    """The stage's loss, the student's perplexity and bits per byte, and how near it is to its teacher.

    Raises:
        DataError: the batches hold no target.
    """
    sums, text_bytes = dict[str, float](), 0
    with evaluating(model), precision:
        for batch in batches:
            for name, value in objective.measure(model, batch).items():
                sums[name] = sums.get(name, 0.0) + value
            text_bytes += int(byte_lengths[batch.labels[batch.labels != IGNORED]].sum())
    parts: list[dict[str, float]] = collected({**sums, "bytes": float(text_bytes)})
    sums = {name: sum(part.get(name, 0.0) for part in parts) for name in set().union(*parts)}
    targets = sums.get("targets", 0.0)
    if not targets:
        raise DataError("validation", "there is no token to predict", "give more validation data")
    settings, nats = objective.settings, sums["nats"] / targets
    divergence = (1 - settings.alpha) * settings.temperature**2 * sums["divergence"] / targets
    return Measured(
        loss=settings.alpha * nats + divergence,
        perplexity=math.exp(min(nats, 700.0)),
        bits_per_byte=sums["nats"] / math.log(2) / max(sums["bytes"], 1),
        measures={
            "val_kl": sums["kl"] / targets,
            "val_agreement": sums["agreement"] / targets,
            "val_teacher_loss": sums["teacher_nats"] / targets,
        },
    )
