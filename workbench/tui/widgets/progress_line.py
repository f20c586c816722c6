"""One line that says how far the work is: a bar, a share, and the figures that matter most."""

import time

from rich.cells import cell_len
from textual.app import RenderResult
from textual.content import Content
from textual.widget import Widget

from workbench.language import retell, tr
from workbench.narration import ago, count, duration, figure
from workbench.tui.run_state import RunState, StageState
from workbench.tui.widgets.spark import bar
from workbench.tui.widgets.top_bar import SHAPES, status_words

SILENCE_SECONDS = 30.0  # after which it is said that nothing was heard


class ProgressLine(Widget):
    """The progress of the stage at work, or of the task before it."""

    DEFAULT_CSS = "ProgressLine { height: 1; padding: 0 1; text-wrap: nowrap; text-overflow: ellipsis; }"

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self.state: RunState | None = None
        self.stage: StageState | None = None

    def show(self, state: RunState | None, stage: StageState | None) -> None:
        """Draw the progress of `stage` in this run."""
        self.state, self.stage = state, stage
        self.refresh()

    def render(self) -> RenderResult:
        """The bar, then words; words go missing from the right where there is no room."""
        if self.state is None:
            return ""
        share, words = self._progress(self.state)
        width = self.content_size.width
        bar_width = max(10, min(30, width // 4))
        shape, colour = SHAPES[self.state.status]
        parts: list[tuple[str, str]] = []
        if share is not None:
            parts += [(bar(share, bar_width), "$primary on $panel"), (f" {share:4.0%}  ", "bold")]
        parts.append((f"{shape} {status_words(self.state)}", f"${colour}"))
        room = width - sum(cell_len(part) for part, _ in parts)
        for word in words:
            room -= cell_len(word) + 3
            if room < 0:
                break
            parts.append((f"   {word}", "$foreground"))
        return Content.assemble(*parts)

    def _progress(self, state: RunState) -> tuple[float | None, list[str]]:
        task = state.task
        if task is not None and state.live:
            done = f"{count(task.done)}/{count(task.total)}" if task.total else count(task.done)
            words = [retell(task.task), f"{done} {retell(task.unit)}"]
            return (task.done / task.total if task.total else None), words
        stage = self.stage
        if stage is None or not stage.steps:
            return None, []
        latest = stage.latest
        words = [f"{stage.name} {stage.step:,}/{stage.steps:,}"]
        if latest is not None:
            left = [f"{tr('eta')} {duration(latest.eta_seconds)}"] if state.live and not stage.done else []
            words += [*left, f"{tr('loss')} {figure(latest.loss)}", f"{tr('elapsed')} {duration(latest.seconds)}"]
        silence = time.time() - state.heard_at
        if state.status == "running" and silence > SILENCE_SECONDS:
            words.insert(1, tr("no news for {time}", time=ago(silence)))
        return stage.step / stage.steps, words
