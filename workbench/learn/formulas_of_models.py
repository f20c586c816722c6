"""Formulas of a model's sizes: parameters, memory, positions, adapters."""

import math

from workbench.learn.rules import Rule, Rules
from workbench.learn.values import Values


def _kv_cache_bytes(v: Values) -> int:
    return int(2 * v.num_hidden_layers * v.num_key_value_heads * v.head_dim * v.max_position_embeddings * 4)


def _feed_forward(v: Values) -> list[Rule]:
    if not v.knows("experts"):
        symbols = "feed_forward = layers × 3 × hidden_size × intermediate_size"
        filled = "{num_hidden_layers} × 3 × {hidden_size} × {intermediate_size}"
        return [Rule(symbols, filled, lambda v: v.feed_forward_parameters)]
    return [*_experts(v), Rule("feed_forward", "{feed_forward_parameters}", lambda v: v.feed_forward_parameters)]


def _experts(v: Values) -> list[Rule]:
    one = Rule(
        "one expert = 3 × hidden_size × moe_intermediate_size",
        "3 × {hidden_size} × {moe_intermediate_size}",
        lambda v: 3 * v.hidden_size * v.moe_intermediate_size,
    )
    idle = Rule(
        "not visited by a token = layers × (experts - visited) × one expert",
        "{num_hidden_layers} × ({experts} - {visited}) × 3 × {hidden_size} × {moe_intermediate_size}",
        lambda v: v.num_hidden_layers * (v.experts - v.visited) * 3 * v.hidden_size * v.moe_intermediate_size,
    )
    active = Rule(
        "active by token = parameters - not visited",
        "{all_parameters} - {inactive_parameters}",
        lambda v: v.all_parameters - v.inactive_parameters,
    )
    return [one, idle, active]


def _embeddings(v: Values) -> list[Rule]:
    table = Rule(
        "embed_tokens = vocab_size × hidden_size",
        "{vocab_size} × {hidden_size}",
        lambda v: v.vocab_size * v.hidden_size,
    )
    share = Rule(
        "share = (embeddings + head) / parameters",
        "({embedding_parameters} + {head_parameters}) / {all_parameters}",
        lambda v: (v.embedding_parameters + v.head_parameters) / v.all_parameters,
    )
    return [table, share]


def _attention(v: Values) -> list[Rule]:
    scores = Rule(
        "scale = 1 / √(head_dim)",
        "1 / √({head_dim})",
        lambda v: 1 / math.sqrt(v.head_dim),
    )
    size = Rule(
        "attention = layers × hidden_size × 2 × (heads + kv_heads) × head_dim",
        "{num_hidden_layers} × {hidden_size} × 2 × ({num_attention_heads} + {num_key_value_heads}) × {head_dim}",
        lambda v: (
            v.num_hidden_layers * v.hidden_size * 2 * (v.num_attention_heads + v.num_key_value_heads) * v.head_dim
        ),
    )
    return [Rule("out = softmax(scale × q · k + causal mask) · v"), scores, size]


def _lora_scaling(v: Values) -> list[Rule]:
    if v.knows("lora") and v.lora.rank_stabilized:
        return [Rule("scaling = alpha / √(rank)", "{alpha} / √({rank})", lambda v: v.alpha / math.sqrt(v.rank))]
    return [Rule("scaling = alpha / rank", "{alpha} / {rank}", lambda v: v.alpha / v.rank)]


def _lora(v: Values) -> list[Rule]:
    return [
        Rule("W' = W + scaling × B · A"),
        Rule("trained = parameters of all A and B", "{lora_parameters}", lambda v: v.lora_parameters),
        *_lora_scaling(v),
        Rule(
            "share = trained / parameters",
            "{lora_parameters} / {all_parameters}",
            lambda v: v.lora_parameters / v.all_parameters,
        ),
    ]


_MEMORY = (
    Rule("weights, gradients, optimizer", "{fixed_bytes}", lambda v: v.fixed_bytes, "bytes"),
    Rule("activations of a row", "{row_bytes}", lambda v: v.row_bytes, "bytes"),
    Rule(
        "memory = program + fixed + rows at once × row",
        "{program_bytes} + {fixed_bytes} + {rows_at_once} × {row_bytes}",
        lambda v: v.program_bytes + v.fixed_bytes + v.rows_at_once * v.row_bytes,
        "bytes",
    ),
)
_KV = Rule(
    "bytes = 2 × layers × kv_heads × head_dim × tokens × 4 (float32)",
    "2 × {num_hidden_layers} × {num_key_value_heads} × {head_dim} × {max_position_embeddings} × 4",
    _kv_cache_bytes,
    "bytes",
)
_PARAMETERS = Rule(
    "parameters = embeddings + attention + feed_forward + norms + head",
    "{embedding_parameters} + {attention_parameters} + {feed_forward_parameters} + {norm_parameters} "
    "+ {head_parameters}",
    lambda v: v.all_parameters,
)
_SLOWEST = Rule(
    "slowest turn = 2π × rope_theta^((head_dim - 2) / head_dim)",
    "2 × π × {rope_theta}^(({head_dim} - 2) / {head_dim})",
    lambda v: 2 * math.pi * v.rope_theta ** ((v.head_dim - 2) / v.head_dim),
    "tokens",
)

