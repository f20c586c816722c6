"""Sizes of models: for a number of parameters, and of published ones."""

import argparse
import json
from typing import Any

from workbench.cli.terminal import table
from workbench.config import TokenizerSettings
from workbench.errors import UsageError
from workbench.estimate import TRAINING_BYTES, count_parameters, train_flops_per_token
from workbench.language import mark, retell, tr
from workbench.model_settings import EXPERT_FAMILIES, MOST_EXPERTS, ModelSettings
from workbench.narration import count, size
from workbench.presets import PRESETS
from workbench.size_search import Candidate, sizes_for, toml_table

_SHAPES = (mark("deep"), mark("balanced"), mark("wide"))
"""The keys of SHAPES."""
_CONTEXT = 512  # tokens, for FLOPs: attention's share grows with the context


def sizes(arguments: argparse.Namespace) -> int:
    """`model sizes N`: models of about N parameters, and what each costs.

    Raises:
        UsageError: N is too small for the vocabulary, or there cannot be so many experts.
    """
    vocab_size = arguments.vocab_size or TokenizerSettings().vocab_size
    more: dict[str, Any] = {"tie_word_embeddings": False} if arguments.untied else {}
    if arguments.experts is not None:
        if arguments.family not in EXPERT_FAMILIES:
            raise UsageError(f"--experts {arguments.experts}", f"{arguments.family} has none", "add --family moe")
        if not 2 <= arguments.experts <= MOST_EXPERTS:
            raise UsageError(f"--experts {arguments.experts}", f"a mixture has from 2 to {MOST_EXPERTS} of them")
        more["num_experts"] = arguments.experts
    found = sizes_for(arguments.parameters, arguments.family, vocab_size, **more)
    if arguments.json:
        print(json.dumps([_as_values(candidate, vocab_size) for candidate in found], indent=1))
        return 0
    sizes_of = (tr("SHAPE"), tr("WIDTH"), tr("LAYERS"), tr("HEADS"), tr("INNER"))
    head = (*sizes_of, tr("TOTAL"), tr("ACTIVE"), tr("VOCABULARY"), tr("TO TRAIN"), tr("FLOPS A TOKEN"))
    rows = [_row(candidate, vocab_size) for candidate in found]
    print(table([head, *rows], right=tuple(range(1, len(head)))))
    closest = min(found, key=lambda candidate: abs(candidate.parameters.total - arguments.parameters))
    told = tr("The closest, {shape}, as a profile has it:", shape=tr(closest.shape))
    print(f"\n{told}\n\n{toml_table(closest)}")
    return 0


def presets(arguments: argparse.Namespace) -> int:
    """`model presets`: published models whose sizes a profile can take over by name."""
    found = {name: (preset, ModelSettings(preset=name)) for name, preset in PRESETS.items()}
    counted = {name: count_parameters(settings, preset.vocab_size) for name, (preset, settings) in found.items()}
    if arguments.json:
        values = [
            {
                "name": name,
                "family": settings.family,
                "vocab_size": preset.vocab_size,
                "parameters": counted[name].total,
                "active_parameters": counted[name].active,
                "source": preset.source,
                "note": preset.note,
                "settings": preset.settings,
            }
            for name, (preset, settings) in found.items()
        ]
        print(json.dumps(values, indent=1))
        return 0
    head = (tr("NAME"), tr("FAMILY"), tr("VOCABULARY"), tr("PARAMETERS"), tr("ACTIVE"), tr("FIGURES FROM"))
    rows = [head]
    for name, (preset, settings) in found.items():
        figures = (f"{preset.vocab_size:,}", f"{counted[name].total:,}", count(counted[name].active))
        rows.append((name, settings.family, *figures, preset.source))
    print(table(rows, right=(2, 3, 4)))
    for name, (preset, _) in found.items():
        if preset.note:
            print(f"\n{name}: {retell(preset.note)}")
    return 0


def _row(candidate: Candidate, vocab_size: int) -> tuple[str, ...]:
    settings, parameters = candidate.settings, candidate.parameters
    inner = settings.intermediate_size
    if settings.num_experts:
        inner = settings.moe_intermediate_size or 0
    return (
        tr(candidate.shape),
        f"{settings.hidden_size:,}",
        f"{settings.num_hidden_layers}",
        f"{settings.num_attention_heads}/{settings.num_key_value_heads}",
        f"{settings.num_experts} x {inner:,}" if settings.num_experts else f"{inner:,}",
        f"{parameters.total:,}",
        count(parameters.active),
        f"{(parameters.embeddings + parameters.head) / parameters.total:.0%}",
        size(TRAINING_BYTES * parameters.total),
        count(train_flops_per_token(settings, vocab_size, _CONTEXT)),
    )


def _as_values(candidate: Candidate, vocab_size: int) -> dict[str, Any]:
    parameters = candidate.parameters
    return {
        "shape": candidate.shape,
        "parameters": parameters.total,
        "active_parameters": parameters.active,
        "vocab_size": vocab_size,
        "training_bytes": TRAINING_BYTES * parameters.total,
        "flops_per_token": train_flops_per_token(candidate.settings, vocab_size, _CONTEXT),
        "model": candidate.settings.model_dump(mode="json", exclude_none=True, exclude={"rope_scaling"}),
    }
