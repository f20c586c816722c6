"""A profile becomes a run: the one place that sees every layer.

`Job.run` is the whole life: lock the run's folder, decide how this machine computes, make the tokenizer, and take each
stage from its data to its scores. It works on whatever thread calls it; the others listen to its events.
"""

import contextlib
import shutil
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch

from workbench import events
from workbench.atomic import write_atomically
from workbench.baselines import with_baselines
from workbench.config import Profile, StageSettings
from workbench.control import Control
from workbench.data.mixture import MixedData
from workbench.data.shards import PreparedData
from workbench.errors import DeviceError, RunError, UsageError, WorkbenchError
from workbench.evaluation.report import write_report
from workbench.inference.chat import ChatSession
from workbench.inference.lineage import only_text
from workbench.job_batches import StageData, prepare_data
from workbench.job_data import is_written_later
from workbench.job_evaluation import Evaluation
from workbench.job_inputs import check_inputs
from workbench.job_kernels import distrust_kernels
from workbench.job_machine import own_device, resolve
from workbench.job_parents import parent_of, teacher_of
from workbench.job_plan import (
    StageResult,
    check_stage_name,
    refuse_differences,
    stored_profile,
)
from workbench.job_ranks import Meeting, await_folder, check_ranks
from workbench.job_setting import Parent, Setting, lineage_entry
from workbench.job_sizes import unused_settings
from workbench.job_stage import StageRun, finished_result
from workbench.job_tokenizer import make_tokenizer
from workbench.job_writing import Writing
from workbench.model.allocator import keep_freed_memory
from workbench.profile import profile_text
from workbench.runs.liveness import CommandFile, Heartbeat, RunLock
from workbench.runs.recorder import RunRecorder
from workbench.runs.rollback import Rollback, find_rollback, roll_back, set_aside
from workbench.runs.store import RunDirectory, check_run_name, create_run
from workbench.tokenizer.tokenizer import Tokenizer
from workbench.training.distributed import Kind, Spread


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
        meeting: the processes that do the run together, each with a job of its own; rank 0 alone writes and speaks.
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
        meeting: Meeting | None = None,
    ) -> None:
        name = name or profile.run.name or "run"
        workspace = workspace or Path(profile.run.workspace)
        check_run_name(name)
        run = profile.run.model_copy(update={"name": name, "workspace": str(workspace)})
        self.profile = profile.model_copy(update={"run": run})
        self._plan = with_baselines(self.profile)
        self.directory = RunDirectory(workspace.resolve() / name)
        self.emitter, self.control = emitter or events.Emitter(), control or Control()
        self._meeting = meeting or Meeting()
        self._ranks = self._meeting.ranks
        self._from_stage, self._longer, self._rollback = from_stage, longer, rollback
        self._commands: CommandFile | None = None
        self._stage_run: StageRun | None = None
        self._owned = False
        self._recorder: RunRecorder | None = None
        check_stage_name(self._plan, from_stage)
        if self._exists and not longer:
            refuse_differences(self.directory, self.profile, from_stage)
        check_ranks(self._plan, self._ranks)
        check_inputs(self.profile)

    @property
    def _exists(self) -> bool:
        return self.directory.profile_path.is_file()

    def run(self) -> RunOutcome:
        """Do all that is left to do, to the end or to a stop.

        Raises:
            WorkbenchError: what a person can act on; the run's state says that it failed, and nothing is lost.
        """
        start, resumed = time.monotonic(), self._ranks.led(lambda: self._exists)
        if self._ranks.leads and not resumed:
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
        completes = stage_run.parent.base is None and only_text(stage_run.stages)
        return ChatSession(model, stage_run.setting.tokenizer, mode="completion" if completes else None)

    def _run_alone(self, start: float, resumed: bool) -> RunOutcome:
        """Run with the folder locked, a sign of life every few seconds, and all events written down."""
        with contextlib.ExitStack() as stack:
            if self._ranks.leads:
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
        resolved = self._ranks.led(lambda: self._prepare_folder(resumed))
        await_folder(self.directory, self._ranks)
        device = own_device(self.profile.run.device, self._ranks)
        if device.type == "cuda" and not self._ranks.alone:
            torch.cuda.set_device(device)
        torch.set_num_threads(resolved["threads"])
        keep_freed_memory()
        kind: Kind = "fsdp" if self.profile.run.parallel == "fsdp" else "ddp"
        spread = Spread(self._ranks, kind, device, self.profile.run.seed)
        self.emitter.emit(
            events.RunStarted(
                run=self.directory.name,
                directory=str(self.directory.path),
                stages=tuple(stage.name for stage in self._plan.stage),
                device=resolved["device"],
                precision=resolved["precision"],
                threads=resolved["threads"],
                resumed=resumed,
                ranks=self._ranks.count,
            )
        )
        if self._rollback is not None and self._ranks.leads:
            self._go_back(self._rollback)
        failed = self._ranks.in_turn(lambda: distrust_kernels(device, resolved["precision"])) or {}
        for name, reason in failed.items():
            message = f"the kernel of {name} is off, PyTorch does its work: {reason}"
            self.emitter.emit(events.Warned(stage="", message=message))
        for message in unused_settings(self.profile):
            self.emitter.emit(events.Warned(stage="", message=message))
        tokenizer = self._ranks.in_turn(self._tokenizer)
        if tokenizer is None:
            return self._stopped("", 0, start)
        setting = Setting(
            profile=self._plan,
            run=self.directory,
            tokenizer=tokenizer,
            device=device,
            precision=resolved["precision"],
            compile=resolved["compile"],
            emitter=self.emitter,
            control=self.control,
            should_stop=self._should_stop,
            spread=spread,
        )
        return self._run_stages(setting, resolved, start)

    def _prepare_folder(self, resumed: bool) -> dict[str, Any]:
        """Leave in the run's folder what it is about to do, and on which terms: by rank 0."""
        self._commands = CommandFile(self.directory.path)
        if self._from_stage is not None:
            names = [stage.name for stage in self._plan.stage]
            set_aside(self.directory, names[names.index(self._from_stage) :])
        write_atomically(self.directory.profile_path, profile_text(self.profile))
        resolved = resolve(self._plan, self.directory.resolved() if resumed else {}, self._ranks)
        self.directory.write_resolved(resolved)
        return resolved

    def _tokenizer(self) -> Tokenizer | None:
        """The run's tokenizer, made by rank 0 and read by the others; None when stopped."""
        if not self._ranks.leads:
            return Tokenizer.load(self.directory.tokenizer_path)
        return make_tokenizer(self.profile, self.directory, self.emitter, self._should_stop)

    def _go_back(self, rollback: Rollback) -> None:
        names = [stage.name for stage in self._plan.stage]
        reached, aside = roll_back(self.directory, rollback, names[names.index(rollback.stage) + 1 :])
        self.emitter.emit(
            events.RunRolledBack(stage=rollback.stage, step=rollback.step, from_step=reached, aside=str(aside))
        )

    def _run_stages(self, setting: Setting, resolved: dict[str, Any], start: float) -> RunOutcome:
        prepared = self._prepare_all(setting)
        written_out = {stage.name for stage in self.profile.stage}
        parents: dict[str, Parent] = {}
        before: str | None = None
        scores: dict[str, float] = {}
        for stage in self._plan.stage:
            parent = self._ranks.led(partial(parent_of, self._plan, stage, before, parents))
            if stage.kind == "generate":
                if not self._ranks.led(Writing(setting, stage, parent).run):
                    return self._stopped(stage.name, 0, start)
                if self._ranks.leads:
                    write_report(self.directory.path)
                continue
            data, teacher = self._data(setting, stage, prepared), self._ranks.led(partial(teacher_of, stage, parents))
            outcome = None
            if data is not None:
                outcome = self._run_stage(setting, stage, parent, data, resolved, teacher)
            if outcome is None:
                step = self.directory.state().step
                return self._stopped(stage.name, step, start)
            parents[stage.name] = outcome
            scores = outcome.scores or scores
            if stage.name in written_out:
                before = stage.name
        seconds = time.monotonic() - start
        if self._ranks.leads:
            report = write_report(self.directory.path)
            self.emitter.emit(
                events.RunFinished(run=self.directory.name, seconds=seconds, scores=scores, report=str(report))
            )
            write_report(self.directory.path)  # once more, with the end of the run in it
        return RunOutcome("done", self.directory.path, scores, seconds)

    def _prepare_all(self, setting: Setting) -> dict[str, StageData | None]:
        """The data at hand, by stage: tokenised by rank 0, then found by the others; None from where it was stopped."""
        stages = [stage for stage in self._plan.stage if stage.kind != "generate" and not is_written_later(stage)]
        prepared: dict[str, StageData | None] = {}
        if self._ranks.leads:
            prepared = {stage.name: prepare_data(setting, stage) for stage in stages}
        ready = self._ranks.led(lambda: [name for name, data in prepared.items() if data is not None])
        if not self._ranks.leads:
            prepared = {each.name: prepare_data(setting, each) if each.name in ready else None for each in stages}
        return prepared

    def _data(self, setting: Setting, stage: StageSettings, prepared: dict[str, StageData | None]) -> StageData | None:
        """The data of a stage, which an earlier one may just have written; None when stopped."""
        if stage.name in prepared:
            return prepared[stage.name]
        made = self._ranks.in_turn(lambda: prepare_data(setting, stage))
        assert made is None or isinstance(made, PreparedData | MixedData), "that is what data are"
        return made

    def _run_stage(
        self,
        setting: Setting,
        stage: StageSettings,
        parent: Parent,
        data: StageData,
        resolved: dict[str, Any],
        teacher: Parent | None,
    ) -> Parent | None:
        """Do a stage, or find it done; None when stopped."""
        completes = parent.base is None and only_text([*parent.stages, lineage_entry(stage)])
        evaluation = Evaluation(setting, stage, chat=not completes)
        result = self._ranks.led(lambda: finished_result(setting, stage, parent, data, teacher))
        if result is not None:
            self.emitter.emit(events.StageSkipped(stage=stage.name, reason="already done with the same inputs"))
            result = self._ranks.led(partial(evaluation.renew, result))
            return None if result is None else self._as_parent(stage, parent, result)
        decided = resolved["micro_batch_size"].get(stage.name)
        self._stage_run = stage_run = StageRun(setting, stage, parent, data, decided, teacher)
        resolved["micro_batch_size"][stage.name] = stage_run.micro_batch_size
        if self._ranks.leads:
            self.directory.write_resolved(resolved)
        try:
            complete = stage_run.run()
        finally:
            self._stage_run = None
        scores = self._ranks.led(lambda: evaluation.measure(stage_run.model)) if complete else None
        if scores is None or stage_run.trainer is None:
            return None
        result = self._ranks.led(partial(stage_run.result, scores, evaluation.fingerprint))
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
        if self._ranks.leads:
            write_report(self.directory.path)
        return self._as_parent(stage, parent, result)

    def _as_parent(self, stage: StageSettings, parent: Parent, result: StageResult) -> Parent:
        """The stage as what the next one starts from."""
        return Parent(
            directory=self.directory.stage(stage.name).result,
            fingerprint=result.fingerprint,
            stages=(*parent.stages, lineage_entry(stage)),
            base=parent.base,
            scores={key: value for key, value in result.after.items() if not key.startswith("val_")},
        )

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
        if self._ranks.leads:
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
            log = self.directory.path / ("error.log" if self._ranks.leads else f"error-rank-{self._ranks.rank}.log")
            told = self._meeting.cause(error) or _explained(error, self.directory.name, log)
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
    meeting: Meeting | None = None,
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
        meeting=meeting,
    )


def _explained(error: Exception, run: str, log: Path) -> WorkbenchError:
    if isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(error):
        return DeviceError(
            f"run {run}", "memory does not suffice", "lower micro_batch_size or sequence_length and start it again"
        )
    if "No space left on device" in str(error):  # safetensors has an error of its own
        remedy = "free some space and start it again; its last checkpoint stands"
        return WorkbenchError(f"run {run}", "the disk is full", remedy)
    return WorkbenchError(f"run {run}", f"{type(error).__name__}: {error}", f"the traceback is in {log}")
