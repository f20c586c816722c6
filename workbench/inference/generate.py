"""Token after token from a model: streamed for one prompt, greedy in batches for evaluation.

Nothing here touches gradients, the global random state or `model.training`, so a training in the same process
does not notice; inference mode is entered for each step alone, never while a consumer holds the iterator.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from workbench.errors import UsageError
from workbench.inference.sampling import SamplingSettings, make_generator, sample
from workbench.model.kv_cache import KVCache
from workbench.model.transformer import Transformer

# "end": the model ended its text; "length": no tokens or no context left; "stopped": a person stopped it.
StopReason = Literal["end", "length", "stopped"]
# A long prompt is read in pieces, so that a stop is heard between them.
PROMPT_PIECE = 512


def generate(
    model: Transformer,
    prompt_ids: Sequence[int],
    settings: SamplingSettings,
    stop_ids: Collection[int],
    should_stop: Callable[[], bool] | None = None,
    *,
    cache: KVCache | None = None,
    generator: torch.Generator | None = None,
) -> Generator[int, None, StopReason]:
    """Stream the ids that follow the prompt; the generator's return value says why it ended.

    Args:
        stop_ids: end the text; they are not yielded themselves.
        should_stop: asked before each token, and within a long prompt.
        cache: holds the keys and values of the prompt's first `cache.length` tokens already, fewer than the prompt
            has. At the end it holds those of everything but the last yielded token.
        generator: random numbers to draw from, instead of new ones from `settings.seed`.
    Raises:
        UsageError: an empty prompt, or one that leaves no room for an answer.
    """
    check_prompt(model, prompt_ids)
    room = min(settings.max_new_tokens, model.config.max_position_embeddings - len(prompt_ids))
    cache = make_cache(model, 1, len(prompt_ids) + room) if cache is None else cache
    generator = make_generator(settings.seed) if generator is None else generator
    ids = list(prompt_ids)
    stopping = should_stop or _never
    for _ in range(room):
        logits = _read(model, ids[cache.length :], cache, stopping)
        if logits is None:
            return "stopped"
        token_id = sample(logits, ids, settings, generator)
        if token_id in stop_ids:
            return "end"
        ids.append(token_id)
        yield token_id
    return "length"


def check_prompt(model: Transformer, prompt_ids: Sequence[int]) -> None:
    """Raise a `UsageError` for a prompt that is empty or leaves no room for an answer."""
    limit = model.config.max_position_embeddings
    if not prompt_ids:
        raise UsageError("prompt", "it is empty", "write some text to go on from")
    if len(prompt_ids) >= limit:
        raise UsageError(
            "prompt", f"it has {len(prompt_ids):,} tokens, and the model reads {limit:,} with its answer", "shorten it"
        )


def generate_greedy_batch(
    model: Transformer,
    prompts: Sequence[Sequence[int]],
    max_new_tokens: int,
    stop_ids: Collection[int],
    *,
    batch_size: int = 32,
    on_progress: Callable[[int], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> list[list[int]] | None:
    """The likeliest continuation of each prompt, in the prompts' order; None when stopped.

    Prompts of equal length run together: without padding the result is exactly that of one by one. A prompt that
    fills the context is continued by nothing.

    Args:
        batch_size: prompts at once at most.
        on_progress: told how many prompts are done, after each batch.
        should_stop: asked before each batch.
    """
    assert all(prompts), "an empty prompt has no last token to go on from"
    stopping = should_stop or _never
    continuations: list[list[int]] = [[] for _ in prompts]
    done = 0
    for batch in _batches_of_equal_length(prompts, batch_size):
        if stopping():
            return None
        rows = _greedy_rows(model, [prompts[index] for index in batch], max_new_tokens, stop_ids)
        for index, row in zip(batch, rows, strict=True):
            continuations[index] = row
        done += len(batch)
        if on_progress is not None:
            on_progress(done)
    return continuations


def make_cache(model: Transformer, batch: int, max_length: int) -> KVCache:
    """An empty cache for `model`, in the dtype and on the device of its weights."""
    weight = model.head_weight
    return KVCache(model.config, batch, max_length, weight.dtype, weight.device)


@contextmanager
def evaluating(model: Transformer) -> Iterator[None]:
    """No gradients and no training behaviour inside; `model.training` is afterwards what it was."""
    was_training = model.training
    if was_training:
        model.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        if was_training:
            model.train()


def _never() -> bool:
    return False


def _read(model: Transformer, ids: Sequence[int], cache: KVCache, stopping: Callable[[], bool]) -> Tensor | None:
    """Logits (vocab,) after `ids`, which go into the cache; None when stopped before or in between."""
    logits = None
    for start in range(0, len(ids), PROMPT_PIECE):
        if stopping():
            return None
        piece = torch.tensor([ids[start : start + PROMPT_PIECE]], device=model.head_weight.device)
        logits = _next_logits(model, piece, cache)[0]
    assert logits is not None, "a cache never holds the whole prompt"
    return logits


def _next_logits(model: Transformer, input_ids: Tensor, cache: KVCache) -> Tensor:
    """Logits (batch, vocab) after the last of `input_ids` (batch, seq); those of the positions before are not made."""
    with evaluating(model):
        hidden = model.hidden_states(input_ids, cache=cache)
        return F.linear(hidden[:, -1], model.head_weight)


def _batches_of_equal_length(prompts: Sequence[Sequence[int]], batch_size: int) -> list[list[int]]:
    """The prompts' indices, longest prompts first: what needs most memory fails at the start or not at all."""
    by_length: defaultdict[int, list[int]] = defaultdict(list)
    for index, prompt in enumerate(prompts):
        by_length[len(prompt)].append(index)
    groups = [by_length[length] for length in sorted(by_length, reverse=True)]
    return [group[start : start + batch_size] for group in groups for start in range(0, len(group), batch_size)]


def _greedy_rows(
    model: Transformer, prompts: list[Sequence[int]], max_new_tokens: int, stop_ids: Collection[int]
) -> list[list[int]]:
    """Greedy continuations of prompts of one length, each cut before its first stop token."""
    rows: list[list[int]] = [[] for _ in prompts]
    length = len(prompts[0])
    room = min(max_new_tokens, model.config.max_position_embeddings - length)
    if room <= 0:
        return rows
    cache = make_cache(model, len(prompts), length + room)
    input_ids = torch.tensor([list(prompt) for prompt in prompts], device=model.head_weight.device)
    open_rows = set(range(len(prompts)))
    for _ in range(room):
        best = _next_logits(model, input_ids, cache).argmax(dim=-1)
        for row, token_id in enumerate(best.tolist()):
            if row in open_rows and token_id in stop_ids:
                open_rows.discard(row)
            elif row in open_rows:
                rows[row].append(token_id)
        if not open_rows:
            break
        input_ids = best[:, None]  # (batch, 1)
    return rows
