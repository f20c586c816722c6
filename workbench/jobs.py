"""A profile becomes a run: the one place that sees every layer.

`Job.run` is the whole life: lock the run's folder, decide how this machine computes, make the tokenizer, and take each
stage from its data to its scores. It works on whatever thread calls it; the others listen to its events.
"""

import contextlib
import os
import platform
import shutil
import sys
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import torch

from workbench import events
from workbench.atomic import write_atomically
from workbench.config import Profile, StageSettings
from workbench.control import Control
from workbench.data.file_hashes import content_hash
from workbench.errors import DeviceError, RunError, UsageError, WorkbenchError
from workbench.evaluation.report import write_report
from workbench.inference.chat import ChatSession
from workbench.job_batches import StageData, prepare_data
from workbench.job_evaluation import Evaluation
from workbench.job_inputs import check_inputs
from workbench.job_kernels import distrust_kernels
from workbench.job_plan import (
    StageResult,
    check_stage_name,
    fingerprint,
    refuse_differences,
    stored_profile,
)
from workbench.job_setting import Parent, Setting
from workbench.job_sizes import expected_config, unused_settings
from workbench.job_stage import StageRun, check_memory, finished_result
from workbench.job_tokenizer import make_tokenizer
from workbench.locations import file_hashes
from workbench.machine import cpu_name
from workbench.model.adapter import adapter_folder, weights_hash
from workbench.model.allocator import keep_freed_memory
from workbench.model.configuration import CONFIG_FILE
from workbench.model.precision import resolve_device, resolve_precision, suggest_threads
from workbench.profile import profile_text
from workbench.runs.liveness import CommandFile, Heartbeat, RunLock
from workbench.runs.recorder import RunRecorder
from workbench.runs.rollback import Rollback, find_rollback, roll_back, set_aside
from workbench.runs.store import RunDirectory, check_run_name, create_run


@dataclass(frozen=True)
class RunOutcome:
    """How a run ended, when it did not fail.

    Args:
        scores: of the last stage that was measured.
        seconds: of this start, everything included.
    """

    status: Literal["done", "stopped"]
    directory: Path
    scores: dict[str, float]
    seconds: float


