"""The report of a run, for people (report.md) and as data (report.json), from the files of its directory alone."""

import json
import math
from pathlib import Path
from typing import Any

from workbench.atomic import write_atomically
from workbench.evaluation.card import run_card
from workbench.evaluation.card_teaching import teaching_data
from workbench.evaluation.run_facts import RunFacts, StageFacts, gather
from workbench.events import Diagnosed


def write_report(run_directory: Path) -> Path:
    """Write report.md and report.json into the run directory, however far the run came; gives the path of the first.

    Raises:
        RunError: the directory holds no run.
    """
    facts = gather(run_directory)
    data = json.dumps(report_data(facts), ensure_ascii=False, indent=1)
    write_atomically(run_directory / "report.json", data + "\n")
    write_atomically(run_directory / "report.md", run_card(facts))
    return run_directory / "report.md"


def report_data(facts: RunFacts) -> dict[str, Any]:
    """The report as data; a number that is not finite is null."""
    stages = [
        {
            "name": stage.name,
            "kind": stage.kind,
            "steps": stage.steps,
            "tokens": stage.tokens,
            "seconds": stage.seconds,
            "tokens_per_second": stage.tokens_per_second,
            "parameters": stage.parameters,
            "trained_parameters": stage.trained_parameters,
            "peak_memory_bytes": stage.peak_memory_bytes,
            "epochs": _finite(stage.mixed.epochs) if stage.mixed is not None else {},
            "before": _finite(stage.before),
            "after": _finite(stage.after),
            **_adapter(stage),
            **_standing(stage),
            **teaching_data(stage, facts),
        }
        for stage in facts.stages.values()
    ]
    return {
        "stages": stages,
        "scores": _finite(facts.scores),
        "findings": [
            {key: getattr(finding, key) for key in ("stage", "step", "finding", "severity", "cause", "cure")}
            for finding in facts.findings
            if isinstance(finding, Diagnosed)
        ],
        "seconds": facts.seconds,
        "device": facts.device,
        "versions": facts.resolved.get("versions", {}),
    }


def _standing(stage: StageFacts) -> dict[str, Any]:
    """How its loss stands against the reference runs, where there are some."""
    told = [words.format(**values) for words, values in stage.standing]
    return {"against_reference": told} if told else {}


def _adapter(stage: StageFacts) -> dict[str, Any]:
    """What a stage trained by LoRA tells beside the others."""
    if not stage.updates:
        return {}
    return {"trained_parameters": stage.trained_parameters, "updates": _finite(stage.updates)}


def _finite(measures: dict[str, float]) -> dict[str, float | None]:
    return {
        name: value if isinstance(value, int | float) and math.isfinite(value) else None
        for name, value in measures.items()
    }
