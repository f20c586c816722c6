"""Events as lines of a log, and numbers as short text for people."""

import time
from dataclasses import dataclass
from functools import singledispatch
from typing import Literal

from workbench import events
from workbench.cells import padded
from workbench.language import language, mark, retell, tr
from workbench.measures import MEASURES

Tone = Literal["plain", "good", "warning", "error", "quiet"]

NOW_SECONDS = 10.0
"""What is younger happened now."""
_NO_SHARES = ("loss", "val_", "perplexity", "bits_per_byte")  # measures that may lie between 0 and 1 by chance
_SHARES = ("val_reward_accuracy", "val_chosen_likelier", "val_agreement")  # for all that


@dataclass(frozen=True)
class Line:
    """One line of a run's log. `text` is data, never markup."""

    at: float
    what: str
    text: str
    tone: Tone = "plain"

    def __str__(self) -> str:
        return f"{time.strftime('%H:%M:%S', time.localtime(self.at))}  {padded(tr(self.what), 9)} {self.text}"


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
        return tr("{seconds} s", seconds=whole)
    if whole < 3600:
        return tr("{minutes} m {seconds:02} s", minutes=whole // 60, seconds=whole % 60)
    if whole < 86400:
        return tr("{hours} h {minutes:02} m", hours=whole // 3600, minutes=whole % 3600 // 60)
    return tr("{days} d {hours} h", days=whole // 86400, hours=whole % 86400 // 3600)


def ago(seconds: float) -> str:
    """How long since, in one unit: now, 40 s, 5 m, 2 h, 3 d."""
    if seconds < NOW_SECONDS:
        return tr("now")
    if seconds < 60:
        return tr("{seconds} s", seconds=int(seconds))
    if seconds < 3600:
        return tr("{minutes} m", minutes=int(seconds // 60))
    if seconds < 86400:
        return tr("{hours} h", hours=int(seconds // 3600))
    return tr("{days} d", days=int(seconds // 86400))


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
    return "  " + tr("experts {least:.0%} to {most:.0%}", least=min(shares), most=max(shares))


def preference_words(measures: dict[str, float], prefix: str = "") -> str:
    """Accuracy and margin of a preference stage, to stand behind other figures; nothing where there are none."""
    accuracy, margin = measures.get(f"{prefix}reward_accuracy"), measures.get(f"{prefix}reward_margin")
    if accuracy is None or margin is None:
        return ""
    return "  " + tr("pairs {accuracy:.1%}  margin {margin}", accuracy=accuracy, margin=figure(margin, 2))


def measure_name(measure: str) -> str:
    """A measure for people: `val_loss` is `val loss`."""
    name, dot, part = measure.replace("_", " ").partition(".")  # exact_match.en is that of one language
    return tr(MEASURES.get(measure.partition(".")[0], name)) + dot + part


def measure_label(measure: str) -> str:
    """A measure in a table of the command line: by its key in English, as in the files; by its name elsewhere."""
    return measure if language() == "en" else measure_name(measure)


def teacher_words(measures: dict[str, float], prefix: str = "") -> str:
    """How near a student is to its teacher, to stand behind other figures; nothing where there is no teacher."""
    kl, agreement = measures.get(f"{prefix}kl"), measures.get(f"{prefix}agreement")
    told = "" if kl is None or f"{prefix}reward_margin" in measures else "  " + tr("kl {kl}", kl=figure(kl))
    return told if agreement is None else f"{told}  " + tr("agreement {share:.1%}", share=agreement)


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
    told = {
        "run": event.run,
        "stages": ", ".join(event.stages),
        "device": event.device if event.ranks == 1 else f"{event.ranks} x {event.device}",
        "precision": event.precision,
    }
    if event.resumed:
        return Line(event.at, mark("run"), tr("{run} goes on: {stages} on {device} in {precision}", **told), "good")
    return Line(event.at, mark("run"), tr("{run} starts: {stages} on {device} in {precision}", **told), "good")


@narrate.register
def _(event: events.TokenizerReady) -> Line:
    parts = [event.kind, tr("{count:,} entries", count=event.vocab_size)]
    if event.bytes_per_token:
        parts.append(tr("{ratio:.2f} bytes by token", ratio=event.bytes_per_token))
    return Line(event.at, mark("tokenizer"), _listed([*parts, duration(event.seconds)]))


@narrate.register
def _(event: events.DataReady) -> Line:
    parts = [
        tr("{count:,} documents", count=event.documents),
        tr("{count} tokens", count=count(event.tokens)),
    ]
    if event.rows_rejected:
        parts.append(tr("{bad:,} of {rows:,} rows rejected", bad=event.rows_rejected, rows=event.rows_read))
    parts.append(tr("from cache") if event.from_cache else tr("in {time}", time=duration(event.seconds)))
    return Line(
        event.at, mark("data"), _said(event.stage, _listed(parts)), "warning" if event.rows_rejected else "plain"
    )


@narrate.register
def _(event: events.DataMixed) -> Line:
    parts = [
        tr("{data} {share:.0%} ({epochs:.2f} epochs)", data=name, share=share, epochs=event.epochs[name])
        for name, share in event.shares.items()
    ]
    place = tr("{stage}, up to step {step:,}", stage=event.stage, step=event.step)
    return Line(event.at, mark("data"), _said(place, _listed(parts)))


@narrate.register
def _(event: events.RowRejected) -> Line:
    return Line(event.at, mark("row"), f"{event.file}:{event.line}: {retell(event.reason)}", "warning")


@narrate.register
def _(event: events.StageStarted) -> Line:
    if event.step:
        begins = tr("{stage} starts at step {step:,}", stage=event.stage, step=event.step)
    else:
        begins = tr("{stage} starts", stage=event.stage)
    parts = [
        tr("{count:,} steps", count=event.steps),
        tr("{count} parameters", count=count(event.parameters)),
    ]
    if event.active_parameters:
        parts.append(tr("{count} of them by token", count=count(event.active_parameters)))
    if event.trained_parameters < event.parameters:
        parts.append(tr("{count} of LoRA's trained", count=count(event.trained_parameters)))
    return Line(event.at, mark("stage"), _said(begins, _listed(parts)))


@narrate.register
def _(event: events.StageSkipped) -> Line:
    return Line(
        event.at, mark("stage"), tr("{stage} stands: {reason}", stage=event.stage, reason=retell(event.reason)), "quiet"
    )


@narrate.register
def _(event: events.StepFinished) -> Line:
    text = tr(
        "{step:,}  loss {loss}  lr {rate}  norm {norm}  {speed} tok/s",
        step=event.step,
        loss=figure(event.loss),
        rate=rate(event.learning_rate),
        norm=figure(event.grad_norm, 2),
        speed=count(event.tokens_per_second),
    )
    told = preference_words(event.measures) + teacher_words(event.measures) + experts(event.expert_load)
    return Line(event.at, mark("step"), text + told, "quiet")


@narrate.register
def _(event: events.Validated) -> Line:
    best = f"  {tr('best')}" if event.best else ""
    figures = tr(
        "{step:,}  val {loss}  ppl {perplexity:.4g}  {bits} bits/byte",
        step=event.step,
        loss=figure(event.val_loss),
        perplexity=event.val_perplexity,
        bits=figure(event.val_bits_per_byte),
    )
    text = f"{figures}{preference_words(event.measures, 'val_')}{teacher_words(event.measures, 'val_')}{best}"
    return Line(event.at, mark("evaluate"), text, "good" if event.best else "plain")


@narrate.register
def _(event: events.EndedEarly) -> Line:
    text = tr(
        "{stage} ends at step {step:,} of {steps:,}: validation no longer improves",
        stage=event.stage,
        step=event.step,
        steps=event.steps,
    )
    return Line(event.at, mark("stage"), text, "good")


@narrate.register
def _(event: events.CheckpointSaved) -> Line:
    text = tr(
        "step {step:,}  {size} in {seconds:.1f} s", step=event.step, size=size(event.size_bytes), seconds=event.seconds
    )
    return Line(event.at, mark("save"), text)


@narrate.register
def _(event: events.LearningRateChanged) -> Line:
    text = tr("peak learning rate is {rate} from step {step:,}", rate=rate(event.learning_rate), step=event.step)
    return Line(event.at, mark("rate"), text)


@narrate.register
def _(event: events.Paused) -> Line:
    return Line(event.at, mark("pause"), tr("waiting at step {step:,}", step=event.step), "warning")


@narrate.register
def _(event: events.Resumed) -> Line:
    return Line(event.at, mark("pause"), tr("going on from step {step:,}", step=event.step))


@narrate.register
def _(event: events.StageFinished) -> Line:
    text = tr(
        "{stage} done: {steps:,} steps, {tokens} tokens in {time}",
        stage=event.stage,
        steps=event.steps,
        tokens=count(event.tokens),
        time=duration(event.seconds),
    )
    return Line(event.at, mark("stage"), text, "good")


@narrate.register
def _(event: events.TeacherReady) -> Line:
    told = {"stage": event.stage, "teacher": event.teacher, "count": count(event.parameters)}
    text = tr("{stage}: learns from {teacher}, {count} parameters", **told)
    if event.cache_bytes is not None:
        kept = {"k": event.top_k, "size": size(event.cache_bytes)}
        more = tr("the {k:,} likeliest tokens of each target will take {size} on the disk", **kept)
        if event.from_cache:
            more = tr("the {k:,} likeliest tokens of each target are on the disk, {size}", **kept)
        text += f"; {more}"
    return Line(event.at, mark("teacher"), text)


@narrate.register
def _(event: events.StudentCompared) -> Line:
    text = tr(
        "{stage}: {count} parameters write {speed} tok/s, the {others} of {teacher} {other_speed}",
        stage=event.stage,
        count=count(event.parameters),
        speed=count(event.tokens_per_second),
        others=count(event.teacher_parameters),
        teacher=event.teacher,
        other_speed=count(event.teacher_tokens_per_second),
    )
    return Line(event.at, mark("teacher"), text, "good")


@narrate.register
def _(event: events.AnswersWritten) -> Line | None:
    if not event.finished:
        return None
    text = tr(
        "{stage}: {rows:,} conversations, {tokens} tokens, {speed} tok/s; {empty:,} answers empty, {cut:,} cut",
        stage=event.stage,
        rows=event.rows,
        tokens=count(event.tokens),
        speed=count(event.tokens_per_second),
        empty=event.empty,
        cut=event.cut,
    )
    return Line(event.at, mark("write"), text, "warning" if event.empty or event.unusable else "good")


@narrate.register
def _(event: events.WeightsAdapted) -> Line:
    sizes = event.updates.values()
    text = tr(
        "{stage}: {layers} layers, the update of each {least:.1%} to {most:.1%} of its matrix",
        stage=event.stage,
        layers=len(sizes),
        least=min(sizes, default=0),
        most=max(sizes, default=0),
    )
    return Line(event.at, mark("adapter"), text)


@narrate.register
def _(event: events.Scored) -> Line:
    scores = "  ".join(f"{measure_label(name)} {score(name, value)}" for name, value in event.scores.items())
    return Line(event.at, mark("score"), _said(event.stage, scores), "good")


@narrate.register
def _(event: events.Warned) -> Line:
    return Line(event.at, mark("warning"), retell(event.message), "warning")


@narrate.register
def _(event: events.Diagnosed) -> Line:
    tone: Tone = "plain" if event.severity == "note" else event.severity
    place = tr("{stage}, step {step:,}", stage=event.stage, step=event.step) if event.step else event.stage
    told = tr("{cause}. Cure: {cure}", cause=retell(event.cause), cure=retell(event.cure))
    return Line(event.at, mark("diagnosis"), _said(place, told), tone)


@narrate.register
def _(event: events.RunRolledBack) -> Line:
    text = tr(
        "{stage} goes back from step {before:,} to {step:,}; what came after is in {aside}",
        stage=event.stage,
        before=event.from_step,
        step=event.step,
        aside=event.aside,
    )
    return Line(event.at, mark("back"), text, "warning")


@narrate.register
def _(event: events.RunStopped) -> Line:
    if event.stage:
        told = {"run": event.run, "step": event.step, "stage": event.stage}
        return Line(event.at, mark("run"), tr("{run} stopped at step {step:,} of {stage}, saved", **told), "warning")
    return Line(event.at, mark("run"), tr("{run} stopped before its first step", run=event.run), "warning")


@narrate.register
def _(event: events.RunFinished) -> Line:
    return Line(
        event.at, mark("run"), tr("{run} is done in {time}", run=event.run, time=duration(event.seconds)), "good"
    )


@narrate.register
def _(event: events.RunFailed) -> Line:
    text = tr("{run} failed: {reason}", run=event.run, reason=retell(event.message))
    return Line(event.at, mark("run"), text, "error")


def _said(place: str, words: str) -> str:
    """What is told of a stage, behind its name."""
    return tr("{place}: {words}", place=place, words=words)


def _listed(parts: list[str]) -> str:
    return tr(", ").join(parts)
