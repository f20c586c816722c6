"""The losses that keep experts busy: their definition, and the whole step's whatever it is split into."""

import math
from dataclasses import replace
from functools import partial

import pytest
import torch

from tests.training.conftest import CONFIG
from workbench import events
from workbench.model.initialize import initialize
from workbench.model.transformer import Transformer
from workbench.training.balance import ExpertBalance

MIXTURE = replace(
    CONFIG,
    model_type="qwen3_moe",
    num_experts=5,
    num_experts_per_tok=2,
    moe_intermediate_size=24,
    router_aux_loss_coef=0.1,
    router_z_loss_coef=0.01,
    initializer_range=0.1,
)
IDS = torch.randint(0, 272, (6, 16), generator=torch.Generator().manual_seed(4))


def mixture(**changes: object) -> Transformer:
    model = Transformer(replace(MIXTURE, **changes))
    initialize(model, seed=1)
    return model


def logits_of(model: Transformer, ids: torch.Tensor) -> list[torch.Tensor]:
    """The router logits of each layer, (tokens, experts), in float64."""
    kept: list[torch.Tensor] = []
    hooks = [
        layer.mlp.gate.register_forward_hook(
            lambda module, given, _: kept.append((given[0] @ module.weight.T).double())
        )
        for layer in model.model.layers
    ]
    model(ids)
    for hook in hooks:
        hook.remove()
    return kept


