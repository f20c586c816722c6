"""Experts: every token is taken to those its router chose, and watching them changes nothing."""

import pytest
import torch

import workbench_kernels
from workbench.model.moe import MixtureOfExperts
from workbench.model.routing import Routing
from workbench.model.transformer import Transformer

EXPERTS = {"num_experts": 6, "num_experts_per_tok": 2, "moe_intermediate_size": 20}
LAYOUTS = {
    "moe": {"model_type": "qwen3_moe", **EXPERTS, "norm_topk_prob": True},
    "moe-shared": {"model_type": "qwen2_moe", **EXPERTS, "shared_expert_intermediate_size": 28},
}


def by_the_book(layer: MixtureOfExperts, x: torch.Tensor) -> torch.Tensor:
    """One token and one expert after the other, in float64."""
    rows = x.double().view(-1, x.shape[-1])
    out = torch.zeros_like(rows)
    for index, row in enumerate(rows):
        shares = (layer.gate.weight.double() @ row).softmax(dim=0)
        weights, chosen = shares.topk(layer.gate.visited)
        if layer.gate.renormalise:
            weights = weights / weights.sum()
        for weight, expert in zip(weights, chosen.tolist(), strict=True):
            gate, up = (layer.experts.gate_up_proj[expert].double() @ row).chunk(2)
            said = layer.experts.down_proj[expert].double() @ (torch.nn.functional.silu(gate) * up)
            out[index] += weight * said
        if layer.shared_expert is not None and layer.shared_expert_gate is not None:
            shared = layer.shared_expert
            inner = torch.nn.functional.silu(shared.gate_proj.weight.double() @ row)
            said = shared.down_proj.weight.double() @ (inner * (shared.up_proj.weight.double() @ row))
            out[index] += torch.sigmoid(layer.shared_expert_gate.weight.double() @ row) * said
    return out.view(x.shape)


@pytest.fixture(params=LAYOUTS)
def model(request: pytest.FixtureRequest, build) -> Transformer:
    return build(**LAYOUTS[request.param])


@pytest.mark.parametrize("visited", [1, 2, 6])
def test_a_token_gets_what_its_experts_say_of_it_alone(build, visited: int) -> None:
    for layout in LAYOUTS.values():
        layer = build(**{**layout, "num_experts_per_tok": visited}).model.layers[1].mlp
        x = torch.randn(3, 7, 48, generator=torch.Generator().manual_seed(2))
        assert torch.allclose(layer(x).double(), by_the_book(layer, x), atol=1e-5)


def test_gradients_are_those_of_the_definition(model: Transformer) -> None:
    layer = model.model.layers[0].mlp
    x = torch.randn(2, 9, 48, generator=torch.Generator().manual_seed(3))
    gradients = []
    for compute in (layer, lambda x: by_the_book(layer, x)):
        layer.zero_grad()
        given = x.clone().requires_grad_()
        compute(given).double().square().sum().backward()
        gradients.append([given.grad, *(parameter.grad for parameter in layer.parameters())])
    for own, defined in zip(*gradients, strict=True):
        assert torch.allclose(own, defined, atol=1e-5, rtol=1e-3)


def test_no_token_is_dropped_however_crowded_an_expert_is(build) -> None:
    layer = build(**LAYOUTS["moe"]).model.layers[0].mlp
    with torch.no_grad():
        layer.gate.weight[3] = 100 * torch.sign(torch.randn(48, generator=torch.Generator().manual_seed(1)))
    x = layer.gate.weight[3].sign().view(1, 1, 48).repeat(1, 50, 1)  # every token wants expert 3
    out = layer(x)
    assert torch.allclose(out.double(), by_the_book(layer, x), atol=1e-4)
    assert (out.abs().sum(dim=-1) > 0).all()


def test_each_layer_asks_for_one_grouped_product_each_way(model, ids, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    plain = workbench_kernels.grouped_matmul

    def counted(x, weight, counts):
        asked.append(tuple(x.shape))
        return plain(x, weight, counts)

    monkeypatch.setattr(workbench_kernels, "grouped_matmul", counted)
    model(ids)
    visits = 2 * ids.numel()
    assert asked == [(visits, 48), (visits, 20)] * 3


def test_watching_changes_no_bit_and_counts_every_visit(model: Transformer, ids: torch.Tensor) -> None:
    with torch.no_grad():
        plain = model(ids)
        with model.routing.watching() as watch:
            assert torch.equal(model(ids), plain)
            model(ids[:1])
    sums = watch.sums
    assert sums.tokens == 60
    assert sums.counts.sum(dim=1).tolist() == [120.0] * 3
    assert torch.allclose(sums.probabilities.sum(dim=1), torch.tensor(60.0))


def test_padding_is_routed_and_not_counted(model: Transformer, ids: torch.Tensor) -> None:
    pad = model.config.pad_token_id
    text = torch.where(ids == pad, 3, ids)
    text[0, 4] = pad  # a token that ends a text, and may be the one that pads
    padded = torch.cat((text, torch.full((2, 9), pad)), dim=1)
    starts = torch.zeros_like(padded)
    with torch.no_grad():
        with model.routing.watching() as alone:
            model(torch.cat((text, torch.full((2, 1), pad)), dim=1))
        with model.routing.watching() as watch:
            model(padded, document_starts=starts)
    assert watch.sums.tokens == alone.sums.tokens == 42
    assert torch.allclose(watch.sums.counts, alone.sums.counts)
    assert torch.allclose(watch.sums.squared_logits, alone.sums.squared_logits, rtol=1e-4)


def test_the_router_decides_in_float32_whatever_the_rest_computes_in(model: Transformer, ids: torch.Tensor) -> None:
    decided = []
    for router in (layer.mlp.gate for layer in model.model.layers):
        router.register_forward_hook(lambda _module, _given, out: decided.append(out[0].dtype))
    with torch.autocast("cpu", dtype=torch.bfloat16), torch.no_grad():
        model(ids)
        model.to(torch.bfloat16)(ids)
    assert set(decided) == {torch.float32}


def test_routing_is_the_place_of_its_model_alone(build) -> None:
    assert build().routing is None
    first, second = (build(**LAYOUTS["moe"]) for _ in range(2))
    assert isinstance(first.routing, Routing) and first.routing is not second.routing
