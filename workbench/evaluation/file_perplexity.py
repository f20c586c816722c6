"""The perplexity of whole files, tokenised as training data is and found again in the same cache."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from workbench.data.loader import Loader
from workbench.data.purpose import purpose_of
from workbench.data.shards import DataSettings, prepare
from workbench.errors import DataError
from workbench.evaluation.perplexity import Loss, evaluate_loss
from workbench.model.precision import autocast
from workbench.model.transformer import Transformer
from workbench.tokenizer.tokenizer import Tokenizer

LONGEST_ROW = 2048  # tokens; a model that reads more is measured on rows of this


def perplexity_of(
    files: Sequence[Path],
    model: Transformer,
    tokenizer: Tokenizer,
    *,
    precision: str,
    batch_size: int,
    cache: Path,
    on_progress: Callable[[int, int], None],
    should_stop: Callable[[], bool],
) -> dict[str, Loss] | None:
    """The loss on each file by its name, one under "" on all of them; None when stopped.

    Texts are cut into rows as long as the model reads, every token predicted once; of conversations, the assistant's
    turns count.

    Args:
        cache: folder of tokenised data.
        on_progress: told bytes tokenised, then rows measured, each with their total.
    Raises:
        DataError: a file is missing, cannot be read, or holds nothing to predict.
    """
    length = min(model.config.max_position_embeddings, LONGEST_ROW)
    found = {}
    for file in files:
        purpose = check_measurable(file)
        data = prepare(
            [file],
            purpose,
            tokenizer,
            DataSettings(sequence_length=length),
            cache,
            on_progress=lambda done, total: on_progress(done, total or done),
            on_bad_row=lambda _: None,
            should_stop=should_stop,
        )
        if data is None:
            return None
        loader = Loader(
            data.train,
            sequence_length=length,
            batch_size=batch_size,
            seed=0,
            shuffle=False,
            packing="stream" if purpose == "pretrain" else "whole",
        )
        loss = _measured(loader, model, tokenizer, precision, batch_size, on_progress, should_stop)
        if loss is None:
            return None
        found[file.name] = loss
    return {"": Loss.together(list(found.values())), **(found if len(found) > 1 else {})}


def check_measurable(file: Path) -> Literal["pretrain", "sft"]:
    """What a file holds, texts or conversations.

    Raises:
        DataError: it cannot be read, or holds neither.
    """
    purpose = purpose_of(file)
    if purpose == "dpo":
        raise DataError(str(file), "holds preferences", "perplexity is measured on texts and conversations")
    return purpose


def _measured(
    loader: Loader,
    model: Transformer,
    tokenizer: Tokenizer,
    precision: str,
    batch_size: int,
    on_progress: Callable[[int, int], None],
    should_stop: Callable[[], bool],
) -> Loss | None:
    parts, rows = [], 0
    # a batch at a time, so that a stop is heard between them
    for batch in loader.validation_batches(batch_size, -(-loader.rows // batch_size)):
        if should_stop():
            return None
        rows += len(batch.input_ids)
        if (batch.labels >= 0).any():
            context = autocast(model.device, precision)
            parts.append(evaluate_loss(model, [batch], tokenizer.byte_lengths(), context))
        on_progress(rows, loader.rows)
    if not parts:
        raise DataError("perplexity", "there is no token to predict", "give a file with more text")
    return Loss.together(parts)
