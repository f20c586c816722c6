"""What an engine announces: facts in the past tense, as plain values; and the Emitter that hands them on.

Every event can be written as one JSON object (`to_json`) and read back (`from_json`), which is how `events.jsonl`
and a screen that watches another process's run are made.
"""

import dataclasses
import logging
import math
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from workbench.event import Event as Event
from workbench.teaching_events import AnswersWritten as AnswersWritten
from workbench.teaching_events import StudentCompared as StudentCompared
from workbench.teaching_events import TeacherReady as TeacherReady

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class RunStarted(Event):
    """A run began, or went on after a stop; `resumed` says which, and `ranks` how many processes do it."""

    run: str
    directory: str
    stages: tuple[str, ...]
    device: str
    precision: str
    threads: int
    resumed: bool
    ranks: int = 1


@dataclass(frozen=True, kw_only=True)
class WorkProgressed(Event):
    """A long piece of work that is not training came further: tokenizer training, tokenising, evaluation.

    Args:
        stage: the stage it belongs to; empty for the run itself.
        task: what is done, for people.
        total: the amount at the end in `unit`s; None where it is not known.
    """

    stage: str
    task: str
    done: int
    total: int | None
    unit: str


@dataclass(frozen=True, kw_only=True)
class TokenizerReady(Event):
    """The tokenizer was trained or loaded.

    Args:
        bytes_per_token: UTF-8 bytes of the training sample by one token; None where nothing was measured.
    """

    kind: str
    vocab_size: int
    bytes_per_token: float | None
    seconds: float


@dataclass(frozen=True, kw_only=True)
class DataReady(Event):
    """A stage's data was tokenised, or found in the cache.

    Args:
        rows_read: rows of the files; `rows_rejected` of them could not be used.
        documents_truncated: documents longer than a row of the stage, cut there (conversations only).
        tokens_trained: tokens that carry loss.
    """

    stage: str
    documents: int
    validation_documents: int
    tokens: int
    tokens_trained: int
    rows_read: int
    rows_rejected: int
    documents_truncated: int
    from_cache: bool
    seconds: float


@dataclass(frozen=True, kw_only=True)
class DataMixed(Event):
    """Which data sets a stage mixes, and how often each is used up.

    Args:
        step: up to which the epochs are counted: of the stage's end when it starts, the step reached when it is over.
        shares: data set to share of the rows, between 0 and 1; epochs: data set to passes over it.
    """

    stage: str
    step: int
    shares: dict[str, float]
    epochs: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class RowRejected(Event):
    """A row of a data file could not be used; at most a few are announced one by one, all are counted."""

    stage: str
    file: str
    line: int
    reason: str


@dataclass(frozen=True, kw_only=True)
class StageStarted(Event):
    """Training of a stage begins or goes on at `step`.

    Args:
        parameters: numbers the model has; `trained_parameters` of them move.
        active_parameters: those that one token is computed with, where a mixture of experts has others too.
        tokens_per_step: positions by optimizer step, padding included.
        flops_per_token: of one training step, forward and backward.
    """

    stage: str
    kind: str
    step: int
    steps: int
    parameters: int
    trained_parameters: int
    vocab_size: int
    tokens_per_step: int
    flops_per_token: float
    micro_batch_size: int
    active_parameters: int | None = None


@dataclass(frozen=True, kw_only=True)
class StageSkipped(Event):
    """A stage was already done with the same settings, data and parent, and stands."""

    stage: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class StepFinished(Event):
    """An optimizer step was taken; loss, learning_rate and grad_norm are that step's own, not averages.

    Args:
        tokens: tokens seen by the stage so far, padding included.
        seconds: training time of the stage so far, pauses and evaluations left out.
        loss: mean over the step's target tokens, in nats; of preferences over its pairs.
        grad_norm: before clipping.
        mfu: share of the device's measured matrix speed that the model's own arithmetic uses; None where unknown.
        eta_seconds: to the end of the stage.
        utilisation: share of the device's time that it worked since the last report; None where unknown.
        balance_loss: of a mixture of experts, without its coefficient: 1 where all are equally busy. None without
            experts; likewise router_z_loss, and expert_load: for each layer, each expert's share of the visits.
        measures: what else the objective tells of the step, such as `reward_accuracy` of preferences.
    """

    stage: str
    step: int
    steps: int
    tokens: int
    seconds: float
    loss: float
    learning_rate: float
    grad_norm: float
    tokens_per_second: float
    mfu: float | None
    memory_bytes: int
    eta_seconds: float
    utilisation: float | None = None
    balance_loss: float | None = None
    router_z_loss: float | None = None
    expert_load: tuple[tuple[float, ...], ...] | None = None
    measures: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Validated(Event):
    """The model was measured on validation data.

    Args:
        val_loss: nats by target token; perplexity is its exponential.
        val_bits_per_byte: comparable between tokenizers.
        best: no earlier step of this stage was better.
        measures: further ones by name, such as `val_reward_accuracy` on held-out pairs.
    """

    stage: str
    step: int
    val_loss: float
    val_perplexity: float
    val_bits_per_byte: float
    best: bool
    seconds: float
    measures: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class EndedEarly(Event):
    """A stage ends before its last step, as validation has not improved for as long as it has patience."""

    stage: str
    step: int
    steps: int


@dataclass(frozen=True, kw_only=True)
class SampleMade(Event):
    """The model continued a fixed prompt, or answered it in a chat stage. `text` is data, never markup."""

    stage: str
    step: int
    prompt: str
    text: str
    seed: int


