"""Answers to many prompts at once, drawn with random numbers of each prompt's own.

Prompts of unlike length share a batch: the shorter ones are padded at their left, where no token of theirs looks. What
is drawn for a prompt follows from its own seed, whoever else is in the batch, but for the rounding of other shapes.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from workbench.inference.generate import evaluating, make_cache
from workbench.inference.row_sampling import sample_rows
from workbench.inference.sampling import SamplingSettings, make_generator
from workbench.model.transformer import Transformer


@dataclass(frozen=True)
class Answer:
    """What a model wrote.

    Args:
        ids: without the token that ended it.
        cut: it was not over when there was no more room.
    """

    ids: tuple[int, ...]
    cut: bool


def answer_batch(
    model: Transformer,
    prompts: Sequence[Sequence[int]],
    settings: SamplingSettings,
    seeds: Sequence[int],
    stop_ids: Collection[int],
    *,
    batch_size: int,
    on_progress: Callable[[int], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> list[Answer] | None:
    """An answer to each prompt, in the prompts' order; None when stopped.

    Args:
        prompts: each shorter than the model's context.
        seeds: of the random numbers, one a prompt; those of `settings` are not used.
        stop_ids: end an answer.
        batch_size: prompts at once at most.
        on_progress: told how many prompts are answered, after each batch.
        should_stop: asked before each token.
    """
    limit = model.config.max_position_embeddings
    assert all(0 < len(prompt) < limit for prompt in prompts), "the caller leaves out what cannot be answered"
    answers: dict[int, Answer] = {}
    for batch in _batches([len(prompt) for prompt in prompts], batch_size, limit - settings.max_new_tokens):
        written = _write(
            model,
            [prompts[index] for index in batch],
            settings,
            [seeds[index] for index in batch],
            stop_ids,
            should_stop or _never,
        )
        if written is None:
            return None
        answers.update(zip(batch, written, strict=True))
        if on_progress is not None:
            on_progress(len(answers))
    return [answers[index] for index in range(len(prompts))]


def _batches(lengths: Sequence[int], batch_size: int, roomy: int) -> Iterator[list[int]]:
    """The prompts' indices, longest first: what needs most memory fails at the start or not at all.

    Args:
        roomy: length up to which a prompt has room for a whole answer. Longer ones are never padded, as that would take
            room from them.
    """
    batch: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda index: (-lengths[index], index)):
        longest = lengths[batch[0]] if batch else 0
        alike = longest <= roomy or longest == lengths[index]
        if batch and (len(batch) == batch_size or not alike):
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch


def _write(
    model: Transformer,
    prompts: list[Sequence[int]],
    settings: SamplingSettings,
    seeds: list[int],
    stop_ids: Collection[int],
    stopping: Callable[[], bool],
) -> list[Answer] | None:
    """Answers to prompts that share a batch, the longest first; None when stopped."""
    device, longest = model.head_weight.device, len(prompts[0])
    room = min(settings.max_new_tokens, model.config.max_position_embeddings - longest)
    generators = [make_generator(seed) for seed in seeds]
    texts = [list(prompt) for prompt in prompts]
    over = [False] * len(prompts)
    rows = list(range(len(prompts)))  # which prompt each row of the cache belongs to
    pads = torch.tensor([longest - len(prompt) for prompt in prompts], device=device)
    padded = [[prompt[0]] * (longest - len(prompt)) + list(prompt) for prompt in prompts]
    input_ids = torch.tensor(padded, device=device)
    cache = make_cache(model, len(prompts), longest + room)
    for _ in range(room):
        if stopping():
            return None
        with evaluating(model):
            starts = _starts(pads, cache.length, input_ids.shape[1]) if bool(pads.any()) else None
            hidden = model.hidden_states(input_ids, cache, starts)
            logits = F.linear(hidden[:, -1], model.head_weight)
        drawn = sample_rows(logits, [texts[row] for row in rows], settings, [generators[row] for row in rows])
        for row, token_id in zip(rows, drawn, strict=True):
            if over[row] or token_id in stop_ids:
                over[row] = True
            else:
                texts[row].append(token_id)
        open_places = [place for place, row in enumerate(rows) if not over[row]]
        if not open_places:
            break
        if len(open_places) <= len(rows) // 2:  # rows that are over are carried along until half of them are
            kept = torch.tensor(open_places, device=device)
            cache.select(kept)
            pads = pads[kept]
            rows, drawn = [rows[place] for place in open_places], [drawn[place] for place in open_places]
        input_ids = torch.tensor(drawn, device=device)[:, None]
    return [
        Answer(tuple(text[len(prompt) :]), not ended) for text, prompt, ended in zip(texts, prompts, over, strict=True)
    ]


def _starts(pads: Tensor, seen: int, seq: int) -> Tensor:
    """(batch, seq): where each token's own text starts in its row; padding sees itself alone."""
    places = torch.arange(seen, seen + seq, device=pads.device).expand(len(pads), -1)
    return torch.minimum(places, pads.unsqueeze(1)).to(torch.int32)


def _never() -> bool:
    return False
