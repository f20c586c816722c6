"""The project's operations as they are launched: at the compared sizes, and once for every entry of their tables.

`CALLS` is the form that other reporting tools read: functions without arguments whose launches can be caught. Loaded as
a file, it needs the repository and its folder kernels on PYTHONPATH.
"""

import importlib
import pkgutil
from collections.abc import Callable, Iterator
from functools import partial
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from tests.kernels.comparison import (
    EPS,
    FEW,
    HEAD_DIM,
    SEQ,
    Case,
    add_norm_inputs,
    both_passes,
    constant,
    distillation_inputs,
    experts_inputs,
    gated_inputs,
    heads_first_inputs,
    loss_inputs,
    norm_inputs,
    norm_passes,
    number,
)
from workbench_kernels import triton_ops

HALF, WIDE = torch.bfloat16, torch.float32

operations: dict[str, ModuleType] = {
    found.name: importlib.import_module(f"workbench_kernels.triton_ops.{found.name}")
    for found in pkgutil.iter_modules(triton_ops.__path__)
}


def cases() -> list[Case]:
    """What stands against the peers, and what has no peer."""
    norms, rotary = operations["rms_norm"], operations["rotary"]
    return [
        *norm_passes("rms_norm", "own", norm_inputs, partial(norms.rms_norm, eps=EPS)),
        *norm_passes("add_rms_norm", "own", add_norm_inputs, partial(norms.add_rms_norm, eps=EPS)),
        *both_passes("apply_rotary", "own", rotary_inputs, rotary.apply_rotary),
        *both_passes("qk_norm_rotary", "own", normed_rotary_inputs, _qk_norm_rotary, counted=(2, 3)),
        *both_passes("swiglu", "own", gated_inputs, operations["swiglu"].swiglu, counted=FEW),
        *(
            both_passes("attention", "own", heads_first_inputs, operations["attention"].attention, counted=(1,))
            if hasattr(operations["attention"], "attention")
            else []
        ),
        Case(
            "linear_cross_entropy",
            "own",
            "both",
            loss_inputs,
            _summed(operations["cross_entropy"].linear_cross_entropy),
            counted=FEW,
        ),
        Case("linear_kl", "own", "both", distillation_inputs, _summed(operations["kl"].linear_kl), counted=FEW),
        *both_passes("grouped_matmul", "own", experts_inputs, operations["grouped_matmul"].grouped_matmul),
        Case("int8_matmul", "own", "forward", _int8_inputs(1, 4096, 4096), operations["int8_matmul"].int8_matmul),
    ]


def table_cases(architecture: str) -> list[Case]:
    """Calls that make each operation launch every configuration of its table at least once."""
    return [
        *_norm_table(architecture),
        *_rotary_table(),
        *both_passes("swiglu", "own", gated_inputs, operations["swiglu"].swiglu, counted=FEW),
        *_attention_table(),
        *_loss_table(),
        *_matmul_table(),
    ]


def expected_launches(architecture: str) -> dict[str, dict[str, Any]]:
    """The entries of all tables: the module's name and the entry's name, and the options it launches with."""
    return {
        f"{name}: {entry}": launch.options()
        for name, module in operations.items()
        if hasattr(module, "launches")
        for entry, launch in module.launches(architecture).items()
    }


def rotary_inputs(batch: int) -> tuple[Tensor, ...]:
    """q, k and tables whose second half repeats the first."""
    q, k, _ = heads_first_inputs(batch)
    return q, k, constant(SEQ, HEAD_DIM), constant(SEQ, HEAD_DIM)


def normed_rotary_inputs(batch: int) -> tuple[Tensor, ...]:
    """Likewise, with a weight for the heads of q and one for those of k."""
    return *rotary_inputs(batch), number(HEAD_DIM), number(HEAD_DIM)


def _qk_norm_rotary(q: Tensor, k: Tensor, cos: Tensor, sin: Tensor, q_weight: Tensor, k_weight: Tensor) -> Any:
    return operations["rotary"].qk_norm_rotary(q, k, q_weight, k_weight, cos, sin, EPS)