@dataclass(frozen=True, kw_only=True)
class CheckpointSaved(Event):
    """A checkpoint is complete on the disk."""

    stage: str
    step: int
    path: str
    size_bytes: int
    seconds: float


@dataclass(frozen=True, kw_only=True)
class LearningRateChanged(Event):
    """A person changed the peak learning rate of a running stage."""

    stage: str
    step: int
    learning_rate: float


@dataclass(frozen=True, kw_only=True)
class Paused(Event):
    """The trainer waits at a step boundary."""

    stage: str
    step: int


@dataclass(frozen=True, kw_only=True)
class Resumed(Event):
    """The trainer goes on after a pause."""

    stage: str
    step: int


@dataclass(frozen=True, kw_only=True)
class StageFinished(Event):
    """A stage reached its end and its model is saved.

    Args:
        before: scores and losses at the stage's first step; after: at its last.
    """

    stage: str
    kind: str
    steps: int
    tokens: int
    seconds: float
    tokens_per_second: float
    model: str
    before: dict[str, float]
    after: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class WeightsAdapted(Event):
    """A stage trained by LoRA is over.

    Args:
        updates: for each adapted layer, by its full name, the size of its update as a share of its matrix.
    """

    stage: str
    updates: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class Scored(Event):
    """A stage's model was scored on held-out questions or other measures.

    Args:
        scores: metric to value, such as `exact_match` and `exact_match.en`: shares between 0 and 1, but for
            `perplexity`, `bits_per_byte` and `tokens_per_second_...`.
    """

    stage: str
    scores: dict[str, float]
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Warned(Event):
    """Something a person should know that does not end the run: where, what, what to do."""

    stage: str
    message: str


@dataclass(frozen=True, kw_only=True)
class Diagnosed(Event):
    """Something is wrong with the training of a stage, or soon will be: what it is, why, and what helps.

    Args:
        finding: the kind of trouble, such as `spike` or `overfitting`.
        since: the last step that was still well; -1 where going back would not help.
        cause: what was seen, in words and with this run's figures; may quote training data, so it is never markup.
        cure: what to do.
    """

    stage: str
    step: int
    finding: str
    severity: Literal["note", "warning", "error"]
    since: int
    cause: str
    cure: str


@dataclass(frozen=True, kw_only=True)
class RunRolledBack(Event):
    """A stage went back to an earlier checkpoint; what came after it is set aside in the run's folder.

    Args:
        step: of the checkpoint; `from_step` is where the stage stood.
        aside: the folder that holds what was made in between.
    """

    stage: str
    step: int
    from_step: int
    aside: str


@dataclass(frozen=True, kw_only=True)
class RunStopped(Event):
    """The run was stopped by a wish or a signal, after the step, saved."""

    run: str
    stage: str
    step: int


@dataclass(frozen=True, kw_only=True)
class RunFinished(Event):
    """Every stage of the run is done."""

    run: str
    seconds: float
    scores: dict[str, float]
    report: str


@dataclass(frozen=True, kw_only=True)
class RunFailed(Event):
    """The run ended with an error; `log` names the file with the traceback, if there is one."""

    run: str
    message: str
    log: str


Subscriber = Callable[[Event], None]


class Emitter:
    """Hands each event to every subscriber, in order, on the thread that emits.

    A subscriber that raises is dropped and the others are told; it never ends the run.
    """

    def __init__(self) -> None:
        self._subscribers: list[Subscriber] = []
        self._lock = threading.Lock()

    def subscribe(self, subscriber: Subscriber) -> None:
        """Call `subscriber` for every later event."""
        with self._lock:
            self._subscribers.append(subscriber)

    def unsubscribe(self, subscriber: Subscriber) -> None:
        """Stop calling `subscriber`; one that was never there is no error."""
        with self._lock:
            self._subscribers = [kept for kept in self._subscribers if kept != subscriber]

    def emit(self, event: Event) -> None:
        """Hand `event` to everyone."""
        with self._lock:
            subscribers = tuple(self._subscribers)
        for subscriber in subscribers:
            try:
                subscriber(event)
            except Exception as error:  # a listener must never end a run
                self.unsubscribe(subscriber)
                logger.exception("subscriber dropped: %r", subscriber)
                name = getattr(subscriber, "__qualname__", type(subscriber).__name__)
                self.emit(Warned(stage="", message=f"{name} stopped listening after an error: {error}"))


EVENT_TYPES: dict[str, type[Event]] = {kind.__name__: kind for kind in Event.__subclasses__()}


def to_json(event: Event) -> dict[str, Any]:
    """`event` as one JSON object with its kind under "event"; non-finite numbers become null, named in "nonfinite"."""
    values = dataclasses.asdict(event)
    floats = {key: value for key, value in values.items() if isinstance(value, float)}
    nonfinite = {key: str(value) for key, value in floats.items() if not math.isfinite(value)}
    for key in nonfinite:
        values[key] = None
    return {"event": type(event).__name__, **values, **({"nonfinite": nonfinite} if nonfinite else {})}


def from_json(record: dict[str, Any]) -> Event | None:
    """The event of `record`, or None where its kind or fields are not known here (a newer or older writer)."""
    kind = EVENT_TYPES.get(record.get("event", ""))
    if kind is None:
        return None
    values = {key: value for key, value in record.items() if key not in ("event", "nonfinite")}
    values.update({key: float(text) for key, text in record.get("nonfinite", {}).items()})
    values = {key: _as_tuple(value) for key, value in values.items()}
    try:
        return kind(**values)
    except TypeError:
        return None


def _as_tuple(value: Any) -> Any:
    return tuple(map(_as_tuple, value)) if isinstance(value, list) else value
