"""What a report tells of stages in which one model learns from another."""

import math
from typing import Any

from workbench.config import BASELINE_SUFFIX
from workbench.evaluation.markdown import escaped, fenced, table
from workbench.evaluation.run_facts import Record, RunFacts, StageFacts
from workbench.language import mark, tr
from workbench.narration import count, score

_MEASURES = ("val_perplexity", "val_bits_per_byte", "val_kl", "val_agreement")
_HEAD = (
    *("", mark("parameters"), mark("tokens/s written"), mark("perplexity"), mark("bits per byte")),
    *(mark("divergence, nats"), mark("agrees with teacher")),
)


def distillation_words(settings: Record, stage: StageFacts) -> list[str]:
    """How a stage learned from its teacher, from what its settings say."""
    distill = settings.get("distill")
    if not isinstance(distill, dict) or "alpha" not in distill:
        return []
    teacher = escaped(settings.get("teacher", ""))
    if stage.name.endswith(BASELINE_SUFFIX) and stage.name != settings.get("name"):
        return [tr("without its teacher {teacher}, which only measures it", teacher=teacher)]
    settings_of = {"direction": escaped(distill.get("direction")), "temperature": escaped(distill.get("temperature"))}
    told = tr(
        "{direction} divergence from {teacher}, temperature {temperature}, alpha {alpha}",
        **settings_of,
        teacher=teacher,
        alpha=escaped(distill["alpha"]),
    )
    kept = distill.get("cache_top_k")
    return [told + (tr(", its {count} likeliest tokens kept", count=kept) if kept else "")]


def sampling_words(settings: Record) -> str:
    """How answers were drawn, in one paragraph."""
    sampling = settings.get("generate")
    if not isinstance(sampling, dict):
        return ""
    told = [tr("temperature {value}", value=sampling.get("temperature"))]
    told += [f"{key} {sampling[key]}" for key in ("top_k", "top_p", "min_p") if sampling.get(key) not in (None, 0, 1)]
    if sampling.get("samples", 1) != 1:
        told.append(tr("{count} answers a prompt", count=sampling.get("samples")))
    told.append(tr("at most {count} tokens each", count=sampling.get("max_new_tokens")))
    return tr("{sentence}.", sentence=escaped(tr(", ").join(told)))


def teacher_table(stage: StageFacts, facts: RunFacts) -> str:
    """Teacher and student side by side, and the same student without a teacher; empty for other stages."""
    if stage.teacher is None or is_baseline(stage, facts):
        return ""
    compared = stage.compared
    speeds = {} if compared is None else {"teacher": compared.teacher_tokens_per_second, "": compared.tokens_per_second}
    own = {"val_kl": 0.0, "val_agreement": 1.0, **_teacher_measures(stage)}
    student, teacher = escaped(stage.name), tr("teacher, {name}", name=escaped(stage.teacher.teacher))
    rows = [
        _row(teacher, stage.teacher.parameters, speeds.get("teacher"), own),
        _row(tr("student, {name}, before", name=student), stage.parameters, None, stage.before),
        _row(tr("student, {name}, after", name=student), stage.parameters, speeds.get(""), stage.after),
    ]
    if (alone := baseline_of(stage, facts)) is not None:
        rows.append(_row(tr("the same student without a teacher"), alone.parameters, None, alone.after))
    told = tr("Teacher and student, on held-out data:")
    return f"{told}\n\n{table([tr(name) for name in _HEAD], rows, numbers_from=1)}"


def written_part(stage: StageFacts) -> str:
    """What a generate stage wrote; empty for other stages."""
    written = stage.written
    if written is None:
        return ""
    rows = [
        (tr("Prompts"), tr("{part} of {whole}", part=f"{written.prompts:,}", whole=f"{written.total:,}")),
        (tr("Conversations"), f"{written.rows:,}"),
        (tr("Tokens of answers"), f"{written.tokens:,}"),
        (tr("Tokens by second"), f"{written.tokens_per_second:,.0f}"),
        (tr("Empty answers, left out"), f"{written.empty:,}"),
        (tr("Answers cut at their longest"), f"{written.cut:,}"),
        (tr("Prompts that could not be used"), f"{written.unusable:,}"),
        (tr("File"), escaped(written.path)),
    ]
    shown = "\n\n".join(f"{prompt}\n→ {answer}" for prompt, answer in written.samples)
    parts = [table(("", ""), rows), f"### {tr('Some answers')}\n\n{fenced(shown)}" if shown else ""]
    return "\n\n".join(part for part in parts if part)


def teaching_data(stage: StageFacts, facts: RunFacts) -> dict[str, Any]:
    """The same for report.json; nothing for other stages."""
    if (written := stage.written) is not None:
        keys = ("prompts", "rows", "tokens", "empty", "cut", "unusable", "seconds", "tokens_per_second", "path")
        return {"written": {key: getattr(written, key) for key in keys}}
    if stage.teacher is None or is_baseline(stage, facts):
        return {}
    alone, compared = baseline_of(stage, facts), stage.compared
    return {
        "distillation": {
            "teacher": stage.teacher.teacher,
            "teacher_parameters": stage.teacher.parameters,
            "parameters": stage.parameters,
            "teacher_tokens_per_second": None if compared is None else compared.teacher_tokens_per_second,
            "tokens_per_second": None if compared is None else compared.tokens_per_second,
            "kl": stage.after.get("val_kl"),
            "agreement": stage.after.get("val_agreement"),
            "teacher_perplexity": _teacher_measures(stage).get("val_perplexity"),
            "perplexity": stage.after.get("val_perplexity"),
            "without_teacher": None
            if alone is None
            else {
                "stage": alone.name,
                "kl": alone.after.get("val_kl"),
                "agreement": alone.after.get("val_agreement"),
                "perplexity": alone.after.get("val_perplexity"),
            },
        }
    }


def baseline_of(stage: StageFacts, facts: RunFacts) -> StageFacts | None:
    """The same student trained without a teacher, where the profile asked for it."""
    return facts.stages.get(f"{stage.name}{BASELINE_SUFFIX}")


def is_baseline(stage: StageFacts, facts: RunFacts) -> bool:
    """Whether the stage is there to be compared with."""
    return stage.name.endswith(BASELINE_SUFFIX) and stage.name.removesuffix(BASELINE_SUFFIX) in facts.stages


def _teacher_measures(stage: StageFacts) -> dict[str, float]:
    """The teacher's own perplexity and bits per byte, on what the student was measured on."""
    nats = stage.after.get("val_teacher_loss", stage.before.get("val_teacher_loss"))
    measured = stage.after if "val_perplexity" in stage.after else stage.before
    perplexity, bits = measured.get("val_perplexity"), measured.get("val_bits_per_byte")
    if nats is None or perplexity is None or bits is None or perplexity <= 1:
        return {}
    own = math.log(perplexity)  # as many nats by token are so many bits by byte; the ratio is that of the text
    return {"val_perplexity": math.exp(min(nats, 700.0)), "val_bits_per_byte": bits * nats / own}


def _row(name: str, parameters: int, speed: float | None, measures: dict[str, float]) -> tuple[str, ...]:
    known = ((measure, measures.get(measure)) for measure in _MEASURES)
    figures = ("–" if value is None else score(measure, value) for measure, value in known)
    return (name, count(parameters), "–" if speed is None else f"{speed:,.0f}", *figures)
