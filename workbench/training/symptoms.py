"""The rules of the diagnosis: each looks at a stage's figures and says what is wrong, why, and what helps.

Every threshold stands here with its reason. All of them were held against recorded runs of the bundled profiles, in
which none may speak; the rules are for trouble that a person would want to be woken for.
"""

import math
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from workbench.training.history import WINDOW, History, Report, level_and_noise

START_MARGIN = 0.1
"""A first loss may lie this share above ln(vocabulary): the usual initial weights add 1 to 5 % to a blind guess."""
SPIKE_NOISE = 8.0
"""A spike stands this many times a batch's noise above the median; healthy runs with batches of 4 rows reach 6."""
SPIKE_NATS = 0.25
"""And this much at least: below, a late stage with hardly any noise would be alarmed by a single hard batch."""
SPIKES_TOO_MANY = 3
"""One spike may be a bad batch; the third says that steps are too long."""
RISE_NATS, RISE_SHARE = 1.0, 0.2
"""How far above its start the loss must be to have left for good: a rate that fits falls from its first step on."""
RELAPSE_NATS, RELAPSE_SHARE = 0.5, 0.25
"""How far above its best level it must have settled: half a nat is far more than one epoch differs from the next."""
IDLE_STEPS, IDLE_PART = 100, 0.1
"""Steps behind the warmup, and share of the stage, after which a new model must have learnt the commonest tokens."""
IDLE_SHARE = 0.05
"""Which is at least this share of ln(vocabulary): letter or word frequencies alone give 20 % and more."""
TINY_RATE = 1e-5
"""Full fine-tuning below this rate may change nothing for hundreds of steps; common rates are 1e-5 to 1e-3."""
NEW_MODEL_RATE = 1e-4
"""New models are hardly ever trained at less: ten times next to nothing would be next to nothing again."""
OVERFIT_SHARE = 0.1
"""Validation must be this share above its best, twice in a row: memorising facts costs the bundled profiles 4 to 7 %
of validation loss while their scores still rise."""
OVERFIT_NATS = 0.01
"""And by this much at least: a loss of nearly nothing doubles by chance."""
EPOCHS_WORTHLESS = 16
"""Repeated text is worth nearly as much as new text for 4 passes, and next to nothing beyond about 16.
Source: Muennighoff et al. 2023, arXiv:2305.16264."""
REPEAT_STEPS = 100
"""In fewer steps nothing is learnt by heart, however small the data: a trial run is left in peace."""
EXPERT_REPORTS = 10
"""Reports to average the load of experts over: one batch's load is chance."""
EXPERT_STEPS = 100
"""Steps behind the warmup that a router may take to even the load, or half of a shorter stage: it begins by chance."""
STARVED_SHARE = 0.1
"""An expert with less than this share of an equal share learns ten times slower than the layer is paid for."""
FLAT_MARGIN = 0.01
"""A preference loss this close to ln 2 means that chosen and rejected answers are still equally likely."""
FLAT_REPORTS, FLAT_PART = 10, 0.2
"""Reports, and share of the stage, after which the margin must show: warmups are commonly a tenth of a stage."""


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong.

    Args:
        name: the kind of trouble; since: the last step that was well, -1 where going back would not help.
    """

    name: str
    severity: Literal["note", "warning", "error"]
    since: int
    cause: str
    cure: str


Rule = Callable[[History], Finding | None]


def repeated_data(history: History) -> Finding | None:
    """The stage reads the same tokens over and over."""
    stage = history.stage
    if stage.epochs <= EPOCHS_WORTHLESS or stage.steps < REPEAT_STEPS:
        return None
    enough = max(1, round(stage.steps * EPOCHS_WORTHLESS / stage.epochs))
    return Finding(
        "repeated_data",
        "warning",
        -1,
        f"its {stage.steps:,} steps read the same data {stage.epochs:.1f} times; past about {EPOCHS_WORTHLESS} passes "
        "a model learns it by heart instead of learning from it",
        f"add data, or end after about {enough:,} steps (or set patience); a smaller model memorises less",
    )


def high_start(history: History) -> Finding | None:
    """The first loss is worse than a blind guess."""
    stage, first = history.stage, history.first_measured
    guess = math.log(max(stage.vocab_size, 2))
    if first is None or stage.kind not in ("pretrain", "sft") or first <= guess * (1 + START_MARGIN):
        return None
    cause = f"the loss starts at {first:.2f}, above the ln({stage.vocab_size:,}) = {guess:.2f} of a blind guess: "
    if stage.fresh:
        cause += "the random weights do not know nothing, they contradict the text"
        cure = "lower model.initializer_range (0.02 is usual); tie_word_embeddings with wide models needs less"
    else:
        cause += "to the model it starts from this text is noise"
        cure = "check that tokenizer.path (and the chat template) is the one that model was trained with"
    return Finding("high_start", "warning", -1, cause, cure)


def spike(history: History) -> Finding | None:
    """The newest loss stands far above those before it."""
    before = history.recent(WINDOW, before=1)
    if len(before) < WINDOW:
        return None
    newest = history.reports[-1]
    level, noise = level_and_noise([report.loss for report in before])
    if newest.loss - level < max(SPIKE_NOISE * noise, SPIKE_NATS):
        return None
    if history.spikes and newest.step <= history.spikes[-1] + (newest.step - before[0].step):
        return None  # the same one, still coming down
    history.spikes.append(newest.step)
    norm = statistics.median(report.grad_norm for report in before)
    return Finding(
        "spike",
        "warning",
        before[-1].step,
        f"the loss jumped to {newest.loss:.3f} from about {level:.3f} ({_times(newest.loss - level, noise)} a batch's "
        f"noise); the gradient norm is {newest.grad_norm:.2f}, about {norm:.2f} before",
        f"wait: most spikes pass within {WINDOW} reports. If it does not, go back to before step {before[-1].step:,} "
        f"with a lower rate than {newest.learning_rate:.1e}; look at that step's rows for damaged text{_clip(history)}",
    )


def learning_rate_high(history: History) -> Finding | None:
    """The loss has left the ground it had gained, or jumps again and again."""
    newest, first, level = history.reports[-1], history.first_loss, history.level()
    since, share = history.lowest_step if math.isfinite(history.lowest_level) else 0, 3
    if first is not None and newest.loss > first + max(RISE_NATS, RISE_SHARE * first):
        cause = f"the loss is {newest.loss:.2f}, above the {first:.2f} it started with"
        share = 10
    elif level is not None and level - history.lowest_level > max(RELAPSE_NATS, RELAPSE_SHARE * history.lowest_level):
        cause = f"the loss has settled at {level:.3f} after {history.lowest_level:.3f} at step {history.lowest_step:,}"
    elif len(history.spikes) >= SPIKES_TOO_MANY:
        steps = ", ".join(f"{step:,}" for step in history.spikes)
        cause, since = f"{len(history.spikes)} loss spikes (steps {steps})", history.spikes[0] - 1
    else:
        return None
    return Finding(
        "learning_rate_high",
        "error",
        since,
        f"{cause}: at a learning rate of {newest.learning_rate:.2e} the steps are too long",
        f"{_back(since)} with a learning rate of about {history.stage.learning_rate / share:.1e}, or a longer warmup "
        f"(now {history.stage.warmup:,} steps){_clip(history)}",
    )


def learning_rate_low(history: History) -> Finding | None:
    """The loss hardly moves."""
    stage, first, level = history.stage, history.first_loss, history.level(5)
    newest = history.reports[-1]
    if first is None or level is None or stage.kind not in ("pretrain", "sft"):
        return None
    if newest.step < max(stage.warmup + IDLE_STEPS, IDLE_PART * stage.steps):
        return None
    if stage.fresh:
        idle = abs(first - level) < IDLE_SHARE * first
    else:
        measured = [loss for _, loss in history.validations]
        late = newest.step >= stage.steps / 2 and len(measured) >= 2
        idle = late and stage.learning_rate < TINY_RATE and abs(measured[0] - measured[-1]) < 0.01 * measured[0]
    if not idle:
        return None
    rate = max(stage.learning_rate * 10, NEW_MODEL_RATE if stage.fresh else 0.0)
    return Finding(
        "learning_rate_low",
        "warning",
        -1,
        f"after {newest.step:,} steps the loss has only come from {first:.3f} to {level:.3f}: at a learning rate of "
        f"{newest.learning_rate:.2e} the weights hardly move (gradient norm {newest.grad_norm:.2g})",
        f"raise learning_rate, to {rate:.0e} say; if that does not help, look at the rows on the "
        "Data screen: text without any order teaches nothing either",
    )


def overfitting(history: History) -> Finding | None:
    """Validation rises while training falls."""
    if len(history.validations) < 3:
        return None
    best_step, best = min(history.validations, key=lambda pair: (pair[1], pair[0]))
    (_, before), (step, newest) = history.validations[-2:]
    if not best + max(OVERFIT_SHARE * best, OVERFIT_NATS) < before <= newest or step <= best_step:
        return None
    span = step - best_step
    earlier, later = history.mean_loss(best_step - span, best_step), history.mean_loss(best_step, step)
    if earlier is None or later is None or later >= earlier:
        return None
    epochs = history.stage.epochs * step / max(history.stage.steps, 1)
    passes = f" after {epochs:.1f} passes over the data" if epochs else ""
    return Finding(
        "overfitting",
        "warning",
        best_step,
        f"validation rose from {best:.3f} at step {best_step:,} to {newest:.3f}{passes}, while training fell from "
        f"{earlier:.3f} to {later:.3f}: the model learns the training text by heart",
        f'keep the weights of step {best_step:,} (result = "best" does) and end there (patience); for a better model '
        "add data, or use fewer steps, a smaller model, more weight_decay",
    )


def starved_experts(history: History) -> Finding | None:
    """Experts that the router hardly ever chooses."""
    recent = [report for report in history.recent(EXPERT_REPORTS) if report.expert_load]
    settled = min(history.stage.warmup + EXPERT_STEPS, history.stage.steps / 2)
    if len(recent) < EXPERT_REPORTS or recent[-1].step < settled:
        return None
    worst: list[tuple[float, str]] = []
    for layer in range(len(recent[-1].expert_load)):
        experts = len(recent[-1].expert_load[layer])
        for expert in range(experts):
            load = statistics.fmean(report.expert_load[layer][expert] for report in recent)
            if load * experts < STARVED_SHARE:
                worst.append((load, f"layer {layer} expert {expert} {load:.2%} of {1 / experts:.1%}"))
    if not worst:
        return None
    listed = ", ".join(text for _, text in sorted(worst)[:4])
    dead = sum(load == 0 for load, _ in worst)
    more = ", ..." if len(worst) > 4 else ""
    if len(worst) == 1:
        cause = f"1 expert gets less than {STARVED_SHARE:.0%} of an equal share over {EXPERT_REPORTS} reports: {listed}"
    else:
        cause = (
            f"{len(worst)} experts get less than {STARVED_SHARE:.0%} of an equal share over {EXPERT_REPORTS} reports, "
            f"{dead} of them nothing at all: {listed}{more}"
        )
    return Finding(
        "starved_experts",
        "warning",
        -1,
        cause,
        "raise router_aux_loss_coef (two to ten times), lower the learning rate, or use fewer experts",
    )


def flat_preferences(history: History) -> Finding | None:
    """A preference loss that stays at ln 2."""
    recent = history.recent(FLAT_REPORTS)
    stage = history.stage
    if stage.kind != "dpo" or len(recent) < FLAT_REPORTS or recent[-1].step < FLAT_PART * stage.steps:
        return None
    margins = [report.measures["reward_margin"] for report in recent if "reward_margin" in report.measures]
    # the loss itself may hold more than the preference: see `sft_weight`
    loss = -_log_sigmoid(statistics.median(margins)) if margins else _median(recent)
    if recent[-1].step <= stage.warmup or abs(loss - math.log(2)) > FLAT_MARGIN:
        return None
    told = ""
    for name in ("reward_accuracy", "reward_margin"):
        values = [report.measures[name] for report in recent if name in report.measures]
        told += f", {name.replace('_', ' ')} {statistics.fmean(values):.3f}" if values else ""
    return Finding(
        "flat_preferences",
        "warning",
        -1,
        f"the preference loss is still {loss:.4f}, ln 2 = {math.log(2):.4f}{told}: the model prefers "
        f"nothing yet at a learning rate of {recent[-1].learning_rate:.2e}",
        "raise learning_rate (1e-6 to 5e-6 is usual for full weights, 1e-5 to 1e-4 with LoRA); check that chosen and "
        "rejected answers differ",
    )


AT_START: tuple[Rule, ...] = (repeated_data,)
AT_REPORT: tuple[Rule, ...] = (
    high_start,
    spike,
    learning_rate_high,
    learning_rate_low,
    starved_experts,
    flat_preferences,
)
AT_VALIDATION: tuple[Rule, ...] = (high_start, overfitting)


def _log_sigmoid(x: float) -> float:
    return min(x, 0.0) - math.log1p(math.exp(-abs(x)))


def _median(reports: list[Report]) -> float:
    return statistics.median(report.loss for report in reports)


def _back(since: int) -> str:
    return f"go back to a checkpoint up to step {since:,}" if since > 0 else "start the stage again"


def _times(distance: float, noise: float) -> str:
    return f"{distance / noise:,.0f} times" if noise > 0 else "far more than"


def _clip(history: History) -> str:
    return "" if history.stage.clip else "; set clip = 1.0, gradients are not shortened now"