MODEL_RULES: dict[str, Rules] = {
    "parameters": (_PARAMETERS,),
    "trained_parameters": (
        Rule(
            "share = trained / parameters",
            "{trained_count} / {all_parameters}",
            lambda v: v.trained_count / v.all_parameters,
        ),
    ),
    "attention": _attention,
    "feed_forward": _feed_forward,
    "experts": _experts,
    "embeddings": _embeddings,
    "rms_norm": (
        Rule("y = weight × x / √(mean(x²) + rms_norm_eps)"),
        Rule("norms = (2 × layers + 1) × hidden_size + head norms", "{norm_parameters}", lambda v: v.norm_parameters),
    ),
    "rotary": (
        Rule("angle(position, i) = position / rope_theta^(2i / head_dim)"),
        _SLOWEST,
    ),
    "kv_cache": (
        _KV,
        Rule(
            "by token = bytes / tokens",
            "2 × {num_hidden_layers} × {num_key_value_heads} × {head_dim} × 4",
            lambda v: _kv_cache_bytes(v) // v.max_position_embeddings,
            "bytes",
        ),
    ),
    "lora": _lora,
    "lora_update": (
        Rule("update = |scaling × B · A| / |W|, mean of the layers", "{mean_update}", lambda v: v.mean_update),
    ),
    "memory_estimate": _MEMORY,
    "disk_estimate": (
        Rule("weights = 4 × parameters", "4 × {all_parameters}", lambda v: 4 * v.all_parameters, "bytes"),
        Rule(
            "checkpoint = weights + optimizer's memories",
            "{checkpoint_bytes}",
            lambda v: v.checkpoint_bytes,
            "bytes",
        ),
    ),
    "time_estimate": (
        Rule(
            "flops = tokens × flops_per_token",
            "{steps} × {tokens_per_step} × {flops_per_token}",
            lambda v: v.steps * v.tokens_per_step * v.flops_per_token,
        ),
    ),
    "model.intermediate_size": (
        Rule(
            "ratio = intermediate_size / hidden_size",
            "{intermediate_size} / {hidden_size}",
            lambda v: v.intermediate_size / v.hidden_size,
        ),
    ),
    "model.num_hidden_layers": (
        Rule(
            "width / depth = hidden_size / layers",
            "{hidden_size} / {num_hidden_layers}",
            lambda v: v.hidden_size / v.num_hidden_layers,
        ),
    ),
    "model.num_attention_heads": (
        Rule("queries = heads × head_dim", "{num_attention_heads} × {head_dim}", lambda v: v.queries),
    ),
    "model.num_key_value_heads": (
        Rule(
            "heads that share a key = heads / kv_heads",
            "{num_attention_heads} / {num_key_value_heads}",
            lambda v: v.group,
        ),
        _KV,
    ),
    "model.head_dim": (
        Rule("queries = heads × head_dim", "{num_attention_heads} × {head_dim}", lambda v: v.queries),
        Rule("scale of scores = 1 / √(head_dim)", "1 / √({head_dim})", lambda v: 1 / math.sqrt(v.head_dim)),
    ),
    "model.rope_theta": (_SLOWEST,),
    "model.max_position_embeddings": (_KV,),
    "model.num_experts_per_tok": _experts,
    "model.num_experts": _experts,
    "model.moe_intermediate_size": _experts,
    "model.initializer_range": (
        Rule("1 / √(hidden_size)", "1 / √({hidden_size})", lambda v: 1 / math.sqrt(v.hidden_size)),
    ),
    "model.hidden_size": (_PARAMETERS,),
    "model.tie_word_embeddings": _embeddings,
    "tokenizer.vocab_size": _embeddings,
    "vocab_size": _embeddings,
    "stage.lora.rank": _lora,
    "stage.lora.alpha": _lora_scaling,
    "stage.lora.rank_stabilized": _lora_scaling,
    "stage.micro_batch_size": (
        Rule(
            "passes = ceil(batch_size / micro_batch_size)",
            "ceil({batch_size} / {rows_at_once})",
            lambda v: math.ceil(v.batch_size / v.rows_at_once),
        ),
    ),
    "stage.gradient_checkpointing": _MEMORY,
}
