"""The fused output matrix and loss agree with the definition, however they are cut into chunks."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import workbench_kernels
from workbench_kernels import reference_cross_entropy
from workbench_kernels.reference_cross_entropy import IGNORED


@pytest.fixture(params=["one chunk", "many chunks"])
def chunks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "many chunks":
        monkeypatch.setattr(reference_cross_entropy, "_LOGITS_AT_ONCE", 80)
        monkeypatch.setattr(reference_cross_entropy, "_FEWEST_ROWS", 4)
        monkeypatch.setattr(reference_cross_entropy, "_SOFTMAX_AT_ONCE", 25)


def defined(hidden: Tensor, weight: Tensor, labels: Tensor) -> Tensor:
    """Minus the logarithm of the label's share, word by word."""
    p = (hidden @ weight.T).softmax(-1)
    picked = p.gather(-1, labels.clamp_min(0).unsqueeze(-1)).squeeze(-1)
    return torch.where(labels == IGNORED, 0.0, -picked.log())


def random_labels(*shape: int, ignore: float) -> Tensor:
    labels = torch.randint(0, 11, shape)
    labels[torch.rand(shape) < ignore] = IGNORED
    return labels


@pytest.mark.usefixtures("chunks")
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("ignore", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("shape", [(37,), (3, 7), (1,)])
def test_losses_and_gradients_are_the_definition(agrees: Callable, shape, ignore: float, dtype) -> None:
    labels = random_labels(*shape, ignore=ignore)
    hidden, weight = torch.randn(*shape, 8).to(dtype), torch.randn(11, 8).to(dtype)
    agrees(  # with an upstream gradient of its own for every token
        lambda h, w: workbench_kernels.linear_cross_entropy(h, w, labels),
        lambda h, w: defined(h, w, labels),
        hidden,
        weight,
    )


@pytest.mark.usefixtures("chunks")
def test_the_gradient_of_a_sum_is_the_definition(agrees: Callable) -> None:
    labels = random_labels(37, ignore=0.3)
    hidden, weight = torch.randn(37, 8, dtype=torch.float64), torch.randn(11, 8, dtype=torch.float64)
    agrees(
        lambda h, w: 3 * workbench_kernels.linear_cross_entropy(h, w, labels).sum(),
        lambda h, w: 3 * defined(h, w, labels).sum(),
        hidden,
        weight,
    )


def test_a_sum_costs_no_second_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    passes = []
    real = reference_cross_entropy._by_chunks
    monkeypatch.setattr(reference_cross_entropy, "_by_chunks", lambda *given: passes.append(1) or real(*given))
    hidden = torch.randn(6, 8, requires_grad=True)
    losses = workbench_kernels.linear_cross_entropy(hidden, torch.randn(11, 8), torch.arange(6))
    (losses.sum() / 6).backward()
    assert len(passes) == 1


def test_passes_gradcheck() -> None:
    labels = torch.tensor([1, IGNORED, 4, 0])
    inputs = [torch.randn(4, 3, dtype=torch.float64), torch.randn(5, 3, dtype=torch.float64)]
    assert torch.autograd.gradcheck(
        lambda h, w: workbench_kernels.linear_cross_entropy(h, w, labels), [each.requires_grad_() for each in inputs]
    )


@pytest.mark.parametrize("uniform", [True, False])
def test_autocast_gives_bf16_accuracy_also_outside_of_it(uniform: bool) -> None:
    labels = torch.randint(0, 50, (64,))
    hidden, weight = torch.randn(64, 32), 0.2 * torch.randn(50, 32)
    upstream = torch.ones(()).expand(64) if uniform else torch.rand(64)
    gradients = []
    for enabled in (False, True):
        inputs = [hidden.clone().requires_grad_(), weight.clone().requires_grad_()]
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            losses = workbench_kernels.linear_cross_entropy(*inputs, labels)
        assert losses.dtype == torch.float32
        gradients.append(torch.autograd.grad(losses, inputs, upstream))
    for exact, rounded in zip(*gradients, strict=True):
        assert rounded.dtype == torch.float32
        error = (exact - rounded).abs().max() / exact.abs().max()
        assert 0 < error < 0.02  # bf16 keeps 8 bits: 1/256 for each factor, and it is indeed used


def test_a_hopeless_label_costs_a_finite_loss() -> None:
    hidden = torch.tensor([[300.0, 0.0]], requires_grad=True)
    losses = workbench_kernels.linear_cross_entropy(hidden, torch.eye(2), torch.tensor([1]))
    assert losses.item() == 300.0


def test_a_frozen_weight_gets_no_gradient() -> None:
    hidden, weight = torch.randn(3, 8, requires_grad=True), torch.randn(11, 8)
    workbench_kernels.linear_cross_entropy(hidden, weight, torch.arange(3)).sum().backward()
    assert hidden.grad is not None
    assert weight.grad is None
