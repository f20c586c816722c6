"""The profile that is measured where none is named."""

REFERENCE = """
[tokenizer]
vocab_size = 6400

[model]
family = "llama2"
hidden_size = 512
intermediate_size = 1664
num_hidden_layers = 8
num_attention_heads = 8
num_key_value_heads = 2
max_position_embeddings = 256

[[stage]]
kind = "pretrain"
data = "bundled:pretrain.jsonl"
steps = 1000
batch_size = 8
sequence_length = 256
isolate_documents = false
"""
"""A Llama of 29M parameters, 8 rows of 256 tokens a step."""
