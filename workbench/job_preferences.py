"""What a stage of preferences needs beside the others: its reference's log-probabilities, measures on held-out pairs.

The frozen reference is asked once about every pair, before the first step, and then leaves the memory.
"""

import json
import math
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from workbench.atomic import write_atomically
from workbench.config import StageSettings
from workbench.data.loader import IGNORED, Batch
from workbench.data.mixture import MixedData
from workbench.data.packing import PairPacking
from workbench.data.stores import TokenStore, map_array
from workbench.inference.generate import evaluating
from workbench.job_batches import StageData
from workbench.model.transformer import Transformer
from workbench.training.objectives import build_objective
from workbench.training.probe import Measured

Progress = Callable[[int, int], None]


def needs_reference(stage: StageSettings) -> bool:
    """Whether another model's log-probabilities must be at hand: with LoRA the model itself is its reference."""
    return stage.dpo is not None and stage.dpo.has_reference and stage.lora is None


def open_reference(folder: Path, data: StageData, made_of: str) -> bool:
    """Hand the stored log-probabilities to the data's stores; False where there are none made of the same.

    Args:
        made_of: fingerprint of the data, the reference and how it was computed.
    """
    try:
        index = json.loads((folder / "index.json").read_text(encoding="utf-8"))
        stored = {name: map_array(folder / f"{name}.logps", "float32") for name in _stores(data)}
    except (OSError, ValueError):
        return False
    if index != {"made_of": made_of} or any(len(stored[name]) != store.tokens for name, store in _stores(data).items()):
        return False
    for name, store in _stores(data).items():
        store.reference = stored[name]
    return True


def make_reference(
    folder: Path,
    data: StageData,
    made_of: str,
    model: Transformer,
    sequence_length: int,
    pairs_at_once: int,
    precision: Callable[[], AbstractContextManager[Any]],
    on_progress: Progress,
    should_stop: Callable[[], bool],
) -> bool:
    """Ask `model` about every pair and store what it says; False when stopped on the way."""
    folder.mkdir(parents=True, exist_ok=True)
    stores = _stores(data)
    done, total = 0, sum(store.documents // 2 for store in stores.values())
    for name, store in stores.items():
        logps = np.zeros(store.tokens, np.float32)
        packing = PairPacking(store, sequence_length)
        for first in range(0, packing.rows, pairs_at_once):
            if should_stop():
                return False
            pairs = np.arange(first, min(first + pairs_at_once, packing.rows))
            with evaluating(model), precision():
                _ask(model, store, packing.assemble(pairs, np.zeros_like(pairs)), 2 * first, logps)
            done += len(pairs)
            on_progress(done, total)
        logps.tofile(folder / f"{name}.logps")
    write_atomically(folder / "index.json", json.dumps({"made_of": made_of}) + "\n")
    return True


def measure_preferences(
    model: Transformer,
    stage: StageSettings,
    batches: Iterable[Batch],
    byte_lengths: NDArray[np.int32],
    precision: AbstractContextManager[Any],
    collected: Callable[[Any], list[Any]] = lambda own: [own],
) -> Measured:
    """Loss and measures of the stage's objective on held-out pairs; the perplexity is that of the chosen answers.

    Args:
        collected: gives what all found who share the batches, this process among them.
    """
    objective = build_objective(stage)
    totals, sums, measures, counts = (dict[str, float]() for _ in range(4))
    with evaluating(model), precision:
        for batch in batches:
            counted, seen = objective(model, objective.prepare(model, batch))
            _add(totals, objective.totals(batch))
            _add(sums, counted)
            _add(measures, seen)
            targets = batch.labels[::2][batch.labels[::2] != IGNORED]
            _add(counts, {"pairs": batch.units, "tokens": len(targets), "bytes": byte_lengths[targets].sum()})
    totals, sums, measures, counts = map(_together, zip(*collected((totals, sums, measures, counts)), strict=True))
    pairs, tokens, text_bytes = counts["pairs"], counts["tokens"], counts["bytes"]
    nats = -measures["chosen_logp"] / max(tokens, 1)
    return Measured(
        loss=sum(sums[kind] / max(totals[kind], 1) for kind in sums),
        perplexity=math.exp(min(nats, 700.0)),
        bits_per_byte=nats * tokens / math.log(2) / max(text_bytes, 1),
        measures={f"val_{name}": value / max(pairs, 1) for name, value in measures.items()},
    )


def _stores(data: StageData) -> dict[str, TokenStore]:
    """The stores of every data set, by a name for a file."""
    parts = data.parts if isinstance(data, MixedData) else (data,)
    named = [
        (f"{side}-{place}" if len(parts) > 1 else side, store)
        for place, part in enumerate(parts)
        for side, store in (("train", part.train), ("validation", part.validation))
    ]
    return {name: store for name, store in named if store is not None}


def _ask(model: Transformer, store: TokenStore, batch: Batch, first: int, logps: NDArray[np.float32]) -> None:
    """Write the log-probability of each label of `batch` to the place of its token; `first` is its first document."""
    labels = torch.from_numpy(batch.labels).to(model.device)
    answers = -model.token_losses(torch.from_numpy(batch.input_ids).to(model.device), labels)
    rows = answers.float().cpu().numpy()
    for row, document in enumerate(range(first, first + len(rows))):
        begin, end = store.offsets[document : document + 2].tolist()
        width = min(end - begin - 1, rows.shape[1])
        logps[begin + 1 : begin + 1 + width] = rows[row, :width]


def _together(parts: Iterable[dict[str, float]]) -> dict[str, float]:
    sums: dict[str, float] = {}
    for part in parts:
        _add(sums, part)
    return sums


def _add(sums: dict[str, float], more: Any) -> None:
    for name, value in more.items():
        sums[name] = sums.get(name, 0.0) + float(value)
