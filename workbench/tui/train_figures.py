"""What the Train screen shows of a stage: curves, and figures beside them."""

from pathlib import Path

import psutil

from workbench.events import AnswersWritten, StepFinished
from workbench.language import tr
from workbench.narration import count, duration, figure, measure_name, rate, score, size
from workbench.runs.reference import ReferenceStage
from workbench.tui.run_state import RunState, StageState
from workbench.tui.series import Series
from workbench.tui.widgets.figures import Figure
from workbench.tui.widgets.line_chart import Shown
from workbench.tui.widgets.spark import bar, levels, spark

PAGES = ("loss", "rate", "norm", "speed")
EXPERTS_SHOWN = 32  # of a layer


def curves(stage: StageState | None, reference: ReferenceStage | None = None) -> dict[str, list[Shown]]:
    """What each chart shows."""
    if stage is None:
        return {page: [] for page in PAGES}
    train = Shown(tr("train"), stage.train_loss, "primary", figure(stage.train_loss.last), smooth=True)
    mark = None if stage.best_val_step is None else (stage.best_val_step, stage.best_val_loss or 0.0)
    validation = Shown(tr("val"), stage.val_loss, "accent", figure(stage.val_loss.last), mark=mark)
    return {
        "loss": [*_expected(reference), train, *([validation] if stage.val_loss else [])],
        "rate": [Shown("", stage.learning_rate, "primary", rate(stage.learning_rate.last))],
        "norm": [Shown("", stage.grad_norm, "primary", figure(stage.grad_norm.last, 2), smooth=True)],
        "speed": [Shown("", stage.tokens_per_second, "primary", _count(stage.tokens_per_second.last), smooth=True)],
    }


def _expected(reference: ReferenceStage | None) -> list[Shown]:
    """The mean of the reference runs, behind the run's own curves."""
    if reference is None:
        return []
    series = Series(limit=None)
    for step, loss in reference.curve():
        series.append(step, loss)
    return [Shown(tr("reference"), series, "foreground", background=True)]


def _count(value: float | None) -> str:
    return "-" if value is None else count(value)


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.1%}"


def _memory(used: int, device: str, drawn: bool) -> Figure:
    """What the run holds: on a GPU its tensors there, else the whole program, as part of what this machine has.

    Args:
        drawn: as a bar, not in words.
    """
    if device.startswith("cuda"):  # how much that GPU has is not told, and it may be of another machine
        return Figure(tr("GPU memory") if drawn else "", size(used) if drawn else f"{tr('GPU memory')} {size(used)}")
    total = psutil.virtual_memory().total
    if drawn:
        return Figure(tr("program"), size(used), bar(used / total, 10), "secondary")
    return Figure("", f"{tr('program')} {tr('{part} of {whole}', part=size(used), whole=size(total))}")


def _busy(latest: StepFinished) -> str:
    """How much of its time the device works; nothing where that is not known."""
    return "" if latest.utilisation is None else tr("device {share:.0%} busy", share=latest.utilisation)


def now(stage: StageState | None, device: str) -> list[Figure]:
    """Everything in three lines, where there is room for one pane only."""
    latest = stage.latest if stage is not None else None
    if stage is not None and stage.written is not None:
        written = stage.written
        speed = f"{count(written.tokens_per_second)} {tr('tok/s')}"
        told = tr("{count} tokens", count=count(written.tokens))
        return [Figure("", tr("{rows:,} conversations", rows=written.rows)), Figure("", f"{told}  {speed}")]
    if latest is None:
        return [Figure("", tr("waiting for the first step"))]
    return [
        Figure("", tr("loss {loss}  lr {rate}", loss=figure(latest.loss), rate=rate(latest.learning_rate))),
        Figure(
            "",
            f"{count(latest.tokens_per_second)} {tr('tok/s')}  MFU {_percent(latest.mfu)}  "
            f"{tr('norm {norm}', norm=figure(latest.grad_norm, 2))}",
        ),
        _memory(latest.memory_bytes, device, drawn=False),
    ]


