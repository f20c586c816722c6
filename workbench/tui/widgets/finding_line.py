"""One line that says that something is wrong with the stage; it is there only then."""

from textual.app import RenderResult
from textual.content import Content
from textual.widget import Widget

from workbench.events import Diagnosed
from workbench.language import mark, retell, tr
from workbench.tui.run_state import StageState
from workbench.tui.widgets.log_tail import SHAPES, TONES

NAMES = {
    "repeated_data": mark("repeated data"),
    "high_start": mark("high start"),
    "spike": mark("spike"),
    "learning_rate_high": mark("learning rate high"),
    "learning_rate_low": mark("learning rate low"),
    "overfitting": mark("overfitting"),
    "starved_experts": mark("starved experts"),
    "flat_preferences": mark("flat preferences"),
    "not_finite": mark("not finite"),
}
"""What the diagnosis finds, in words."""
SEVERITY_TONES = {"note": "plain", "warning": "warning", "error": "error"}


class FindingLine(Widget):
    """The newest finding of the diagnosis in one line."""

    DEFAULT_CSS = "FindingLine { height: 1; padding: 0 1; display: none; text-wrap: nowrap; text-overflow: ellipsis; }"

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self.findings: list[Diagnosed] = []

    def show(self, stage: StageState | None) -> None:
        """Draw what was found in `stage`, or go away."""
        findings = stage.findings if stage is not None else []
        if findings != self.findings:
            self.findings = list(findings)
            self.display = bool(findings)
            self.refresh()

    def render(self) -> RenderResult:
        """The finding, and the key that tells more."""
        if not self.findings:
            return ""
        newest, more = self.findings[-1], len(self.findings) - 1
        tone = SEVERITY_TONES[newest.severity]
        name = finding_name(newest)
        told = tr("{finding} and {count} more", finding=name, count=more) if more else name
        text = " ".join(retell(newest.cause).split())
        return Content.assemble(
            (f"{SHAPES.get(tone, '')}{told}", f"bold ${TONES[tone]}"),
            ("  d ", "bold $accent"),
            *(tr("explains"), "  "),
            (text, "$foreground 60%"),
        )

    def on_click(self) -> None:
        """Explain."""
        self.app.simulate_key("d")


def finding_name(finding: Diagnosed) -> str:
    """The kind of trouble, for people."""
    return tr(NAMES.get(finding.finding, finding.finding.replace("_", " ")))
