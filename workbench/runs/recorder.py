"""The subscriber that writes a run down: events.jsonl, metrics.jsonl, samples.jsonl and state.json."""

import dataclasses
import os
import socket
import time
from types import TracebackType
from typing import Any, Self

from workbench.events import (
    CheckpointSaved,
    Event,
    Paused,
    Resumed,
    RunFailed,
    RunFinished,
    RunStarted,
    RunStopped,
    SampleMade,
    StageFinished,
    StageStarted,
    StepFinished,
    Validated,
    WorkProgressed,
    to_json,
)
from workbench.runs.metrics import MetricsWriter, RecordWriter, cut_back
from workbench.runs.store import RunDirectory, RunState, StageDirectory

_METRICS = (
    "step",
    "tokens",
    "seconds",
    "loss",
    "learning_rate",
    "grad_norm",
    "tokens_per_second",
    "mfu",
    "memory_bytes",
    "utilisation",
)
_ROUTING_METRICS = ("balance_loss", "router_z_loss", "expert_load")  # of a mixture of experts
_VALIDATION_METRICS = ("step", "val_loss", "val_perplexity", "val_bits_per_byte")
_SAMPLE_KEYS = ("step", "prompt", "text", "seed", "at")
# state.json is brought to the disk each time, which a fast model must not wait for at every step.
_STATE_INTERVAL_SECONDS = 2.0


class RunRecorder:
    """Writes down what an Emitter announces: `emitter.subscribe(recorder)`, and `close()` at the end.

    A stage that starts at step N cuts its metrics and samples back to N, so that each step stands once however often
    the run was killed and resumed; events are kept all.

    A listener cannot end a run: whoever runs it looks at `failure`, which says why the record has a gap.
    """

    def __init__(self, run: RunDirectory) -> None:
        self.failure: OSError | None = None
        self._run = run
        self._events = RecordWriter(run.events_path)
        self._metrics: MetricsWriter | None = None
        self._samples: RecordWriter | None = None
        self._state = dataclasses.replace(run.state(), pid=os.getpid(), host=socket.gethostname())
        self._written_at = 0.0

    def __call__(self, event: Event) -> None:
        """Write `event` where it belongs; once that failed, only the state is still tried."""
        try:
            if self.failure is None:
                self._events.write(to_json(event))
                self._write_figures(event)
            self._update_state(event)
        except OSError as error:
            self.failure = self.failure or error

    def close(self) -> None:
        """Bring everything to the disk and close the files."""
        self._close_stage()
        self._events.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.close()
        except OSError:  # what ended the run comes first
            if error is None:
                raise

    def _write_figures(self, event: Event) -> None:
        if isinstance(event, StageStarted):
            self._open_stage(self._run.stage(event.stage), event.step)
        elif isinstance(event, StepFinished) and self._metrics:
            routed = event.expert_load is not None
            keys = (*_METRICS, *(_ROUTING_METRICS if routed else ()))
            self._metrics.write({**_picked(event, keys), **event.measures})
        elif isinstance(event, Validated) and self._metrics:
            self._metrics.write({**_picked(event, _VALIDATION_METRICS), **event.measures})
        elif isinstance(event, SampleMade) and self._samples:
            self._samples.write(_picked(event, _SAMPLE_KEYS))
        elif isinstance(event, CheckpointSaved):
            for writer in (self._metrics, self._samples, self._events):
                if writer:
                    writer.sync()

    def _open_stage(self, stage: StageDirectory, step: int) -> None:
        self._close_stage()
        # Figures of step 0 (an evaluation before training) are made again by a stage that begins anew.
        for path in (stage.metrics, stage.samples):
            cut_back(path, step if step > 0 else -1)
        self._metrics, self._samples = MetricsWriter(stage.metrics), RecordWriter(stage.samples)

    def _close_stage(self) -> None:
        for writer in (self._metrics, self._samples):
            if writer:
                writer.close()
        self._metrics = self._samples = None

    def _update_state(self, event: Event) -> None:
        self._state = dataclasses.replace(_state_after(event, self._state), updated_at=event.at)
        frequent = isinstance(event, StepFinished | WorkProgressed)
        if not frequent or time.monotonic() - self._written_at >= _STATE_INTERVAL_SECONDS:
            self._run.write_state(dataclasses.replace(self._state, heartbeat=time.time()))
            self._written_at = time.monotonic()


def _state_after(event: Event, state: RunState) -> RunState:
    """`state` as `event` leaves it."""
    changes: dict[str, Any]
    match event:
        case RunStarted():
            changes = {"status": "running", "stages": event.stages, "message": ""}
        case StageStarted() if event.stage == state.stage:
            changes = {"step": event.step, "steps": event.steps}
        case StageStarted():
            changes = {"stage": event.stage, "step": event.step, "steps": event.steps, "loss": None, "val_loss": None}
        case StepFinished():
            changes = {
                "step": event.step,
                "steps": event.steps,
                "loss": event.loss,
                "tokens_per_second": event.tokens_per_second,
            }
        case Validated():
            changes = {"step": event.step, "val_loss": event.val_loss}
        case CheckpointSaved():
            changes = {"step": event.step}
        case Paused():
            changes = {"status": "paused", "step": event.step}
        case Resumed():
            changes = {"status": "running", "step": event.step}
        case StageFinished():
            changes = {"stage": event.stage, "step": event.steps, "steps": event.steps}
        case RunStopped():
            changes = {"status": "stopped", "step": event.step}
        case RunFinished():
            changes = {"status": "done"}
        case RunFailed():
            changes = {"status": "failed", "message": event.message}
        case _:
            changes = {}
    return dataclasses.replace(state, **changes)


def _picked(event: Event, keys: tuple[str, ...]) -> dict[str, Any]:
    return {key: getattr(event, key) for key in keys}
