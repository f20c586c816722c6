"""A one-layer model computes the same loss and the same gradients by its kernels as by plain PyTorch."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from workbench.model.configuration import ModelConfig
from workbench.model.initialize import initialize
from workbench.model.transformer import Transformer
from workbench_kernels import dispatch

ONE_LAYER = ModelConfig(
    vocab_size=97,
    hidden_size=48,
    intermediate_size=80,
    num_hidden_layers=1,
    num_attention_heads=4,
    num_key_value_heads=2,
    head_dim=16,
    max_position_embeddings=64,
    initializer_range=0.1,
    bos_token_id=1,
    eos_token_id=2,
    pad_token_id=2,
)
MIXTURE = replace(
    ONE_LAYER,
    model_type="qwen3_moe",
    num_experts=5,
    num_experts_per_tok=2,
    moe_intermediate_size=40,
    norm_topk_prob=True,
)
BATCH, SEQ = 2, 37

# As for a single kernel, times the few in a row.
TOLERANCE = {torch.float32: 2e-5, torch.bfloat16: 5e-2}


def loss_and_gradients(
    side: str, device, dtype: torch.dtype, packed: bool, autocast: bool, config: ModelConfig = ONE_LAYER
) -> dict[str, Tensor]:
    model = Transformer(config)
    initialize(model, 0)
    model = model.to(device, torch.float64 if side == "truth" else torch.float32 if autocast else dtype)
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(0, ONE_LAYER.vocab_size, (BATCH, SEQ + 1), generator=generator).to(device)
    labels = ids[:, 1:].clone()
    labels[:, ::6] = -100
    starts = None
    if packed:  # documents of 1, 16 and 20 tokens, and a row of one
        starts = torch.tensor([[0] + [1] * 16 + [17] * 20, [0] * SEQ], device=device)
    with (
        dispatch.forced("reference" if side == "truth" else side),
        torch.autocast(device.type, dtype=dtype, enabled=autocast and side != "truth"),
    ):
        total, count = model.loss(ids[:, :-1], labels, starts)
        (total / count).backward()
    return {"loss": total.detach(), **{name: weight.grad for name, weight in model.named_parameters()}}


@pytest.mark.parametrize("packed", [False, True], ids=["rows", "packed"])
@pytest.mark.parametrize(
    ("dtype", "autocast"),
    [(torch.float32, False), (torch.bfloat16, False), (torch.bfloat16, True)],
    ids=["float32", "bfloat16", "autocast"],
)
def test_loss_and_every_gradient_agree_between_both_sides(sanitized, device, dtype, autocast, packed) -> None:
    truth = loss_and_gradients("truth", device, dtype, packed, autocast)
    for side in ("triton", "reference"):
        got = loss_and_gradients(side, device, dtype, packed, autocast)
        assert got.keys() == truth.keys()
        for name, expected in truth.items():
            error = (got[name].double() - expected).abs().max() / expected.abs().max()
            assert error < TOLERANCE[dtype], f"{side} {name}: {error:.1e}"


# Routers decide in float32, but on what the layers before them rounded: in bfloat16 a close call may fall either way.
@pytest.mark.slow
def test_experts_and_normed_heads_agree_too(device, monkeypatch) -> None:
    truth = loss_and_gradients("truth", device, torch.float32, True, False, MIXTURE)
    asked = note_kernels(monkeypatch)
    got = loss_and_gradients("triton", device, torch.float32, True, False, MIXTURE)
    assert asked >= {"qk_norm_rotary", "grouped_matmul"}
    for name, expected in truth.items():
        error = (got[name].double() - expected).abs().max() / expected.abs().max()
        assert error < TOLERANCE[torch.float32], f"{name}: {error:.1e}"


def note_kernels(monkeypatch) -> set[str]:
    """The kernels asked for from now on."""
    asked: set[str] = set()
    right = dispatch.side

    def noted(name: str, tensor: Tensor) -> bool:
        answer = right(name, tensor)
        if answer:
            asked.add(name)
        return answer

    monkeypatch.setattr(dispatch, "side", noted)
    return asked


def test_the_kernels_were_asked_for(device, monkeypatch) -> None:
    asked = note_kernels(monkeypatch)
    loss_and_gradients("triton", device, torch.float32, False, False)
    assert asked == {"rms_norm", "add_rms_norm", "apply_rotary", "swiglu", "attention", "linear_cross_entropy"}


def test_a_compiled_function_keeps_the_kernels_as_they_are(device) -> None:
    import workbench_kernels

    def block(x: Tensor, weight: Tensor, gate: Tensor) -> Tensor:
        normed, total = workbench_kernels.add_rms_norm(x, gate, weight, 1e-5)
        return workbench_kernels.swiglu(normed, total)

    inputs = [torch.randn(*shape, device=device, requires_grad=True) for shape in ((5, 24), (24,), (5, 24))]
    with dispatch.forced("triton"):
        expected = block(*inputs)
        got = torch.compile(block, backend="aot_eager", fullgraph=True)(*inputs)
        upstream = torch.randn_like(got)
        assert torch.equal(got, expected)
        for one, other in zip(
            torch.autograd.grad(got, inputs, upstream), torch.autograd.grad(expected, inputs, upstream), strict=True
        ):
            torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-6)
