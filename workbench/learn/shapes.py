"""The tensors behind a topic, their dimensions by the names that `Values` knows."""

SHAPES: dict[str, tuple[tuple[str, tuple[str, ...]], ...]] = {
    "loss": (
        ("logits, never whole in memory", ("rows_at_once", "sequence_length", "vocab_size")),
        ("labels", ("rows_at_once", "sequence_length")),
    ),
    "attention": (
        ("q_proj.weight", ("queries", "hidden_size")),
        ("k_proj.weight", ("keys", "hidden_size")),
        ("v_proj.weight", ("keys", "hidden_size")),
        ("o_proj.weight", ("hidden_size", "queries")),
        ("q", ("rows_at_once", "num_attention_heads", "sequence_length", "head_dim")),
        ("k, v", ("rows_at_once", "num_key_value_heads", "sequence_length", "head_dim")),
    ),
    "attention_map": (("weights", ("num_hidden_layers", "num_attention_heads", "text_tokens", "text_tokens")),),
    "feed_forward": (
        ("gate_proj.weight", ("intermediate_size", "hidden_size")),
        ("up_proj.weight", ("intermediate_size", "hidden_size")),
        ("down_proj.weight", ("hidden_size", "intermediate_size")),
    ),
    "experts": (
        ("gate.weight", ("experts", "hidden_size")),
        ("gate_up_proj", ("experts", "two_inner", "hidden_size")),
        ("down_proj", ("experts", "hidden_size", "moe_intermediate_size")),
    ),
    "embeddings": (
        ("embed_tokens.weight", ("vocab_size", "hidden_size")),
        ("residual stream", ("rows_at_once", "sequence_length", "hidden_size")),
    ),
    "rms_norm": (("weight", ("hidden_size",)),),
    "rotary": (("cos, sin", ("sequence_length", "head_dim")),),
    "kv_cache": (
        ("keys, values", ("num_hidden_layers", "1", "num_key_value_heads", "max_position_embeddings", "head_dim")),
    ),
    "lora": (
        ("q_proj.lora_A", ("rank", "hidden_size")),
        ("q_proj.lora_B", ("queries", "rank")),
    ),
    "logit_lens": (("hidden by layer", ("num_hidden_layers", "text_tokens", "hidden_size")),),
    "probability": (("logits", ("text_tokens", "vocab_size")),),
    "expert_load": (("expert_load", ("num_hidden_layers", "experts")),),
}
for _setting, _topic in {
    "model.hidden_size": "embeddings",
    "model.intermediate_size": "feed_forward",
    "model.num_attention_heads": "attention",
    "model.num_key_value_heads": "attention",
    "model.head_dim": "attention",
    "model.num_experts": "experts",
    "stage.lora.rank": "lora",
    "tokenizer.vocab_size": "embeddings",
}.items():
    SHAPES[_setting] = SHAPES[_topic]