def _summed(loss: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """A training step's loss: its upstream gradient is one number."""
    return lambda *inputs: loss(*inputs).sum()


def _weighted(loss: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """A loss whose tokens weigh differently."""
    return lambda *inputs: loss(*inputs) * constant(len(inputs[0]))


def _norm_table(architecture: str) -> Iterator[Case]:
    norms = operations["rms_norm"]
    widest = norms.widest_block(architecture)
    widths = [*(1 << exponent for exponent in range(widest.bit_length())), 2 * widest]
    for width in widths:
        inputs = _inputs_of(lambda width: (number(4096, width), number(width)), width)
        yield from both_passes("rms_norm", "own", inputs, partial(norms.rms_norm, eps=EPS), note=f"{width} wide")
    for width in (1024, 2 * widest):
        inputs = _inputs_of(lambda width: (number(4096, width), number(4096, width), number(width)), width)
        function = partial(norms.add_rms_norm, eps=EPS)
        yield from both_passes("add_rms_norm", "own", inputs, function, note=f"{width} wide")


def _rotary_table() -> Iterator[Case]:
    rotary = operations["rotary"]
    for head_dim in (1 << exponent for exponent in range(1, 10)):
        inputs = _inputs_of(_heads_and_tables, head_dim)
        yield from both_passes("apply_rotary", "own", inputs, rotary.apply_rotary, note=f"heads of {head_dim}")
        inputs = _inputs_of(lambda size: (*_heads_and_tables(size), number(size), number(size)), head_dim)
        yield from both_passes("qk_norm_rotary", "own", inputs, _qk_norm_rotary, note=f"heads of {head_dim}")


def _heads_and_tables(head_dim: int) -> tuple[Tensor, ...]:
    heads = (number(4, SEQ, count, head_dim).transpose(1, 2) for count in (16, 4))
    return *heads, constant(SEQ, head_dim), constant(SEQ, head_dim)


def _attention_table() -> Iterator[Case]:
    if not hasattr(operations["attention"], "attention"):
        return
    attention = operations["attention"].attention
    starts = torch.zeros(2, SEQ, dtype=torch.int64)
    limits = {"window": 256, "document_starts": starts}
    for head_dim in (16, 24, 32, 64, 80, 96, 128):
        for dtype in (HALF, WIDE):
            inputs = _inputs_of(_queries_and_keys, head_dim, dtype, SEQ)
            note = f"heads of {head_dim}, {dtype}"
            yield from both_passes("attention", "own", inputs, attention, note=note)
            if head_dim in (32, 64, 80, 128):
                function, note = partial(attention, **limits), f"window and documents, {note}"
                yield from both_passes("attention", "own", inputs, function, note=note)
    for head_dim in (64, 128):
        inputs = _inputs_of(_queries_and_keys, head_dim, HALF, SEQ)
        for note, named in (
            ("all keys", {"causal": False}),
            *((name, {name: limit}) for name, limit in limits.items()),
        ):
            note = f"{note}, heads of {head_dim}"
            yield from both_passes("attention", "own", inputs, partial(attention, **named), note=note)
    for head_dim in (64, 128):  # as many heads of keys as of queries: the loop over a group falls away
        inputs = _inputs_of(_equal_heads, head_dim)
        yield from both_passes("attention", "own", inputs, attention, note=f"no groups, heads of {head_dim}")
    for head_dim in (64, 128):
        inputs = _inputs_of(_queries_and_keys, head_dim, HALF, 1)
        yield Case("attention", "own", "forward", inputs, attention, note=f"decoding, heads of {head_dim}")


def _queries_and_keys(head_dim: int, dtype: torch.dtype, queries: int) -> tuple[Tensor, ...]:
    sizes = ((queries, 16), (SEQ, 4), (SEQ, 4))
    return tuple(number(2, seq, heads, head_dim, dtype=dtype).transpose(1, 2) for seq, heads in sizes)


def _equal_heads(head_dim: int) -> tuple[Tensor, ...]:
    return tuple(number(2, SEQ, 16, head_dim).transpose(1, 2) for _ in range(3))


def _loss_table() -> Iterator[Case]:
    for vocab in (1000, 8192, 32000):
        for kind, around in (("summed", _summed), ("weighted", _weighted)):
            inputs = _inputs_of(
                lambda vocab: (number(512, 256), number(vocab, 256), torch.zeros(512, dtype=torch.int64)), vocab
            )
            loss = around(operations["cross_entropy"].linear_cross_entropy)
            yield Case("linear_cross_entropy", "own", "both", inputs, loss, note=f"vocabulary of {vocab}, {kind}")
            for direction in ("forward", "reverse"):
                inputs = _inputs_of(_both_models, vocab)
                loss = around(partial(operations["kl"].linear_kl, direction=direction))
                note = f"vocabulary of {vocab}, {kind}, {direction}"
                yield Case("linear_kl", "own", "both", inputs, loss, note=note)


def _both_models(vocab: int) -> tuple[Tensor, ...]:
    teacher = constant(512, 256, dtype=HALF), constant(vocab, 256, dtype=HALF)
    return number(512, 256), number(vocab, 256), *teacher


def _matmul_table() -> Iterator[Case]:
    grouped, int8 = operations["grouped_matmul"].grouped_matmul, operations["int8_matmul"].int8_matmul
    for tokens, dtype in ((8192, HALF), (64, HALF), (8192, WIDE)):
        inputs = _inputs_of(_tokens_and_experts, tokens, dtype)
        yield from both_passes("grouped_matmul", "own", inputs, grouped, note=f"{tokens} tokens, {dtype}")
    for rows, dtype in ((1, HALF), (2, HALF), (4, HALF), (8, HALF), (64, HALF), (64, WIDE)):
        yield Case(
            "int8_matmul", "own", "forward", _int8_inputs(rows, 4096, 4096, dtype), int8, note=f"{rows} tokens, {dtype}"
        )


def _tokens_and_experts(tokens: int, dtype: torch.dtype) -> tuple[Tensor, ...]:
    experts = 8
    counts = torch.full((experts,), tokens // experts, dtype=torch.int64)
    return number(tokens, 1024, dtype=dtype), number(experts, 1024, 1024, dtype=dtype), counts


def _int8_inputs(rows: int, out_features: int, in_features: int, dtype: torch.dtype = HALF) -> Callable:
    def make(batch: int) -> tuple[Tensor, ...]:
        weight = number(out_features, in_features, dtype=torch.int8)
        return constant(rows * batch // 8 or rows, in_features, dtype=dtype), weight, constant(out_features)

    return make


def _inputs_of(make: Callable[..., tuple[Tensor, ...]], *sizes: Any) -> Callable[[int], tuple[Tensor, ...]]:
    """Inputs of sizes of their own, whatever the batch."""
    return lambda batch: make(*sizes)


def _call(case: Case) -> Callable[[], None]:
    """`case` as a function that pretends the architecture for which its caller compiles."""

    def call() -> None:
        from triton.runtime.driver import driver

        from tests.kernels.capture import own_operations_launch
        from tests.kernels.pretence import architecture_of, pretending

        with pretending(architecture_of(driver.active.get_current_target())), own_operations_launch():
            case.run()

    return call


CALLS = [{"op": case.op, "peer": "own", "call": _call(case)} for case in cases()]