class Job:
    """A run, new or to be continued.

    Args:
        profile: validated, its files found.
        name: of the run's folder; the profile's own when None.
        workspace: folder of the runs; the profile's own when None.
        from_stage: run this stage and those after it again; what they made before is set aside, not deleted.
        longer: take the profile as it is although the run was made with another length (`resume_job`).
        rollback: the checkpoint to go back to first; what came after it is set aside, not deleted.
    """

    def __init__(
        self,
        profile: Profile,
        *,
        name: str | None = None,
        workspace: Path | None = None,
        emitter: events.Emitter | None = None,
        control: Control | None = None,
        from_stage: str | None = None,
        longer: bool = False,
        rollback: Rollback | None = None,
    ) -> None:
        name = name or profile.run.name or "run"
        workspace = workspace or Path(profile.run.workspace)
        check_run_name(name)
        run = profile.run.model_copy(update={"name": name, "workspace": str(workspace)})
        self.profile = profile.model_copy(update={"run": run})
        self.directory = RunDirectory(workspace.resolve() / name)
        self.emitter, self.control = emitter or events.Emitter(), control or Control()
        self._from_stage, self._longer, self._rollback = from_stage, longer, rollback
        self._commands: CommandFile | None = None
        self._stage_run: StageRun | None = None
        self._owned = False
        self._recorder: RunRecorder | None = None
        check_stage_name(self.profile, from_stage)
        if self._exists and not longer:
            refuse_differences(self.directory, self.profile, from_stage)
        check_inputs(self.profile)

    @property
    def _exists(self) -> bool:
        return self.directory.profile_path.is_file()

    def run(self) -> RunOutcome:
        """Do all that is left to do, to the end or to a stop.

        Raises:
            WorkbenchError: what a person can act on; the run's state says that it failed, and nothing is lost.
        """
        start, resumed = time.monotonic(), self._exists
        if not resumed:
            create_run(self.directory.path.parent, self.directory.name, profile_text(self.profile))
        try:
            return self._run_alone(start, resumed)
        except (UsageError, DeviceError):
            if self._owned and not resumed and not self.directory.stages():
                shutil.rmtree(self.directory.path)  # it never began: nothing half-written stays
            raise

    def chat_session(self, timeout_seconds: float = 60.0) -> ChatSession:
        """A conversation with the model in training as it stands at the next step boundary: a copy of its own.

        Call it from another thread than the one that runs the job.

        Raises:
            RunError: no stage is in training, or none came to a boundary in time.
        """
        stage_run = self._stage_run
        if stage_run is None or stage_run.trainer is None:
            raise RunError(f"run {self.directory.name}", "no stage is in training now", "try again when one is")
        try:
            model = stage_run.trainer.snapshot().result(timeout=timeout_seconds)
        except TimeoutError as error:
            raise RunError(
                f"run {self.directory.name}", "came to no step boundary in time", "try again, or chat with a checkpoint"
            ) from error
        kinds = {stage["kind"] for stage in stage_run.stages}
        only_text = stage_run.parent.base is None and kinds == {"pretrain"}
        return ChatSession(model, stage_run.setting.tokenizer, mode="completion" if only_text else None)

    def _run_alone(self, start: float, resumed: bool) -> RunOutcome:
        """Run with the folder locked, a sign of life every few seconds, and all events written down."""
        with contextlib.ExitStack() as stack:
            lock = stack.enter_context(RunLock(self.directory.path))
            self._owned = True
            stack.enter_context(Heartbeat(lock))
            self._recorder = recorder = stack.enter_context(RunRecorder(self.directory))
            self.emitter.subscribe(recorder)
            stack.callback(self.emitter.unsubscribe, recorder)
            stack.enter_context(self._failures_announced())
            outcome = self._run(start, resumed)
            self._check_record()
            return outcome

    def _run(self, start: float, resumed: bool) -> RunOutcome:
        self._commands = CommandFile(self.directory.path)
        if self._from_stage is not None:
            names = [stage.name for stage in self.profile.stage]
            set_aside(self.directory, names[names.index(self._from_stage) :])
        write_atomically(self.directory.profile_path, profile_text(self.profile))
        resolved = self._resolve(resumed)
        self.emitter.emit(
            events.RunStarted(
                run=self.directory.name,
                directory=str(self.directory.path),
                stages=tuple(stage.name for stage in self.profile.stage),
                device=resolved["device"],
                precision=resolved["precision"],
                threads=resolved["threads"],
                resumed=resumed,
            )
        )
        if self._rollback is not None:
            self._go_back(self._rollback)
        for name, reason in distrust_kernels(torch.device(resolved["device"]), resolved["precision"]).items():
            message = f"the kernel of {name} is off, PyTorch does its work: {reason}"
            self.emitter.emit(events.Warned(stage="", message=message))
        for message in unused_settings(self.profile):
            self.emitter.emit(events.Warned(stage="", message=message))
        tokenizer = make_tokenizer(self.profile, self.directory, self.emitter, self._should_stop)
        if tokenizer is None:
            return self._stopped("", 0, start)
        setting = Setting(
            profile=self.profile,
            run=self.directory,
            tokenizer=tokenizer,
            device=torch.device(resolved["device"]),
            precision=resolved["precision"],
            compile=resolved["compile"],
            emitter=self.emitter,
            control=self.control,
            should_stop=self._should_stop,
        )
        return self._run_stages(setting, resolved, start)

    def _go_back(self, rollback: Rollback) -> None:
        names = [stage.name for stage in self.profile.stage]
        reached, aside = roll_back(self.directory, rollback, names[names.index(rollback.stage) + 1 :])
        self.emitter.emit(
            events.RunRolledBack(stage=rollback.stage, step=rollback.step, from_step=reached, aside=str(aside))
        )

    def _run_stages(self, setting: Setting, resolved: dict[str, Any], start: float) -> RunOutcome:
        prepared = [prepare_data(setting, stage) for stage in self.profile.stage]
        parents: dict[str, Parent] = {}
        before: str | None = None
        scores: dict[str, float] = {}
        for stage, data in zip(self.profile.stage, prepared, strict=True):
            parent = self._parent(stage, before, parents)
            outcome = self._run_stage(setting, stage, parent, data, resolved) if data is not None else None
            if outcome is None:
                step = self.directory.state().step
                return self._stopped(stage.name, step, start)
            parents[stage.name], before = outcome, stage.name
            scores = outcome.scores or scores
        seconds = time.monotonic() - start
        report = write_report(self.directory.path)
        self.emitter.emit(
            events.RunFinished(run=self.directory.name, seconds=seconds, scores=scores, report=str(report))
        )
        write_report(self.directory.path)  # once more, with the end of the run in it
        return RunOutcome("done", self.directory.path, scores, seconds)

    def _run_stage(
        self, setting: Setting, stage: StageSettings, parent: Parent, data: StageData, resolved: dict[str, Any]
    ) -> Parent | None:
        """Do a stage, or find it done; None when stopped."""
        kinds = {stage.kind, *(each["kind"] for each in parent.stages)}
        evaluation = Evaluation(setting, stage, chat=parent.base is not None or kinds != {"pretrain"})
        result = finished_result(setting, stage, parent, data)
        if result is not None:
            self.emitter.emit(events.StageSkipped(stage=stage.name, reason="already done with the same inputs"))
            result = evaluation.renew(result)
            return None if result is None else self._as_parent(stage, parent, result)
        decided = resolved["micro_batch_size"].get(stage.name)
        self._stage_run = stage_run = StageRun(setting, stage, parent, data, decided)
        resolved["micro_batch_size"][stage.name] = stage_run.micro_batch_size
        self.directory.write_resolved(resolved)
        try:
            complete = stage_run.run()
        finally:
            self._stage_run = None
        scores = evaluation.measure(stage_run.model) if complete else None
        if scores is None or stage_run.trainer is None:
            return None
        result = stage_run.result(scores, evaluation.fingerprint)
        self.emitter.emit(
            events.StageFinished(
                stage=stage.name,
                kind=stage.kind,
                steps=result.steps,
                tokens=result.tokens,
                seconds=result.seconds,
                tokens_per_second=result.tokens / max(result.seconds, 1e-9),
                model=str(stage_run.directory.result),
                before=result.before,
                after=result.after,
            )
        )
        write_report(self.directory.path)
        return self._as_parent(stage, parent, result)

    def _as_parent(self, stage: StageSettings, parent: Parent, result: StageResult) -> Parent:
        """The stage as what the next one starts from."""
        return Parent(
            directory=self.directory.stage(stage.name).result,
            fingerprint=result.fingerprint,
            stages=(*parent.stages, {"name": stage.name, "kind": stage.kind}),
            base=parent.base,
            scores={key: value for key, value in result.after.items() if not key.startswith("val_")},
        )

    def _parent(self, stage: StageSettings, before: str | None, parents: dict[str, Parent]) -> Parent:
        """What `stage` starts from: another stage, a model directory, or random weights."""
        if stage.from_ is not None and stage.from_ not in parents:
            return _foreign(Path(stage.from_))
        name = stage.from_ or before
        if name is not None:
            return parents[name]
        if self.profile.model.path is not None:
            return _foreign(Path(self.profile.model.path))
        model = self.profile.model.model_dump(mode="json")
        return Parent(None, fingerprint(model, self.profile.run.seed), (), None, {})

    def _resolve(self, resumed: bool) -> dict[str, Any]:
        """What every `auto` means here, decided once a run: a resumed run must compute as it did."""
        settings, earlier = self.profile.run, self.directory.resolved() if resumed else {}
        device = resolve_device(settings.device)
        if earlier.get("device") not in (None, device.type):
            raise DeviceError(
                f"run {self.directory.name}",
                f"was computed on {earlier['device']}, which is not what {settings.device!r} means here",
                "go on where it was started, or start anew with --name NEW",
            )
        config, stage = expected_config(self.profile), self.profile.stage[0]
        tokens = stage.batch_size * stage.sequence_length
        check_memory(config, device, self.profile.stage)
        precision = earlier.get("precision") or resolve_precision(settings.precision, device, config, tokens)
        threads = settings.threads if settings.threads != "auto" else earlier.get("threads")
        if threads is None:
            threads = suggest_threads(config, tokens, precision)
        torch.set_num_threads(threads)
        keep_freed_memory()
        resolved = {
            "device": device.type,
            "precision": precision,
            "compile": settings.compile is True,
            "threads": threads,
            "micro_batch_size": earlier.get("micro_batch_size", {}),
            "machine": {"cpu": cpu_name(), "cores": os.cpu_count(), "system": platform.platform()},
            "versions": _versions(),
            "command": sys.argv,
        }
        self.directory.write_resolved(resolved)
        return resolved

    def _should_stop(self) -> bool:
        """Take in wishes of other processes, then tell whether to end; called between pieces of work."""
        self._check_record()
        if self._commands is not None:
            self._commands.read_new(
                self.control, lambda problem: self.emitter.emit(events.Warned(stage="", message=problem))
            )
        return self.control.stop_requested

    def _check_record(self) -> None:
        """End a run whose figures can no longer be written: going on would leave a gap in them."""
        if self._recorder is not None and self._recorder.failure is not None:
            raise self._recorder.failure

    def _stopped(self, stage: str, step: int, start: float) -> RunOutcome:
        self.emitter.emit(events.RunStopped(run=self.directory.name, stage=stage, step=step))
        write_report(self.directory.path)
        return RunOutcome("stopped", self.directory.path, {}, time.monotonic() - start)

    @contextlib.contextmanager
    def _failures_announced(self) -> Iterator[None]:
        """Whatever ends the run is told in words, and its traceback kept in a file."""
        try:
            yield
        except WorkbenchError as error:
            self.emitter.emit(events.RunFailed(run=self.directory.name, message=str(error), log=""))
            raise
        except Exception as error:
            log = self.directory.path / "error.log"
            told = _explained(error, self.directory.name, log)
            with contextlib.suppress(OSError):  # a full disk keeps neither
                log.write_text(traceback.format_exc(), encoding="utf-8")
            with contextlib.suppress(OSError):
                self.emitter.emit(events.RunFailed(run=self.directory.name, message=str(told), log=str(log)))
            raise told from error