def throughput(stage: StageState | None, live: bool, device: str) -> list[Figure]:
    """How fast it goes, and what that takes."""
    latest = stage.latest if stage is not None else None
    if stage is not None and stage.written is not None:
        return _written(stage.written)
    if stage is None or latest is None:
        return [Figure("", tr("waiting for the first step"))]
    per_step = stage.tokens_per_step / latest.tokens_per_second if latest.tokens_per_second else None
    return [
        Figure(tr("tokens/s"), f"{latest.tokens_per_second:,.0f}", spark(stage.tokens_per_second.means()[-64:], 10)),
        Figure("MFU", _percent(latest.mfu), note=_busy(latest)),
        Figure(tr("step"), f"{per_step * 1000:,.0f} ms" if per_step else "-"),
        Figure(tr("seen"), tr("{count} tokens", count=count(latest.tokens))),
        _memory(latest.memory_bytes, device, drawn=True),
        *([Figure(tr("eta"), duration(latest.eta_seconds))] if live and not stage.done else []),
    ]


def _written(written: AnswersWritten) -> list[Figure]:
    """What a generate stage has written so far."""
    return [
        Figure(tr("tokens/s"), f"{written.tokens_per_second:,.0f}"),
        Figure(tr("prompts"), tr("{part} of {whole}", part=f"{written.prompts:,}", whole=f"{written.total:,}")),
        Figure(tr("written"), f"{written.rows:,}", note=tr("{count} tokens", count=count(written.tokens))),
        Figure(tr("empty"), f"{written.empty:,}"),
        Figure(tr("cut off"), f"{written.cut:,}"),
    ]


def _beside_teacher(stage: StageState) -> list[Figure]:
    """How near a student is to its teacher."""
    if stage.teacher is None:
        return []
    kl, agreement = stage.measures.get("kl", stage.measures.get("val_kl")), stage.measures.get("val_agreement")
    return [
        Figure(tr("teacher"), count(stage.teacher.parameters), note=Path(stage.teacher.teacher).name),
        Figure("KL", figure(kl)),
        Figure(tr("agreement"), _percent(agreement)),
    ]


def _experts(stage: StageState) -> list[Figure]:
    """How evenly a mixture's experts are busy: a line a layer, a block an expert; full is twice its share."""
    load = stage.latest.expert_load if stage.latest is not None else None
    if not load:
        return []
    shares = [share for layer in load for share in layer]
    lines = [Figure(tr("experts"), f"{min(shares):.0%} - {max(shares):.0%}")]
    for number, layer in enumerate(load):
        drawn = levels([share * len(layer) / 2 for share in layer], len(layer))
        lines.append(Figure(tr("layer {layer}", layer=number), drawn[:EXPERTS_SHOWN]))
    return lines


def _trained_by_lora(stage: StageState) -> list[Figure]:
    if stage.trained_parameters >= stage.parameters:
        return []
    share = f"{stage.trained_parameters / stage.parameters:.1%}"
    return [Figure(tr("trained"), _count(stage.trained_parameters), note=f"LoRA {share}")]


def model_figures(state: RunState, stage: StageState | None) -> list[Figure]:
    """What is trained on what, and how far it is."""
    figures = [Figure(tr("device"), f"{state.device or '-'} {state.precision}")]
    if stage is None:
        return figures
    stages = list(state.planned or state.stages)
    number = stages.index(stage.name) + 1 if stage.name in stages else 0
    place = tr("{part} of {whole}", part=number, whole=len(stages)) if number else ""
    best = f"{figure(stage.best_val_loss)} @ {stage.best_val_step:,}" if stage.best_val_step is not None else "-"
    return [
        *figures,
        Figure(tr("stage"), f"{stage.name} {place}".strip()),
        Figure(tr("params"), _count(stage.parameters or None)),
        *_trained_by_lora(stage),
        *_beside_teacher(stage),
        *_experts(stage),
        Figure(tr("vocabulary"), f"{stage.vocab_size:,}" if stage.vocab_size else "-"),
        Figure(tr("best val"), best),
        *(Figure(measure_name(name), score(name, value)) for name, value in stage.scores.items()),
    ]
