"""What the model said to the fixed prompts, step by step."""

from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Static

from workbench.events import SampleMade
from workbench.language import tr
from workbench.tui.run_state import StageState
from workbench.tui.widgets.conversation import printable


class SamplePane(VerticalScroll):
    """One sample at a time; shows the newest until somebody looks at an older one."""

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id, classes="pane")
        self.border_title = tr("Sample")
        self.border_subtitle = tr("g sample now")
        self.stage: StageState | None = None
        self._chosen: SampleMade | None = None
        self._drawn: tuple[SampleMade | None, int] | None = None

    def compose(self) -> ComposeResult:
        """The text."""
        yield Static(markup=False)

    def show(self, stage: StageState | None) -> None:
        """Show this stage's samples."""
        if stage is not self.stage:
            self.stage, self._chosen = stage, None
        self._draw()

    def speak_again(self) -> None:
        """Title and hints in another language."""
        self._drawn = None
        self._draw()

    def browse(self, step: int) -> None:
        """Go `step` samples on, or back where it is negative; the newest is followed again once reached."""
        samples = list(self.stage.samples) if self.stage else []
        if not samples:
            return
        index = samples.index(self._chosen) if self._chosen in samples else len(samples) - 1
        index = max(0, min(len(samples) - 1, index + step))
        self._chosen = samples[index] if index < len(samples) - 1 else None
        self._draw()

    @property
    def current(self) -> SampleMade | None:
        """The sample on the screen."""
        samples = self.stage.samples if self.stage else None
        if not samples:
            return None
        return self._chosen if self._chosen in samples else samples[-1]

    def _draw(self) -> None:
        sample = self.current
        count = len(self.stage.samples) if self.stage else 0
        if self._drawn == (sample, count):
            return
        self._drawn = (sample, count)
        body = self.query_one_optional(Static)
        if body is None:
            return
        if sample is None or self.stage is None:
            self.border_title, self.border_subtitle = tr("Sample"), tr("g sample now")
            body.update(Content.assemble((tr("The model has not spoken yet."), "$foreground 60% italic")))
            return
        place = list(self.stage.samples).index(sample) + 1
        self.border_title = tr("Sample @ {step:,}", step=sample.step)
        self.border_subtitle = tr("{place}/{count}  , . older newer", place=place, count=count)
        body.update(self._text(sample))
        self.scroll_home(animate=False)

    def _text(self, sample: SampleMade) -> Content:
        """The prompt in its own colour, then what the model said; a story goes on in the same line, a chat below."""
        gap = "\n\n" if self.stage is not None and self.stage.kind != "pretrain" else ""
        return Content.assemble((printable(sample.prompt), "$primary"), gap, printable(sample.text))
