"""Events as lines of a log, and numbers as short text for people."""

import time
from dataclasses import dataclass
from functools import singledispatch
from typing import Literal

from workbench import events

Tone = Literal["plain", "good", "warning", "error", "quiet"]


_NO_SHARES = ("loss", "val_", "perplexity", "bits_per_byte")  # measures that may lie between 0 and 1 by chance
_SHARES = ("val_reward_accuracy", "val_chosen_likelier")  # for all that


@dataclass(frozen=True)
class Line:
    """One line of a run's log. `text` is data, never markup."""

    at: float
    what: str
    text: str
    tone: Tone = "plain"

    def __str__(self) -> str:
        return f"{time.strftime('%H:%M:%S', time.localtime(self.at))}  {self.what:<9} {self.text}"


def count(value: float) -> str:
    """A count in at most five characters: 950, 4.1k, 29.9M."""
    for size, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size * 0.99995:
            return f"{value / size:.3g}{letter}" if abs(value) < 999.5 * size else f"{value / size:.0f}{letter}"
    return f"{value:.0f}"


def size(value: float) -> str:
    """A size in bytes in binary units: 240 MiB, 1.4 GiB."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(value) < 1000:
            return f"{value:.0f} {unit}" if unit == "B" or abs(value) >= 100 else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"


def duration(seconds: float | None) -> str:
    """A span of time in two units: 42 s, 3 m 20 s, 3 h 24 m, 2 d 4 h; a dash where it is not known."""
    if seconds is None or not 0 <= seconds < 1e9:
        return "-"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} m {whole % 60:02} s"
    if whole < 86400:
        return f"{whole // 3600} h {whole % 3600 // 60:02} m"
    return f"{whole // 86400} d {whole % 86400 // 3600} h"


def ago(seconds: float) -> str:
    """How long since, in one unit: now, 40 s, 5 m, 2 h, 3 d."""
    if seconds < 10:
        return "now"
    for limit, unit, letter in ((60, 1, "s"), (3600, 60, "m"), (86400, 3600, "h")):
        if seconds < limit:
            return f"{seconds // unit:.0f} {letter}"
    return f"{seconds // 86400:.0f} d"


def figure(value: float | None, digits: int = 3) -> str:
    """A number in a few characters; a dash where there is none."""
    if value is None:
        return "-"
    return f"{value:.{digits}f}" if 0.01 <= abs(value) < 1000 or value == 0 else f"{value:.{digits - 1}e}"


def rate(value: float | None) -> str:
    """A learning rate: 3.00e-4."""
    if value is None:
        return "-"
    mantissa, _, exponent = f"{value:.2e}".partition("e")
    return f"{mantissa}e{int(exponent)}" if value else "0"


def score(name: str, value: float | None) -> str:
    """A measure: a share in percent, a loss or a speed as it is; a dash where there is none."""
    if value is None:
        return "-"
    if name.startswith("tokens_per_second"):
        return f"{value:,.0f}"
    is_share = name in _SHARES or (not name.startswith(_NO_SHARES) and 0 <= value <= 1)
    return f"{value:.1%}" if is_share else figure(value)


def experts(load: tuple[tuple[float, ...], ...] | None) -> str:
    """How evenly experts are visited, from the idlest to the busiest of all layers; empty without experts."""
    if not load:
        return ""
    shares = [share for layer in load for share in layer]
    return f"  experts {min(shares):.0%} to {max(shares):.0%}"


def preference_words(measures: dict[str, float], prefix: str = "") -> str:
    """Accuracy and margin of a preference stage, to stand behind other figures; nothing where there are none."""
    accuracy, margin = measures.get(f"{prefix}reward_accuracy"), measures.get(f"{prefix}reward_margin")
    if accuracy is None or margin is None:
        return ""
    return f"  pairs {accuracy:.1%}  margin {figure(margin, 2)}"


def run_figure(measure: str, value: float | None) -> str:
    """A figure of a whole run by its name: counts, spans of time and losses as such, all else as a score."""
    if value is None:
        return "-"
    if measure == "step":
        return f"{value:,.0f}"
    if measure in ("tokens", "tokens_per_second"):
        return count(value)
    if measure == "seconds":
        return duration(value)
    return figure(value) if "loss" in measure else score(measure, value)


@singledispatch
def narrate(event: events.Event) -> Line | None:
    """One line about `event`, or None where the log need not tell it."""
    return None


@narrate.register
def _(event: events.RunStarted) -> Line:
    verb = "goes on" if event.resumed else "starts"
    stages = ", ".join(event.stages)
    return Line(event.at, "run", f"{event.run} {verb}: {stages} on {event.device} in {event.precision}", "good")


@narrate.register
def _(event: events.TokenizerReady) -> Line:
    ratio = f", {event.bytes_per_token:.2f} bytes by token" if event.bytes_per_token else ""
    return Line(event.at, "tokenizer", f"{event.kind}, {event.vocab_size:,} entries{ratio}, {duration(event.seconds)}")


@narrate.register
def _(event: events.DataReady) -> Line:
    source = "from cache" if event.from_cache else f"in {duration(event.seconds)}"
    rejected = f", {event.rows_rejected:,} of {event.rows_read:,} rows rejected" if event.rows_rejected else ""
    text = f"{event.stage}: {event.documents:,} documents, {count(event.tokens)} tokens{rejected}, {source}"
    return Line(event.at, "data", text, "warning" if event.rows_rejected else "plain")


@narrate.register
def _(event: events.DataMixed) -> Line:
    parts = (f"{name} {share:.0%} ({event.epochs[name]:.2f} epochs)" for name, share in event.shares.items())
    return Line(event.at, "data", f"{event.stage}, up to step {event.step:,}: {', '.join(parts)}")


@narrate.register
def _(event: events.RowRejected) -> Line:
    return Line(event.at, "row", f"{event.file}:{event.line}: {event.reason}", "warning")


@narrate.register
def _(event: events.StageStarted) -> Line:
    at = f" at step {event.step:,}" if event.step else ""
    active = f", {count(event.active_parameters)} of them by token" if event.active_parameters else ""
    frozen = event.trained_parameters < event.parameters
    trained = f", {count(event.trained_parameters)} of LoRA's trained" if frozen else ""
    parameters = f"{count(event.parameters)} parameters{active}{trained}"
    return Line(event.at, "stage", f"{event.stage} starts{at}: {event.steps:,} steps, {parameters}")


@narrate.register
def _(event: events.StageSkipped) -> Line:
    return Line(event.at, "stage", f"{event.stage} stands: {event.reason}", "quiet")


@narrate.register
def _(event: events.StepFinished) -> Line:
    text = (
        f"{event.step:,}  loss {figure(event.loss)}  lr {rate(event.learning_rate)}"
        f"  norm {figure(event.grad_norm, 2)}  {count(event.tokens_per_second)} tok/s{preference_words(event.measures)}"
        f"{experts(event.expert_load)}"
    )
    return Line(event.at, "step", text, "quiet")


@narrate.register
def _(event: events.Validated) -> Line:
    best = "  best" if event.best else ""
    figures = (
        f"val {figure(event.val_loss)}  ppl {event.val_perplexity:.4g}  {figure(event.val_bits_per_byte)} bits/byte"
        f"{preference_words(event.measures, 'val_')}"
    )
    return Line(event.at, "evaluate", f"{event.step:,}  {figures}{best}", "good" if event.best else "plain")


@narrate.register
def _(event: events.EndedEarly) -> Line:
    text = f"{event.stage} ends at step {event.step:,} of {event.steps:,}: validation no longer improves"
    return Line(event.at, "stage", text, "good")


@narrate.register
def _(event: events.CheckpointSaved) -> Line:
    return Line(event.at, "save", f"step {event.step:,}  {size(event.size_bytes)} in {event.seconds:.1f} s")


@narrate.register
def _(event: events.LearningRateChanged) -> Line:
    return Line(event.at, "rate", f"peak learning rate is {rate(event.learning_rate)} from step {event.step:,}")


@narrate.register
def _(event: events.Paused) -> Line:
    return Line(event.at, "pause", f"waiting at step {event.step:,}", "warning")


@narrate.register
def _(event: events.Resumed) -> Line:
    return Line(event.at, "pause", f"going on from step {event.step:,}")


@narrate.register
def _(event: events.StageFinished) -> Line:
    text = f"{event.stage} done: {event.steps:,} steps, {count(event.tokens)} tokens in {duration(event.seconds)}"
    return Line(event.at, "stage", text, "good")


@narrate.register
def _(event: events.WeightsAdapted) -> Line:
    sizes = event.updates.values()
    spread = f"{min(sizes, default=0):.1%} to {max(sizes, default=0):.1%} of its matrix"
    return Line(event.at, "adapter", f"{event.stage}: {len(sizes)} layers, the update of each {spread}")


@narrate.register
def _(event: events.Scored) -> Line:
    scores = "  ".join(f"{name} {score(name, value)}" for name, value in event.scores.items())
    return Line(event.at, "score", f"{event.stage}: {scores}", "good")


@narrate.register
def _(event: events.Warned) -> Line:
    return Line(event.at, "warning", event.message, "warning")


@narrate.register
def _(event: events.Diagnosed) -> Line:
    tone: Tone = "plain" if event.severity == "note" else event.severity
    at = f"{event.stage}, step {event.step:,}: " if event.step else f"{event.stage}: "
    return Line(event.at, "diagnosis", f"{at}{event.cause}. Cure: {event.cure}", tone)


@narrate.register
def _(event: events.RunRolledBack) -> Line:
    text = f"{event.stage} goes back from step {event.from_step:,} to {event.step:,}"
    return Line(event.at, "back", f"{text}; what came after is in {event.aside}", "warning")


@narrate.register
def _(event: events.RunStopped) -> Line:
    where = f"at step {event.step:,} of {event.stage}, saved" if event.stage else "before its first step"
    return Line(event.at, "run", f"{event.run} stopped {where}", "warning")


@narrate.register
def _(event: events.RunFinished) -> Line:
    return Line(event.at, "run", f"{event.run} is done in {duration(event.seconds)}", "good")


@narrate.register
def _(event: events.RunFailed) -> Line:
    return Line(event.at, "run", f"{event.run} failed: {event.message}", "error")