def defined(model: Transformer, ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Both losses written down token by token, in float64."""
    balance, squares = [], []
    for logits in logits_of(model, ids):
        tokens, experts = logits.shape
        visits = torch.zeros(experts, dtype=torch.float64)
        for row in logits:
            for expert in row.topk(model.config.num_experts_per_tok).indices.tolist():
                visits[expert] += 1 / (tokens * model.config.num_experts_per_tok)
        probabilities = torch.stack([row.exp() / row.exp().sum() for row in logits]).mean(dim=0)
        balance.append(experts * sum(visits[e] * probabilities[e] for e in range(experts)))
        squares.append(torch.stack([row.exp().sum().log() ** 2 for row in logits]).mean())
    return torch.stack(balance).mean(), torch.stack(squares).mean()


def step(model: Transformer, split: list[int]) -> tuple[float, ExpertBalance]:
    """One step of the balance losses alone over IDS in parts; their sum, with gradients left in the model."""
    model.zero_grad()
    experts = ExpertBalance(model)
    passes = [partial(model, part) for part in IDS.split(split)]
    experts.begin_step(passes)
    total = 0.0
    for forward in passes:
        with experts.watching():
            forward()
            loss = experts.loss()
            loss.backward()
        total += float(loss.detach())
    return total, experts


@pytest.mark.parametrize("visited", [1, 2, 5])
def test_both_losses_are_their_definition_in_float64(visited: int) -> None:
    model = mixture(num_experts_per_tok=visited)
    balance, squares = defined(model, IDS)
    total, experts = step(model, [6])
    figures = experts.figures()
    assert figures is not None
    assert figures.balance_loss == pytest.approx(float(balance.detach()), rel=1e-5)
    assert figures.router_z_loss == pytest.approx(float(squares.detach()), rel=1e-5)
    assert total == pytest.approx(float((0.1 * balance + 0.01 * squares).detach()), rel=1e-5)


def test_gradients_are_those_of_the_definition() -> None:
    model = mixture()
    step(model, [6])
    own = {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}
    model.zero_grad()
    balance, squares = defined(model, IDS)
    (0.1 * balance + 0.01 * squares).backward()
    for name, gradient in own.items():
        expected = dict(model.named_parameters())[name].grad
        assert expected is not None and torch.allclose(gradient, expected, atol=1e-6, rtol=1e-3), name
    assert own["model.layers.0.mlp.gate.weight"].abs().max() > 1e-4


@pytest.mark.parametrize("split", [[3, 3], [1] * 6, [4, 1, 1]])
def test_a_step_in_parts_has_the_loss_and_gradient_of_the_whole(split: list[int]) -> None:
    model = mixture()
    whole, experts = step(model, [6])
    expected = experts.figures()
    gradients = {
        name: parameter.grad.clone() for name, parameter in model.named_parameters() if parameter.grad is not None
    }
    total, experts = step(model, split)
    assert total == pytest.approx(whole, rel=1e-5)
    figures = experts.figures()
    assert figures is not None and expected is not None
    assert figures.expert_load == expected.expert_load
    assert figures.balance_loss == pytest.approx(expected.balance_loss, rel=1e-5)
    for name, parameter in model.named_parameters():
        if name in gradients:
            assert torch.allclose(parameter.grad, gradients[name], atol=1e-7, rtol=1e-3), name


def test_even_experts_cost_one_and_a_single_busy_one_costs_their_number() -> None:
    model = mixture(num_experts_per_tok=1, router_z_loss_coef=0.0)
    for layer in model.model.layers:
        layer.mlp.gate.weight.data.zero_()
    _, experts = step(model, [6])
    figures = experts.figures()
    assert figures is not None and figures.balance_loss == pytest.approx(1.0)  # even probabilities, whoever is chosen
    assert figures.router_z_loss == pytest.approx(math.log(5) ** 2, rel=1e-5)
    crowd(model)
    _, experts = step(model, [6])
    figures = experts.figures()
    assert figures is not None and figures.balance_loss == pytest.approx(5.0, rel=1e-3)
    assert all(max(load) == 1.0 for load in figures.expert_load)


def crowd(model: Transformer) -> None:
    """Send every token to the first expert: its router row is what all hidden states have in common."""
    for layer in model.model.layers:
        layer.post_attention_layernorm.weight.data.zero_()
        layer.post_attention_layernorm.weight.data[0] = 1.0
        layer.mlp.gate.weight.data.zero_()
    with torch.no_grad():
        model.model.embed_tokens.weight[:, 0] = 9.0
        for layer in model.model.layers:
            layer.mlp.gate.weight[0, 0] = 9.0


def test_a_dense_model_has_no_such_losses() -> None:
    model = Transformer(CONFIG)
    experts = ExpertBalance(model)
    experts.begin_step([lambda: pytest.fail("read twice"), lambda: pytest.fail("read twice")])
    with experts.watching():
        assert experts.loss() == 0.0
    assert experts.figures() is None


def test_a_step_is_read_twice_only_where_the_losses_need_it() -> None:
    model, read = mixture(), []

    def forward() -> None:
        read.append(torch.is_grad_enabled())
        model(IDS)

    ExpertBalance(model).begin_step([forward])
    ExpertBalance(mixture(router_aux_loss_coef=0.0, router_z_loss_coef=0.0)).begin_step([forward, forward])
    assert read == []
    ExpertBalance(model).begin_step([forward, forward])
    assert read == [False, False]


@pytest.mark.parametrize("micro", [1, 2, 3])
def test_a_training_step_of_a_mixture_is_the_same_whatever_the_micro_batch(make_bench, micro: int) -> None:
    whole, split = (make_bench(steps=3, micro=size, config=MIXTURE) for size in (4, micro))
    for bench in (whole, split):
        bench.trainer.run()
    for step_number, loss in whole.losses().items():
        assert split.losses()[step_number] == pytest.approx(loss, abs=2e-5)
    for one, other in zip(whole.trainer.model.parameters(), split.trainer.model.parameters(), strict=True):
        assert torch.allclose(one, other, atol=2e-3)


def test_a_report_says_how_busy_each_expert_of_each_layer_was(make_bench) -> None:
    bench = make_bench(steps=2, config=MIXTURE)
    bench.trainer.run()
    reports = [event for event in bench.heard if isinstance(event, events.StepFinished)]
    for report in reports:
        assert report.expert_load is not None
        assert [len(load) for load in report.expert_load] == [5, 5]
        assert all(sum(load) == pytest.approx(1.0, abs=1e-4) for load in report.expert_load)
        assert report.balance_loss is not None and report.balance_loss > 0.9
        assert events.from_json(events.to_json(report)) == report


def test_the_balance_loss_evens_out_the_experts(make_bench) -> None:
    def busiest(coefficient: float) -> float:
        config = replace(MIXTURE, router_aux_loss_coef=coefficient, router_z_loss_coef=0.0)
        bench = make_bench(steps=40, config=config, evaluate_every=0, checkpoint_every=0)
        with torch.no_grad():
            for layer in bench.trainer.model.model.layers:
                layer.mlp.gate.weight[0] += 0.2
        bench.trainer.run()
        loads = [event.expert_load for event in bench.heard if isinstance(event, events.StepFinished)][-10:]
        return max(share for load in loads for layer in load for share in layer)

    assert busiest(0.3) < busiest(0.0) - 0.05


def test_a_compiled_mixture_trains_as_any_other(make_bench) -> None:
    config = replace(MIXTURE, num_hidden_layers=1)
    plain, compiled = (make_bench(steps=1, micro=2, config=config, compiled=each) for each in (False, True))
    for bench in (plain, compiled):
        bench.trainer.run()
    reports = [
        [event for event in bench.heard if isinstance(event, events.StepFinished)] for bench in (plain, compiled)
    ]
    for one, other in zip(*reports, strict=True):
        assert other.loss == pytest.approx(one.loss, abs=1e-4)
        assert other.grad_norm == pytest.approx(one.grad_norm, rel=1e-3)
        assert other.balance_loss == pytest.approx(one.balance_loss, rel=1e-3)


def test_blocks_that_are_made_again_for_the_backward_pass_change_no_gradient() -> None:
    """Gradient checkpointing: the pass made again must keep what the first one kept, and count nothing twice."""
    model = mixture()
    whole, experts = step(model, [6])
    figures = experts.figures()
    gradients = {name: each.grad.clone() for name, each in model.named_parameters() if each.grad is not None}
    model.model.recompute_activations = True
    again, experts = step(model, [6])
    assert again == pytest.approx(whole, rel=1e-6)
    assert experts.figures() == figures
    for name, gradient in gradients.items():
        assert torch.allclose(model.get_parameter(name).grad, gradient, atol=1e-7), name
