"""What a run came to, for stdout: measures before and after each stage, samples, and how to talk to the model."""

import contextlib
import shlex
from pathlib import Path

from workbench.cli.arguments import DEFAULT_WORKSPACE
from workbench.cli.terminal import printable, table
from workbench.errors import RunError
from workbench.events import AnswersWritten, Event, RunFinished, RunStarted, SampleMade, StageFinished
from workbench.language import tr
from workbench.narration import count, duration, measure_label, score
from workbench.runs.store import RunDirectory


class Summary:
    """Collects what is worth keeping of a run's events: `emitter.subscribe(summary)`, and `show` at the end."""

    def __init__(self) -> None:
        self._directory: Path | None = None
        self._stages: list[StageFinished | AnswersWritten] = []
        self._samples: dict[str, list[SampleMade]] = {}
        self._finished: RunFinished | None = None

    def __call__(self, event: Event) -> None:
        """Keep `event` if it belongs to the summary."""
        if isinstance(event, RunStarted):
            self._directory = Path(event.directory)
        elif isinstance(event, SampleMade):
            earlier = self._samples.get(event.stage, [])
            self._samples[event.stage] = [*(each for each in earlier if each.step == event.step), event]
        elif isinstance(event, StageFinished) or (isinstance(event, AnswersWritten) and event.finished):
            self._stages.append(event)
        elif isinstance(event, RunFinished):
            self._finished = event

    def text(self, workspace: Path) -> str:
        """What was collected, for people; empty where neither a stage nor the run came to its end."""
        parts = [_written(stage) if isinstance(stage, AnswersWritten) else self._stage(stage) for stage in self._stages]
        if self._finished is not None and self._directory is not None:
            parts.append(_end(self._finished, self._directory, workspace))
        return "\n\n".join(parts)

    def _stage(self, stage: StageFinished) -> str:
        heading = tr(
            "{stage}: {steps:,} steps, {tokens} tokens in {time}, {speed} tok/s",
            stage=stage.stage,
            steps=stage.steps,
            tokens=count(stage.tokens),
            time=duration(stage.seconds),
            speed=count(stage.tokens_per_second),
        )
        names = [*stage.before, *(name for name in stage.after if name not in stage.before)]
        rows = [("", tr("before"), tr("after"))] if names else []
        before, after = stage.before, stage.after
        for name in names:
            rows.append((f"  {measure_label(name)}", score(name, before.get(name)), score(name, after.get(name))))
        samples = [
            f"  {printable(each.prompt)} → {_indented(each.text)}" for each in self._samples.get(stage.stage, [])
        ]
        return "\n".join([heading, *([table(rows, right=(1, 2))] if rows else []), *samples])


def run_argument(directory: Path, workspace: Path) -> str:
    """How a command line names the run: its name where runs are looked for anyway, its path elsewhere."""
    usual = workspace.resolve() == Path(DEFAULT_WORKSPACE).resolve()
    return shlex.quote(directory.name if usual else str(directory))


def go_on_hint(directory: Path, workspace: Path) -> str:
    """The command that goes on with a stopped run."""
    return f"llm-workbench resume {run_argument(directory, workspace)}"


def _written(stage: AnswersWritten) -> str:
    """What a generate stage wrote, with a few answers."""
    heading = tr(
        "{stage}: {rows:,} conversations from {prompts:,} prompts, {tokens} tokens in {time}, {speed} tok/s",
        stage=stage.stage,
        rows=stage.rows,
        prompts=stage.prompts,
        tokens=count(stage.tokens),
        time=duration(stage.seconds),
        speed=count(stage.tokens_per_second),
    )
    odd = {tr("empty, left out"): stage.empty, tr("cut"): stage.cut, tr("prompts unusable"): stage.unusable}
    rows = [(f"  {name}", f"{value:,}") for name, value in odd.items() if value]
    rows.append((f"  {tr('file')}", stage.path))
    samples = [f"  {printable(prompt)} → {_indented(answer)}" for prompt, answer in stage.samples]
    return "\n".join([heading, table(rows), *samples])


def _end(finished: RunFinished, directory: Path, workspace: Path) -> str:
    rows = [(measure_label(name), score(name, value)) for name, value in finished.scores.items()]
    rows += [(tr("time"), duration(finished.seconds)), (tr("report"), finished.report)]
    with contextlib.suppress(RunError):  # a run that only writes has no model of its own
        rows.append((tr("model"), str(RunDirectory(directory).model_directory())))
        rows.append((tr("chat"), f"llm-workbench chat {run_argument(directory, workspace)}"))
    return table(rows)


def _indented(text: str) -> str:
    return printable(text).replace("\n", "\n    ")
