"""Optimizer state in fewer bits: right on average, never blowing up, and learning what float32 learns."""

from typing import Any

import pytest
import torch

from workbench.training import state_formats
from workbench.training.compact_adamw import CompactAdamW
from workbench.training.state_formats import SMALLEST, StateFormatter, rounded_to_bf16

SEED = (3, 5)


def kept(values: torch.Tensor, state_format: Any, square: bool = False, seed: tuple[int, int] = SEED) -> torch.Tensor:
    state: dict[str, Any] = {}
    formatter = StateFormatter(state_format)
    formatter.write(state, "memory", values, seed, square)
    return formatter.read(state, "memory", values)


def test_rounding_to_bf16_is_right_on_average() -> None:
    value = 1 + 2**-9  # a quarter of the way between two neighbours that lie 2^-7 apart
    rounded = rounded_to_bf16(torch.full((100_000,), value), torch.Generator().manual_seed(0)).float()
    assert set(rounded.tolist()) == {1.0, 1 + 2**-7}
    # the share that goes up has a deviation of sqrt(1/4 * 3/4 / 100,000) = 0.0014
    assert (rounded > 1).float().mean().item() == pytest.approx(0.25, abs=0.007)


@pytest.mark.parametrize("state_format", ["bf16", "int8"])
@pytest.mark.parametrize("square", [False, True])
def test_what_is_kept_is_right_on_average(state_format: str, square: bool) -> None:
    values = torch.randn(SMALLEST, generator=torch.Generator().manual_seed(1))
    values = values.square() if square else values
    rounds = torch.stack([kept(values, state_format, square, (step, 0)) for step in range(200)])
    # one step of a code at the top is 2/127 (sign) or 4/255 (square) of the largest; 200 rounds take off a factor of
    # 14, and five such deviations are allowed. The power law bends a step by less than its square.
    allowed = 5 * 4 / 255 / 14 + (4 / 255) ** 2
    assert (rounds.mean(0) - values).abs().max() < allowed * values.abs().max()


def test_zeros_stay_zeros_and_signs_stay_signs() -> None:
    values = torch.randn(SMALLEST, generator=torch.Generator().manual_seed(1))
    values[::3] = 0.0
    back = kept(values, "int8")
    assert torch.equal(back[::3], torch.zeros_like(back[::3]))
    assert (back * values >= 0).all()
    assert torch.equal(kept(torch.zeros(SMALLEST), "int8", square=True), torch.zeros(SMALLEST))


def test_a_small_square_beside_a_large_one_is_never_taken_for_none() -> None:
    gradients = torch.full((SMALLEST,), 1e-6)
    gradients[0] = 1.0
    mean, square = kept(gradients, "int8"), kept(gradients.square(), "int8", square=True)
    assert (mean.abs() <= square.sqrt() * 1.01).all(), "no update is longer than the learning rate"


@pytest.mark.parametrize("state_format", ["bf16", "int8"])
def test_a_slow_memory_does_not_stand_still(state_format: str) -> None:
    """With a share of 0.999 kept, a step changes less than half a code: the nearest one would never leave it."""
    formatter, state = StateFormatter(state_format), dict[str, Any]()  # type: ignore[arg-type]
    like = torch.ones(SMALLEST)
    formatter.write(state, "square", like, SEED, True)
    for step in range(1000):
        values = formatter.read(state, "square", like) * 0.999 + 0.001 * 0.25
        values[::256] = 1.0  # the largest of each block stays
        formatter.write(state, "square", values, (step, 0), True)
    expected = 0.25 + 0.75 * 0.999**1000
    others = formatter.read(state, "square", like).view(-1, 256)[:, 1:]
    assert others.mean().item() == pytest.approx(expected, rel=0.03)


def test_few_numbers_are_kept_in_float32() -> None:
    values = torch.randn(SMALLEST - 1)
    assert torch.equal(kept(values, "int8"), values)


@pytest.mark.parametrize("state_format", ["bf16", "int8"])
def test_a_first_step_is_that_of_torch_whatever_the_format(state_format: Any) -> None:
    start = torch.randn(64, 80, generator=torch.Generator().manual_seed(0))
    ours, theirs = torch.nn.Parameter(start.clone()), torch.nn.Parameter(start.clone())
    ours.grad = theirs.grad = torch.randn(64, 80, generator=torch.Generator().manual_seed(2))
    settings: dict[str, Any] = {"lr": 1e-2, "betas": (0.9, 0.95), "eps": 1e-8, "weight_decay": 0.1}
    CompactAdamW([{"params": [ours]}], state_format=state_format, **settings).step()
    torch.optim.AdamW([theirs], **settings).step()
    # its state begins at zero, which every format holds: two float32 orders of operations apart
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["adamw", "muon"])
@pytest.mark.parametrize("state", ["bf16", "int8"])
def test_a_run_learns_what_it_learns_with_float32_state(
    make_bench: Any, monkeypatch: pytest.MonkeyPatch, name: str, state: str
) -> None:
    monkeypatch.setattr(state_formats, "SMALLEST", 16)  # the model's matrices are small
    quiet = {"evaluate_every": 0, "sample_every": 0, "checkpoint_every": 0, "steps": 120}
    plain = make_bench(optimizer={"name": name}, **quiet)
    compact = make_bench(optimizer={"name": name, "state": state}, **quiet)
    plain.trainer.run(), compact.trainer.run()
    last = [sum(bench.losses()[step] for step in range(101, 121)) / 20 for bench in (plain, compact)]
    assert last[0] < plain.losses()[1] - 0.5, "the task can be learned"
    assert last[1] == pytest.approx(last[0], abs=0.05)
