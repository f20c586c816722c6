"""Formulas of data and of text: tokens, masks, chances, sampling."""

import math

from workbench.learn.rules import Rule, Rules

TEXT_RULES: dict[str, Rules] = {
    "bytes_per_token": (Rule("bytes_per_token = bytes / tokens", "{bytes_per_token}", lambda v: v.bytes_per_token),),
    "loss_mask": (
        Rule(
            "trained share = trained tokens / tokens",
            "{tokens_trained} / {data_tokens}",
            lambda v: v.tokens_trained / v.data_tokens,
        ),
    ),
    "mean_length": (
        Rule(
            "mean = tokens / documents", "{data_tokens} / {documents}", lambda v: v.data_tokens / v.documents, "tokens"
        ),
    ),
    "data_tokens": (Rule("tokens", "{data_tokens}", lambda v: v.data_tokens),),
    "bad_rows": (
        Rule(
            "rejected share = rejected / rows", "{rows_rejected} / {rows_read}", lambda v: v.rows_rejected / v.rows_read
        ),
    ),
    "cut_off": (
        Rule("room = sequence_length + 1", "{sequence_length} + 1", lambda v: v.sequence_length + 1, "tokens"),
    ),
    "probability": (
        Rule("p(token) = exp(logit) / Σ exp(logits)", "{probability}", lambda v: v.probability),
        Rule("surprise = -ln(p)", "-ln({probability})", lambda v: -math.log(v.probability), "nats"),
        Rule("blind guess = 1 / vocab_size", "1 / {vocab_size}", lambda v: 1 / v.vocab_size),
    ),
    "entropy": (
        Rule("H = -Σ p × ln(p)", "{entropy}", lambda v: v.entropy, "nats"),
        Rule("among = exp(H)", "exp({entropy})", lambda v: math.exp(v.entropy), "tokens"),
        Rule("at most ln(vocab_size)", "ln({vocab_size})", lambda v: math.log(v.vocab_size), "nats"),
    ),
    "sampling.temperature": (
        Rule("p(token) = softmax(logits / temperature)", "{temperature}", lambda v: v.temperature),
    ),
    "sampling.top_p": (Rule("kept: the fewest likeliest tokens with Σ p ≥ top_p", "{top_p}", lambda v: v.top_p),),
    "sampling.top_k": (Rule("kept: the top_k likeliest tokens", "{top_k}", lambda v: v.top_k),),
    "sampling.min_p": (Rule("kept: tokens with p ≥ min_p × max(p)", "{min_p}", lambda v: v.min_p),),
    "sampling.repetition_penalty": (
        Rule(
            "logit > 0: logit / penalty, else logit × penalty", "{repetition_penalty}", lambda v: v.repetition_penalty
        ),
    ),
    "sampling.max_new_tokens": (
        Rule(
            "room for the prompt = max_position_embeddings - max_new_tokens",
            "{max_position_embeddings} - {max_new_tokens}",
            lambda v: v.max_position_embeddings - v.max_new_tokens,
            "tokens",
        ),
    ),
    "exact_match": (Rule("exact_match = exact answers / questions", "{exact_match}", lambda v: v.exact_match),),
    "stage.validation_fraction": (
        Rule("set apart = fraction × documents", "{validation_documents}", lambda v: v.validation_documents),
    ),
    "stage.evaluate_batches": (
        Rule(
            "tokens measured ≤ evaluate_batches × tokens_per_step",
            "{evaluate_batches} × {tokens_per_step}",
            lambda v: v.evaluate_batches * v.tokens_per_step,
        ),
    ),
    "stage.checkpoint_every": (Rule("checkpoint", "{checkpoint_bytes}", lambda v: v.checkpoint_bytes, "bytes"),),
    "stage.keep": (
        Rule(
            "disk = (keep + 1) × checkpoint",
            "({keep} + 1) × {checkpoint_bytes}",
            lambda v: (v.keep + 1) * v.checkpoint_bytes,
            "bytes",
        ),
    ),
}
