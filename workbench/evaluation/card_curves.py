"""The curves of a stage in its report: loss, and what tells why it went as it did."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

from workbench.evaluation.curve import Point, text_curve
from workbench.evaluation.run_facts import Record, StageFacts
from workbench.language import mark, tr

SMALL_ROWS = 4

# key of metrics.jsonl, what it is called, and what its numbers are divided by for people
_SMALL_CURVES = (
    ("val_perplexity", mark("Validation perplexity"), 1.0),
    ("reward_accuracy", mark("Pairs won, %"), 0.01),
    ("reward_margin", mark("Reward margin"), 1.0),
    ("learning_rate", mark("Learning rate"), 1.0),
    ("grad_norm", mark("Gradient norm before clipping"), 1.0),
    ("tokens_per_second", mark("Tokens by second"), 1.0),
    ("utilisation", mark("Utilisation of the device, %"), 0.01),
    ("memory_bytes", mark("Memory, MiB"), 2.0**20),
)


def stage_curves(stage: StageFacts) -> list[tuple[str, str]]:
    """The stage's curves as (legend, drawing) pairs; those for which there are no points are left out."""
    training, validation = points(stage.metrics, "loss"), points(stage.metrics, "val_loss")
    legend = tr("Loss by pair by step") if stage.kind == "dpo" else tr("Loss in nats a token by step")
    both = tr("{legend}: dots for training, ● for validation.", legend=legend)
    legend = both if validation else tr("{sentence}.", sentence=legend)
    found = [(legend, text_curve(training, validation))]
    for key, title, unit in _SMALL_CURVES:
        values = [(step, value / unit) for step, value in points(stage.metrics, key)]
        if len({value for _, value in values}) > 1:  # a flat line is told in the tables
            found.append((tr("{sentence}.", sentence=tr(title)), text_curve(values, height=SMALL_ROWS)))
    found += _expert_load(stage.metrics)
    return [(legend, "\n".join(lines)) for legend, lines in found if lines]


def points(records: Iterable[Record], key: str) -> list[Point]:
    """(step, value) of every record that has both as numbers."""
    pairs = ((record.get("step"), record.get(key)) for record in records)
    return [(step, value) for step, value in pairs if isinstance(step, int | float) and isinstance(value, int | float)]


def _expert_load(records: Sequence[Record]) -> list[tuple[str, list[str]]]:
    """How evenly a mixture of experts was used over time; the end is a table of its own."""
    loads = [(record.get("step"), _as_loads(record.get("expert_load"))) for record in records]
    known = [(float(step), load) for step, load in loads if load and isinstance(step, int | float)]
    busiest = [(step, max(max(layer) * len(layer) for layer in load)) for step, load in known]
    legend = tr("Load of the busiest expert, as a multiple of an even share.")
    return [(legend, text_curve(busiest, height=SMALL_ROWS))] if len({load for _, load in busiest}) > 1 else []


def _as_loads(value: Any) -> list[list[float]]:
    """For each layer, each expert's share of the visits; empty where the record holds anything else."""
    layers = value if isinstance(value, list) else []
    found = [[share for share in layer if _is_share(share)] for layer in layers if isinstance(layer, list)]
    return found if found and all(found) else []


def _is_share(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value) and value >= 0
