"""What a profile would take here: parameters, tokens, memory, disk and time, with the sums they come from."""

from textual.content import Content

from workbench.estimate import PROGRAM_BYTES, Estimate
from workbench.narration import count, duration, size
from workbench.tui.widgets.figures import Figure, Figures


class EstimatePane(Figures):
    """Figures of an estimate; `line` is the short form for a narrow terminal."""

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002
        super().__init__("Estimate", id=id)
        self.line = Content("")
        self.show([Figure("", "looking…")])

    def show_estimate(self, estimate: Estimate | None) -> None:
        """Show what it takes; None where the profile has problems."""
        self.border_subtitle = ""
        if estimate is None:
            self.show([Figure("", "put the problems right first")])
            self.line = Content("no estimate: put the problems right first")
            return
        self.show([*_parts(estimate), *_needs(estimate), *_verdict(estimate)])
        fits = ("does not fit ✗", "bold $error") if estimate.problems else ("fits ✓", "$success")
        self.line = Content.assemble(
            f"{count(estimate.parameters.total)} params   {_tokens(estimate)} tok   ~{size(estimate.memory_bytes)}"
            f"   ~{_time(estimate)}   ",
            fits,
        )


def _parts(estimate: Estimate) -> list[Figure]:
    parts = estimate.parameters
    named = {
        "embeddings": parts.embeddings,
        "attention": parts.attention,
        "experts" if parts.inactive else "mlp": parts.feed_forward,
        "head": parts.head,
    }
    lines = [Figure(f"  {name}", count(number)) for name, number in named.items() if number]
    if parts.inactive:
        lines.append(Figure("  active", count(parts.active), note="by token"))
    return [Figure("parameters", f"{parts.total:,}"), *lines]


def _needs(estimate: Estimate) -> list[Figure]:
    largest = max(estimate.stages, key=lambda stage: stage.memory_bytes)
    weights, trained, total = largest.training_bytes, largest.trained_parameters, estimate.parameters.total
    taught = largest.teacher_bytes
    activations = max(0, estimate.memory_bytes - PROGRAM_BYTES - weights - taught)
    note = f"{weights / total:.3g} B each" if trained == total else f"{count(trained)} trained"
    return [
        *(_stage(each.stage, each.steps, each.tokens) for each in estimate.stages),
        Figure("memory", f"~{size(estimate.memory_bytes)}", note=f"of {size(estimate.memory_available_bytes)}"),
        Figure("  program", size(PROGRAM_BYTES)),
        Figure("  weights", size(weights), note=note),
        *([Figure("  teacher", size(taught))] if taught else []),
        Figure("  rows", size(activations)),
        Figure("disk", f"~{size(estimate.disk_bytes)}", note=f"of {size(estimate.disk_free_bytes)}"),
        Figure("time", f"~{_time(estimate)}", note="rough"),
    ]


def _stage(name: str, steps: int | None, tokens: int | None) -> Figure:
    if steps is None or tokens is None:
        return Figure(name[:12], "length known with its data")
    return Figure(name[:12], f"{steps:,} steps", note=f"{count(tokens)} tok")


def _verdict(estimate: Estimate) -> list[Figure]:
    if not estimate.problems:
        return [Figure("fits here", "✓")]
    return [Figure("does not fit", "✗"), *(Figure("", problem) for problem in estimate.problems)]


def _tokens(estimate: Estimate) -> str:
    known = [stage.tokens for stage in estimate.stages if stage.tokens is not None]
    return count(sum(known)) if len(known) == len(estimate.stages) else f"{count(sum(known))}+"


def _time(estimate: Estimate) -> str:
    return duration(estimate.seconds) if estimate.seconds is not None else "?"
