"""Is this normal? What to expect of the stage, what the engine finds wrong with it, and what helps."""

import math
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.widgets import Static

from workbench.events import Diagnosed
from workbench.language import retell, tr
from workbench.narration import count, figure
from workbench.runs.reference import ReferenceStage
from workbench.tui.modals.base import WorkbenchModal
from workbench.tui.run_state import StageState
from workbench.tui.widgets.finding_line import SEVERITY_TONES, finding_name
from workbench.tui.widgets.log_tail import SHAPES, TONES


class DiagnosisModal(WorkbenchModal[bool]):
    """Every finding with cause and cure; True asks to go back to an earlier checkpoint."""

    topics = ("diagnosis", "first_loss", "loss", "reference", "grad_norm")
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("b", "back", "Go back", id="diagnosis.back"),
        Binding("y", "copy", "Copy", id="diagnosis.copy"),
        Binding("d,q,enter", "close", "Close", show=False),
    ]

    def __init__(self, stage: StageState, reference: ReferenceStage | None = None) -> None:
        super().__init__()
        self.stage, self.reference = stage, reference

    def compose(self) -> ComposeResult:
        """What to expect, then the findings, the newest first."""
        with Vertical(classes="box -diagnosis") as box:
            box.border_title = tr("Is {stage} normal?", stage=self.stage.name).replace("[", r"\[")
            box.border_subtitle = tr("b go back to a checkpoint   y copy   esc close")
            with VerticalScroll():
                yield Static("\n".join(self._expected()), markup=False)
                for finding in reversed(self.stage.findings):
                    yield Static(_drawn(finding), classes="finding")
                if not self.stage.findings:
                    yield Static(tr("Nothing wrong was found so far."), classes="finding", markup=False)

    def action_back(self) -> None:
        """Ask for an earlier checkpoint."""
        self.dismiss(True)

    def action_close(self) -> None:
        """Close."""
        self.dismiss(False)

    def action_copy(self) -> None:
        """Copy everything as text."""
        told = [
            f"{finding_head(each)}: {retell(each.cause)}\n{tr('Cure')}: {retell(each.cure)}"
            for each in self.stage.findings
        ]
        self.app.copy_to_clipboard("\n\n".join(["\n".join(self._expected()), *told]))
        self.notify(tr("Copied"), timeout=2)

    def _expected(self) -> list[str]:
        """What the figures should be, and how they stand against the reference runs."""
        losses = [point for line in self.stage.train_loss.lines() for point in line]
        standing = self.reference.standing(losses) if self.reference is not None else []
        return [*expectations(self.stage), *(tr(sentence, **values) for sentence, values in standing)]


def expectations(stage: StageState) -> list[str]:
    """What the figures of a stage should be, beside what they are."""
    lines = []
    first = next((point[1] for line in stage.train_loss.lines() for point in line), None)
    if stage.vocab_size > 1 and stage.kind in ("pretrain", "sft"):
        guess = math.log(stage.vocab_size)
        lines.append(
            tr(
                "A blind guess among {tokens:,} tokens costs ln({tokens:,}) = {guess:.2f} nats; "
                "this stage began at {first}.",
                tokens=stage.vocab_size,
                guess=guess,
                first=figure(first),
            )
        )
    elif stage.kind == "dpo":
        lines.append(
            tr(
                "A model that prefers nothing yet has a loss of ln 2 = 0.693; this stage began at {first}.",
                first=figure(first),
            )
        )
    if stage.latest is not None:
        now, best, step = stage.latest.loss, stage.best_val_loss, stage.best_val_step
        among = math.exp(now) if now < 50 else math.inf
        told = {"loss": figure(now), "among": f"{among:,.1f}" if among < 1000 else count(among)}
        if step:
            lines.append(
                tr(
                    "It is now at {loss}, validation {best} at best, at step {step:,}: "
                    "as unsure as among {among} equally likely tokens.",
                    best=figure(best),
                    step=step,
                    **told,
                )
            )
        else:
            lines.append(tr("It is now at {loss}: as unsure as among {among} equally likely tokens.", **told))
    return lines or [tr("No step was taken yet.")]


def _drawn(finding: Diagnosed) -> Content:
    tone = SEVERITY_TONES[finding.severity]
    return Content.assemble(
        (f"{SHAPES.get(tone, '')}{finding_head(finding)}", f"bold ${TONES[tone]}"),
        *("\n", retell(finding.cause), "\n"),
        (f"{tr('Cure')}  ", "bold"),
        (retell(finding.cure), "$success"),
    )


def finding_head(finding: Diagnosed) -> str:
    """What kind of trouble it is, and when it was seen."""
    return tr("{finding}, step {step:,}", finding=finding_name(finding), step=finding.step)
