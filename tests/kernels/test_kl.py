"""The divergence from a teacher, reference and Triton: values and gradients against float64."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.kernels import interpreter
from workbench_kernels import reference_cross_entropy, reference_kl
from workbench_kernels.reference_cross_entropy import IGNORED
from workbench_kernels.triton_ops import kl, vocabulary

DTYPES = [torch.float32, torch.float16, torch.bfloat16]
DIRECTIONS = ["forward", "reverse"]
SIDES = {"reference": reference_kl.linear_kl, "triton": kl.linear_kl}


def defined(h: Tensor, w: Tensor, th: Tensor, tw: Tensor, labels, temperature: float, direction: str) -> Tensor:
    student = (h @ w.T / temperature).log_softmax(-1)
    teacher = (th.double() @ tw.double().T / temperature).log_softmax(-1)
    first, second = (teacher, student) if direction == "forward" else (student, teacher)
    divergence = (first.exp() * (first - second)).sum(-1)
    return divergence if labels is None else torch.where(labels == IGNORED, 0.0, divergence)


def some(device, tokens: int, vocab: int, dtype=torch.float32) -> list[Tensor]:
    shapes = [(tokens, 8), (vocab, 8), (tokens, 6), (vocab, 6)]
    return [torch.randn(shape, device=device).mul(0.6).to(dtype) for shape in shapes]


def compare(
    proves: Callable, operation: Callable, given_: list[Tensor], labels, temperature, direction, **more
) -> None:
    hidden, weight, *teacher = given_
    proves(
        lambda h, w: operation(h, w, *teacher, labels, temperature=temperature, direction=direction),
        lambda h, w: defined(h, w, *teacher, labels, temperature, direction),
        hidden,
        weight,
        **more,
    )


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("vocab", "temperature"), [(1, 1.0), (31, 2.0), (64, 0.5), (77, 1.0), (150, 4.0)])
@pytest.mark.usefixtures("sanitized")
def test_divergence_and_gradients_are_the_definition(
    proves: Callable, device, vocab: int, temperature: float, dtype, direction: str, side: str
) -> None:
    labels = torch.tensor([0, IGNORED, 3, 9, 1, IGNORED, 5], device=device)
    given_ = some(device, 7, vocab, dtype)
    for hidden in (given_[0], given_[2]):  # both sides round logits to bf16, an error that a low temperature multiplies
        hidden *= min(1.0, temperature)
    compare(proves, SIDES[side], given_, labels, temperature, direction)


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.usefixtures("sanitized")
def test_chunks_sum_to_the_definition(proves, device, monkeypatch, dtype, direction: str, side: str) -> None:
    for module, name in ((vocabulary, "FEWEST_ROWS"), (reference_cross_entropy, "_FEWEST_ROWS")):
        monkeypatch.setattr(module, name, 3)
    monkeypatch.setattr(vocabulary, "LOGITS_BYTES", 1)
    monkeypatch.setattr(reference_cross_entropy, "_LOGITS_AT_ONCE", 1)
    monkeypatch.setattr(reference_cross_entropy, "_SOFTMAX_AT_ONCE", 90)
    compare(proves, SIDES[side], some(device, 10, 40, dtype), None, 2.0, direction)


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_one_upstream_number_scales_the_gradients(proves: Callable, device, direction: str, side: str) -> None:
    hidden, weight, *teacher = some(device, 6, 77)
    proves(
        lambda h, w: 3 * SIDES[side](h, w, *teacher, temperature=2.0, direction=direction).sum(),
        lambda h, w: 3 * defined(h, w, *teacher, None, 2.0, direction).sum(),
        hidden,
        weight,
    )


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_large_logits_neither_overflow_nor_drown(proves: Callable, device, direction: str) -> None:
    hidden, weight, teacher_hidden, teacher_weight = some(device, 5, 100)
    hidden = 700 * F.normalize(hidden, dim=1)
    teacher_hidden = 700 * F.normalize(teacher_hidden, dim=1)
    given_ = [hidden, F.normalize(weight, dim=1), teacher_hidden, F.normalize(teacher_weight, dim=1)]
    # A GPU's approximate powers of 2 are seen to leave 1.3e-3 of differences of hundreds.
    tolerance = 4e-3 if device.type == "cuda" else 1e-3
    compare(proves, kl.linear_kl, given_, None, 1.0, direction, tolerance=tolerance)


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_a_student_that_is_its_teacher_diverges_by_zero(device, direction: str, side: str) -> None:
    hidden, weight, *_ = some(device, 5, 77)
    own = [hidden.clone().requires_grad_(), weight.clone().requires_grad_()]
    divergence = SIDES[side](*own, hidden, weight, direction=direction)
    grads = torch.autograd.grad(divergence.sum(), own)
    assert all(each.abs().max() < 1e-5 for each in (divergence, *grads))


@pytest.mark.parametrize("side", SIDES)
def test_no_tokens_or_only_ignored_ones_cost_nothing(device, side: str) -> None:
    for tokens in (0, 4):
        given_ = [each.requires_grad_() for each in some(device, tokens, 20)]
        labels = torch.full((tokens,), IGNORED, device=device)
        divergence = SIDES[side](*given_, labels)
        assert divergence.shape == (tokens,)
        divergence.backward(torch.randn(tokens, device=device))
        assert not given_[0].grad.any() and not given_[1].grad.any()
        assert given_[2].grad is None and given_[3].grad is None


@pytest.mark.parametrize("side", SIDES)
def test_what_cannot_be_meant_is_refused(device, side: str) -> None:
    hidden, weight, teacher_hidden, teacher_weight = some(device, 4, 20)
    operation = SIDES[side]
    with pytest.raises(ValueError, match="19"):
        operation(hidden, weight, teacher_hidden, teacher_weight[:19])
    with pytest.raises(ValueError, match="same tokens"):
        operation(hidden, weight, teacher_hidden[:3], teacher_weight)
    with pytest.raises(ValueError, match="temperature"):
        operation(hidden, weight, teacher_hidden, teacher_weight, temperature=0.0)
    with pytest.raises(ValueError, match="sideways"):
        operation(hidden, weight, teacher_hidden, teacher_weight, direction="sideways")


def test_the_reference_passes_gradcheck() -> None:
    hidden, weight, *teacher = (each.double() for each in some(torch.device("cpu"), 4, 5))
    for direction in DIRECTIONS:
        assert torch.autograd.gradcheck(
            lambda h, w, d=direction: reference_kl.linear_kl(h, w, *teacher, temperature=2.0, direction=d),
            (hidden.requires_grad_(), weight.requires_grad_()),
        )


@settings(max_examples=8, deadline=None)
@given(
    tokens=st.integers(0, 6), vocab=st.integers(1, 150), seed=st.integers(0, 999), direction=st.sampled_from(DIRECTIONS)
)
def test_any_shape_agrees_with_the_definition(proves: Callable, device, tokens, vocab, seed, direction) -> None:
    torch.manual_seed(seed)
    with interpreter.sanitize():
        compare(proves, kl.linear_kl, some(device, tokens, vocab), None, 1.5, direction)


def test_the_custom_op_keeps_its_promises(device) -> None:
    hidden, weight, *teacher = some(device, 5, 40)
    inputs = (hidden.requires_grad_(), weight.requires_grad_(), *teacher, torch.arange(5, device=device), None)
    torch.library.opcheck(kl.forward_op, (*inputs, 2.0, True, torch.float32, True, True))