def resume_job(
    run_directory: Path,
    *,
    steps: int | None = None,
    from_step: int | None = None,
    stage: str | None = None,
    emitter: events.Emitter | None = None,
    control: Control | None = None,
) -> Job:
    """The job that goes on with the run in that folder where it stands.

    Args:
        steps: a new length of its last stage, at least what it has taken; the learning rate then follows the schedule
            of the new length from the step where it stands.
        from_step: go back to this checkpoint first, of `stage` or else of the stage at work.
    Raises:
        RunError: its profile cannot be read, or the checkpoint is not kept.
    """
    run = RunDirectory(run_directory)
    profile = stored_profile(run)
    rollback = None
    if from_step is not None:
        check_stage_name(profile, stage, "--stage")
        rollback = find_rollback(run, from_step, stage)
    if steps is not None:
        newest = run.stage(profile.stage[-1].name).newest_checkpoint()
        if newest is not None and newest.step > steps and rollback is None:
            problem = f"has already taken {newest.step} steps, more than the {steps} asked for"
            raise RunError(f"run {run.name}", problem, f"ask for {newest.step} or more")
        last = profile.stage[-1].model_copy(update={"steps": steps, "epochs": None, "tokens": None})
        profile = profile.model_copy(update={"stage": [*profile.stage[:-1], last]})
    return Job(
        profile,
        name=run.name,
        workspace=run.path.parent,
        emitter=emitter,
        control=control,
        longer=steps is not None,
        rollback=rollback,
    )


def _foreign(directory: Path) -> Parent:
    if adapter_folder(directory) is not None:
        return Parent(directory, fingerprint(weights_hash(directory)), (), str(directory), {})
    files = sorted([directory / CONFIG_FILE, *directory.glob("*.safetensors")])
    contents = [(path.name, content_hash(path, file_hashes(), lambda: False)) for path in files]
    return Parent(directory, fingerprint(contents), (), str(directory), {})


def _explained(error: Exception, run: str, log: Path) -> WorkbenchError:
    if isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(error):
        return DeviceError(
            f"run {run}", "memory does not suffice", "lower micro_batch_size or sequence_length and start it again"
        )
    if "No space left on device" in str(error):  # safetensors has an error of its own
        remedy = "free some space and start it again; its last checkpoint stands"
        return WorkbenchError(f"run {run}", "the disk is full", remedy)
    return WorkbenchError(f"run {run}", f"{type(error).__name__}: {error}", f"the traceback is in {log}")


def _versions() -> dict[str, str]:
    names = ("llm-workbench", "torch", "tokenizers", "safetensors", "numpy")
    return {"python": platform.python_version(), **{name: metadata.version(name) for name in names}}
