"""What a profile would take here: parameters, tokens, memory, disk and time, with the sums they come from."""

from collections.abc import Iterator, Mapping

from textual.content import Content

from workbench.baselines import with_baselines
from workbench.config import Profile, StageSettings
from workbench.estimate import PROGRAM_BYTES, Estimate
from workbench.language import mark, retell, tr, tr_many
from workbench.narration import count, duration, rate, size
from workbench.schedule import Schedule
from workbench.tui.widgets.figures import Figure, Figures
from workbench.tui.widgets.spark import levels

COURSE_CELLS = 12


class EstimatePane(Figures):
    """Figures of an estimate; `line` is the short form for a narrow terminal."""

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(mark("Estimate"), id=id)
        self.line = Content("")
        self.show([Figure("", tr("looking…"))])

    def show_estimate(self, estimate: Estimate | None, profile: Profile | None = None) -> None:
        """Show what it takes; None where the profile has problems.

        Args:
            profile: as it would run; says how the learning rate goes.
        """
        self.border_subtitle = ""
        if estimate is None:
            self.show([Figure("", tr("put the problems right first"))])
            self.line = Content(tr("no estimate: put the problems right first"))
            return
        stages = {stage.name: stage for stage in with_baselines(profile).stage} if profile is not None else {}
        self.show([*_parts(estimate), *_stages(estimate, stages), *_needs(estimate), *_verdict(estimate)])
        told = tr(
            "{parameters} params   {tokens} tok   ~{memory}   ~{time}",
            parameters=count(estimate.parameters.total),
            tokens=_tokens(estimate),
            memory=size(estimate.memory_bytes),
            time=_time(estimate),
        )
        fits = (f"{tr('does not fit')} ✗", "bold $error") if estimate.problems else (f"{tr('fits')} ✓", "$success")
        self.line = Content.assemble(f"{told}   ", fits)


def _parts(estimate: Estimate) -> list[Figure]:
    parts = estimate.parameters
    named = {
        tr("embeddings"): parts.embeddings,
        tr("attention"): parts.attention,
        tr("experts") if parts.inactive else tr("mlp"): parts.feed_forward,
        tr("head"): parts.head,
    }
    lines = [Figure(f"  {name}", count(number)) for name, number in named.items() if number]
    if parts.inactive:
        lines.append(Figure(f"  {tr('active')}", count(parts.active), note=tr("by token")))
    return [Figure(tr("parameters"), f"{parts.total:,}"), *lines]


def _needs(estimate: Estimate) -> list[Figure]:
    largest = max(estimate.stages, key=lambda stage: stage.memory_bytes)
    weights, trained, total = largest.training_bytes, largest.trained_parameters, estimate.parameters.total
    taught = largest.teacher_bytes
    activations = max(0, estimate.memory_bytes - PROGRAM_BYTES - weights - taught)
    each_bytes = tr("{bytes:.3g} B each", bytes=weights / total)
    note = each_bytes if trained == total else tr("{count} trained", count=count(trained))
    return [
        Figure(tr("memory"), f"~{size(estimate.memory_bytes)}", note=_of(estimate.memory_available_bytes)),
        Figure(f"  {tr('program')}", size(PROGRAM_BYTES)),
        Figure(f"  {tr('weights')}", size(weights), note=note),
        *([Figure(f"  {tr('teacher')}", size(taught))] if taught else []),
        Figure(f"  {tr('rows')}", size(activations)),
        Figure(tr("disk"), f"~{size(estimate.disk_bytes)}", note=_of(estimate.disk_free_bytes)),
        Figure(tr("time"), f"~{_time(estimate)}", note=tr("rough")),
    ]


def _stages(estimate: Estimate, settings: Mapping[str, StageSettings]) -> Iterator[Figure]:
    """How long each stage is, and the course of its learning rate."""
    for each in estimate.stages:
        yield _stage(each.stage, each.steps, each.tokens)
        stage = settings.get(each.stage)
        if stage is not None and stage.kind != "generate" and each.steps:
            yield Figure(f"  {tr('rate')}", _course(stage, each.steps), note=rate(stage.learning_rate))


def _course(stage: StageSettings, steps: int) -> str:
    """The learning rate from the first step to the last, as shares of its peak."""
    ratio, decay = stage.min_learning_rate_ratio, stage.decay_fraction
    course = Schedule(stage.schedule, stage.learning_rate, stage.warmup, steps, ratio, decay)
    places = (round(cell * (steps - 1) / (COURSE_CELLS - 1)) for cell in range(COURSE_CELLS))
    return levels([course.learning_rate(place) / stage.learning_rate for place in places], COURSE_CELLS)


def _of(available: float) -> str:
    return tr("of {size}", size=size(available))


def _stage(name: str, steps: int | None, tokens: int | None) -> Figure:
    if steps is None or tokens is None:
        return Figure(name[:12], tr("length known with its data"))
    told = tr_many("{count} step", "{count:,} steps", steps)
    return Figure(name[:12], told, note=tr("{count} tok", count=count(tokens)))


def _verdict(estimate: Estimate) -> list[Figure]:
    if not estimate.problems:
        return [Figure(tr("fits here"), "✓")]
    return [Figure(tr("does not fit"), "✗"), *(Figure("", retell(problem)) for problem in estimate.problems)]


def _tokens(estimate: Estimate) -> str:
    known = [stage.tokens for stage in estimate.stages if stage.tokens is not None]
    return count(sum(known)) if len(known) == len(estimate.stages) else f"{count(sum(known))}+"


def _time(estimate: Estimate) -> str:
    return duration(estimate.seconds) if estimate.seconds is not None else "?"
