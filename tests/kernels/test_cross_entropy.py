"""The Triton cross-entropy: losses and both gradients against float64, on every path an upstream gradient can take."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.kernels import interpreter
from workbench_kernels.reference_cross_entropy import IGNORED
from workbench_kernels.reference_cross_entropy import linear_cross_entropy as reference
from workbench_kernels.triton_ops import cross_entropy, vocabulary
from workbench_kernels.triton_ops.cross_entropy import linear_cross_entropy

DTYPES = [torch.float32, torch.float16, torch.bfloat16]


def defined(hidden: Tensor, weight: Tensor, labels: Tensor, z_loss: float = 0.0) -> Tensor:
    logits = hidden @ weight.T
    nll = F.cross_entropy(logits.flatten(0, -2), labels.flatten(), ignore_index=IGNORED, reduction="none")
    z = z_loss * logits.logsumexp(-1).square()
    return nll.view(labels.shape) + torch.where(labels == IGNORED, 0.0, z)


def some(device: torch.device, tokens: int, size: int, vocab: int, ignore: float = 0.0) -> tuple[Tensor, ...]:
    labels = torch.randint(0, vocab, (tokens,), device=device)
    labels[torch.rand(tokens, device=device) < ignore] = IGNORED
    hidden = torch.randn(tokens, size, device=device, dtype=torch.float64)
    return hidden, torch.randn(vocab, size, device=device, dtype=torch.float64) / size**0.5, labels


@pytest.fixture
def many_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vocabulary, "FEWEST_ROWS", 4)
    monkeypatch.setattr(vocabulary, "LOGITS_BYTES", 1)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("vocab", [1, 16, 31, 32, 33, 48, 64, 65, 128, 200])  # around one block, two, and a tail
@pytest.mark.usefixtures("sanitized")
def test_losses_and_gradients_are_the_definition(proves: Callable, device, vocab: int, dtype) -> None:
    hidden, weight, labels = some(device, 11, 12, vocab, ignore=0.2)
    labels[0], labels[1] = 0, vocab - 1
    proves(
        lambda h, w: linear_cross_entropy(h, w, labels),
        lambda h, w: defined(h, w, labels),
        hidden.to(dtype),
        weight.to(dtype),
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("ignore", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("vocab", [24, 77])
@pytest.mark.usefixtures("sanitized", "many_chunks")
def test_chunks_sum_to_the_definition_with_z_loss(proves: Callable, device, vocab: int, ignore: float, dtype) -> None:
    hidden, weight, labels = some(device, 13, 8, vocab, ignore)
    proves(
        lambda h, w: linear_cross_entropy(h, w, labels, z_loss=0.1),
        lambda h, w: defined(h, w, labels, 0.1),
        hidden.to(dtype),
        weight.to(dtype),
    )


@pytest.mark.parametrize("vocab", [24, 77])
@pytest.mark.usefixtures("sanitized")
def test_one_upstream_number_scales_the_gradients(proves: Callable, device, vocab: int) -> None:
    hidden, weight, labels = some(device, 9, 8, vocab, 0.3)
    proves(
        lambda h, w: 3 * linear_cross_entropy(h, w, labels, z_loss=0.2).sum(),
        lambda h, w: 3 * defined(h, w, labels, 0.2).sum(),
        hidden.float(),
        weight.float(),
    )


@pytest.mark.parametrize("size", [8.0, 700.0])
def test_large_logits_neither_overflow_nor_drown(proves: Callable, device, size: float) -> None:
    _, weight, labels = some(device, 9, 8, 100)
    hidden = size * F.normalize(torch.randn(9, 8, device=device, dtype=torch.float64), dim=1)
    weight = F.normalize(weight, dim=1)
    weight[7], weight[8] = F.normalize(hidden[0], dim=0), -F.normalize(hidden[0], dim=0)  # logits of +size and -size
    labels[:2] = torch.tensor([8, 7])
    proves(
        lambda h, w: linear_cross_entropy(h, w, labels),
        lambda h, w: defined(h, w, labels),
        hidden.float(),
        weight.float(),
        tolerance=1e-3,
    )


def test_equal_logits_cost_the_logarithm_of_the_vocabulary(device) -> None:
    hidden, weight = torch.zeros(3, 8, device=device), torch.randn(100, 8, device=device)
    losses = linear_cross_entropy(hidden, weight, torch.arange(3, device=device))
    torch.testing.assert_close(losses, torch.full((3,), 100.0, device=device).log())


def test_a_label_outside_of_the_vocabulary_costs_nan(device) -> None:
    hidden, weight, labels = some(device, 4, 8, 50)
    labels[1], labels[2] = 50, -1
    with interpreter.sanitize():
        losses = linear_cross_entropy(hidden.float(), weight.float(), labels)
    assert losses.isnan().tolist() == [False, True, True, False]


@pytest.mark.parametrize("tokens", [0, 5])
def test_no_tokens_or_only_ignored_ones_cost_nothing(device, tokens: int) -> None:
    hidden = torch.randn(tokens, 8, device=device, requires_grad=True)
    weight = torch.randn(20, 8, device=device, requires_grad=True)
    losses = linear_cross_entropy(hidden, weight, torch.full((tokens,), IGNORED, device=device))
    assert losses.shape == (tokens,)
    assert not losses.any()
    for upstream in (torch.ones((), device=device).expand(tokens), torch.randn(tokens, device=device)):
        for grad in torch.autograd.grad(losses, (hidden, weight), upstream, retain_graph=True):
            assert not grad.any()


def test_strided_inputs_and_leading_dimensions_are_accepted(proves: Callable, device) -> None:
    hidden = torch.randn(8, 3, 5, device=device).permute(2, 1, 0)
    weight, labels = torch.randn(8, 40, device=device).T, torch.randint(0, 40, (3, 5), device=device).T
    with interpreter.sanitize():
        proves(
            lambda h, w: linear_cross_entropy(h, w, labels),
            lambda h, w: defined(h, w, labels.contiguous()),
            hidden,
            weight,
        )


@pytest.mark.parametrize("vocab", [24, 90])
def test_without_gradients_the_losses_are_bit_equal(device, vocab: int) -> None:
    hidden, weight, labels = some(device, 7, 8, vocab)
    hidden, weight = hidden.float(), weight.float()
    with_gradients = linear_cross_entropy(hidden.requires_grad_(), weight.requires_grad_(), labels)
    with torch.no_grad():
        assert torch.equal(linear_cross_entropy(hidden, weight, labels), with_gradients)


@pytest.mark.parametrize("frozen", ["hidden", "weight"])
@pytest.mark.parametrize("uniform", [True, False])
def test_what_is_frozen_gets_no_gradient_and_the_other_the_same(device, frozen: str, uniform: bool) -> None:
    hidden, weight, labels = some(device, 7, 8, 90)
    hidden, weight = hidden.float(), weight.float()
    upstream = torch.ones((), device=device).expand(7) if uniform else torch.randn(7, device=device)
    both = [hidden.clone().requires_grad_(), weight.clone().requires_grad_()]
    expected = torch.autograd.grad(linear_cross_entropy(*both, labels), both, upstream)
    one = [hidden.clone().requires_grad_(frozen != "hidden"), weight.clone().requires_grad_(frozen != "weight")]
    linear_cross_entropy(*one, labels).backward(upstream)
    for tensor, grad in zip(one, expected, strict=True):
        assert tensor.grad is None if not tensor.requires_grad else torch.equal(tensor.grad, grad)


def test_autocast_rounds_as_the_reference_does(device) -> None:
    hidden, weight, labels = some(device, 7, 8, 90)
    results = []
    for operation in (linear_cross_entropy, reference):
        inputs = [hidden.float().requires_grad_(), weight.float().requires_grad_()]
        with torch.autocast(device.type, dtype=torch.bfloat16):
            losses = operation(*inputs, labels)
        assert losses.dtype == torch.float32
        results.append([losses, *torch.autograd.grad(losses.sum(), inputs)])
    for own, theirs in zip(*results, strict=True):
        assert own.dtype == torch.float32
        torch.testing.assert_close(own, theirs, rtol=0.02, atol=0.01)  # one rounding of a gradient in bf16


def test_programs_in_any_order_give_equal_bits(device) -> None:
    hidden, weight, labels = some(device, 9, 8, 100)
    results = []
    for seed in (1, 2):
        inputs = [hidden.float().requires_grad_(), weight.float().requires_grad_()]
        with interpreter.sanitize(seed):
            losses = linear_cross_entropy(*inputs, labels)
            results.append([losses, *torch.autograd.grad(losses, inputs, torch.arange(9.0, device=device))])
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


@settings(max_examples=12, deadline=None)
@given(
    tokens=st.integers(0, 9), vocab=st.integers(1, 150), seed=st.integers(0, 999), z_loss=st.sampled_from([0.0, 0.3])
)
def test_any_shape_agrees_with_the_definition(proves: Callable, device, tokens, vocab, seed, z_loss) -> None:
    torch.manual_seed(seed)
    hidden, weight, labels = some(device, tokens, 4, vocab, 0.2)
    with interpreter.sanitize():
        proves(
            lambda h, w: linear_cross_entropy(h, w, labels, z_loss=z_loss),
            lambda h, w: defined(h, w, labels, z_loss),
            hidden.float(),
            weight.float(),
        )


def test_the_custom_ops_keep_their_promises(device) -> None:
    hidden, weight, labels = some(device, 5, 8, 40, 0.3)
    hidden, weight = hidden.float().requires_grad_(), weight.float().requires_grad_()
    torch.library.opcheck(cross_entropy.forward_op, (hidden, weight, labels, 0.1, torch.float32, True, True))
    again = (hidden.detach(), weight.detach(), labels, torch.randn(5, device=device), torch.randn(5, device=device))
    torch.library.opcheck(cross_entropy.weight_gradient_op, (*again, 0.1, torch.float32))


@pytest.mark.parametrize("rows", [1, 2047, 2048, 5000, 100_000])
@pytest.mark.parametrize("vocab", [1, 32_000, 1_000_000])
def test_chunks_cover_all_rows_once_and_are_large(rows: int, vocab: int) -> None:
    parts = list(vocabulary.chunks(rows, vocab, torch.bfloat16))
    assert [row for part in parts for row in range(part.start, part.stop)] == list(range(rows))
    assert len(parts) == 1 or min(part.stop - part.start for part in parts) >= vocabulary.FEWEST_ROWS // 2
