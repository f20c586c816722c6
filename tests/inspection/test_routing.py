"""Routing is that of transformers, and of the model's own record."""

from pathlib import Path

import pytest
import torch
from transformers import Qwen3MoeConfig, Qwen3MoeForCausalLM

from workbench.inspection.routing import read_routing
from workbench.model.transformer import Transformer
from workbench.model.weights import load_model


def test_visits_and_loads_are_those_of_transformers(ids: list[int], tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = Qwen3MoeConfig(
        vocab_size=97,
        hidden_size=48,
        intermediate_size=80,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        max_position_embeddings=64,
        initializer_range=0.1,
        num_experts=5,
        num_experts_per_tok=2,
        moe_intermediate_size=24,
        norm_topk_prob=True,
        decoder_sparse_step=1,
        mlp_only_layers=[],
    )
    foreign = Qwen3MoeForCausalLM(config).eval()
    foreign.save_pretrained(tmp_path)
    with torch.no_grad():
        logits = foreign(torch.tensor([ids]), output_router_logits=True).router_logits
    told = read_routing(load_model(tmp_path), ids)
    assert len(told) == len(logits) == 2
    for layer, expected in zip(told, logits, strict=True):
        weights, chosen = expected.softmax(-1).topk(2)
        weights = weights / weights.sum(-1, keepdim=True)
        assert [[expert for expert, _ in visits] for visits in layer.visits] == chosen.tolist()
        assert [weight for visits in layer.visits for _, weight in visits] == pytest.approx(
            weights.flatten().tolist(), abs=1e-4
        )
        counts = torch.bincount(chosen.flatten(), minlength=5) / chosen.numel()
        assert layer.load == pytest.approx(counts.tolist()) and sum(layer.load) == pytest.approx(1)


def test_a_model_without_experts_routes_nothing(model: Transformer, ids: list[int]) -> None:
    assert read_routing(model, ids) == []
