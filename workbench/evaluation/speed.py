"""How fast a model reads and writes on this machine."""

import time
from collections.abc import Callable

import torch

from workbench.inference.generate import evaluating, generate_greedy_batch
from workbench.model.transformer import Transformer

READ_TOKENS = 512
WRITTEN_TOKENS = 64
PROMPT_TOKENS = 16
ROUNDS = 3  # the best counts: other programs only ever take time away


def measure_speed(model: Transformer, batch_size: int, should_stop: Callable[[], bool]) -> dict[str, float] | None:
    """Tokens by second, read as one text, written as one text, and written as `batch_size` texts at once.

    The tokens are arbitrary, as speed does not depend on them. None when stopped.
    """
    limit = model.config.max_position_embeddings
    written = max(1, min(WRITTEN_TOKENS, limit - PROMPT_TOKENS))
    prompt = [place % model.config.vocab_size for place in range(min(PROMPT_TOKENS, limit - 1))]
    text = torch.arange(min(READ_TOKENS, limit), device=model.device)[None] % model.config.vocab_size

    def read() -> None:
        with evaluating(model):
            float(model.hidden_states(text)[0, -1, 0])  # a number that is there: the device has finished

    def write(rows: int) -> None:
        # each row begins with a token of its own, so that none is taken for another
        prompts = [[row % model.config.vocab_size, *prompt[1:]] for row in range(rows)]
        generate_greedy_batch(model, prompts, written, (), batch_size=rows)

    work: dict[str, tuple[int, Callable[[], None]]] = {
        "tokens_per_second_read": (text.numel(), read),
        "tokens_per_second_written": (written, lambda: write(1)),
    }
    if batch_size > 1:
        together = f"tokens_per_second_written.{batch_size} texts at once"
        work[together] = (written * batch_size, lambda: write(batch_size))
    found = {}
    for name, (tokens, task) in work.items():
        best = float("inf")
        for turn in range(ROUNDS + 1):
            if should_stop():
                return None
            start = time.perf_counter()
            task()
            if turn:  # the first one warms up
                best = min(best, time.perf_counter() - start)
        found[name] = tokens / best
    return found
