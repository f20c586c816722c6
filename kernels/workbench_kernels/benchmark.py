"""The operations timed on a GPU: ours, PyTorch's, compiled PyTorch, Liger-Kernel; and what is known without one.

The roofline is the card's own: the rates of a large copy and of a large bfloat16 product, measured first.
"""

import json
import math
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import resources
from importlib.util import find_spec
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

import workbench_kernels
from workbench_kernels import dispatch

BATCH, SEQ, HEADS, HEAD_DIM, HIDDEN, INTERMEDIATE, VOCAB = 8, 1024, 16, 64, 1024, 2816, 32000
EXPERTS = 8
_EPS = 1e-6
_TOKENS = BATCH * SEQ


@dataclass(frozen=True)
class Timing:
    """One pass of one operation.

    Args:
        operation: its name and, where it has a gradient, the pass: `forward` or `backward`.
        error: the largest deviation from float64 over the largest true value, of the pass's outputs or gradients.
        microseconds: by contender, the median; None where it is not installed or failed.
        bound_microseconds: what the moved bytes or the flops take at the card's measured rates.
    """

    operation: str
    error: float
    microseconds: dict[str, float | None]
    megabytes: float
    gflop: float
    bound_microseconds: float

    @property
    def percent_of_roofline(self) -> float:
        """Of ours."""
        return 100 * self.bound_microseconds / (self.microseconds["ours"] or math.inf)

    @property
    def achieved(self) -> str:
        """TFLOP/s where there are products, else TB/s."""
        seconds = (self.microseconds["ours"] or math.inf) * 1e-6
        if self.gflop > 1:
            return f"{self.gflop / seconds / 1e3:.0f} TFLOP/s"
        return f"{self.megabytes / seconds / 1e6:.2f} TB/s"


@dataclass(frozen=True)
class _Workload:
    """An operation at the sizes of training.

    Args:
        shapes: of the inputs that have gradients.
        moved: bytes of the forward and of the backward pass; no second entry where there is no gradient.
        flops: of its matrix products, likewise.
        plain: what PyTorch's users write, where that is not the reference: losses over all logits at once.
        fixed: makes the inputs that have none.
    """

    name: str
    shapes: tuple[tuple[int, ...], ...]
    ours: Callable[..., Any]
    liger: Callable[..., Any] | None
    moved: tuple[float, ...]
    flops: tuple[float, ...] = (0.0, 0.0)
    fixed: Callable[[torch.device], tuple[Tensor, ...]] = lambda device: ()
    plain: Callable[..., Any] | None = None


def timings(device: torch.device, on_start: Callable[[str], object] = lambda name: None) -> Iterator[Timing]:
    """Time every operation on `device`, one after another.

    Args:
        on_start: called with the operation and the contender whose turn it is.
    """
    bandwidth, rate = _measured_rates(device)
    for work in _workloads():
        # Of the size that norms leave: losses of wild logits would be compared where rounding decides.
        inputs = [torch.randn(shape, device=device, dtype=torch.bfloat16) / shape[-1] ** 0.25 for shape in work.shapes]
        fixed = work.fixed(device)
        contenders: dict[str, tuple[str, Callable[..., Any]]] = {
            "ours": ("triton", work.ours),
            "eager": ("reference", work.plain or work.ours),
            "compiled": ("reference", torch.compile(work.plain or work.ours)),
        }
        if work.liger is not None and find_spec("liger_kernel"):
            contenders["liger"] = ("auto", work.liger)
        passes = ("forward", "backward")[: len(work.moved)]
        times = {}
        for name, (side, operation) in contenders.items():
            on_start(f"{work.name}: {name}")
            with dispatch.forced(side):
                times[name] = _times(operation, inputs, fixed, passes)
        errors = _errors(work.ours, inputs, fixed, passes)
        for place, name in enumerate(passes):
            yield Timing(
                f"{work.name} {name}" if len(passes) > 1 else work.name,
                errors[name],
                {each: times.get(each, {}).get(name) for each in ("ours", "eager", "compiled", "liger")},
                work.moved[place] / 1e6,
                work.flops[place] / 1e9,
                max(work.moved[place] / bandwidth, work.flops[place] / rate) * 1e6,
            )


def static_table() -> list[dict[str, Any]]:
    """What ahead-of-time compilation says of the kernels; `tests/kernels/static_table.py` makes the file."""
    text = resources.files("workbench_kernels").joinpath("static_table.json").read_text(encoding="utf-8")
    rows: list[dict[str, Any]] = json.loads(text)["rows"]
    return rows


def _workloads() -> list[_Workload]:
    element = 2
    rows = _TOKENS * HIDDEN * element  # bytes of the hidden states
    gated = _TOKENS * INTERMEDIATE * element
    heads = (BATCH, HEADS, SEQ, HEAD_DIM)
    scores = 2 * BATCH * HEADS * SEQ * SEQ * HEAD_DIM / 2  # flops of one causal product
    head = 2 * _TOKENS * HIDDEN * VOCAB
    matrix = VOCAB * HIDDEN * element
    experts = EXPERTS * HIDDEN * HIDDEN * element
    chosen = 2 * rows  # two experts a token
    routed = 2 * 2 * _TOKENS * HIDDEN * HIDDEN
    hidden, tokens = (_TOKENS, HIDDEN), (HIDDEN,)
    ops = workbench_kernels
    return [
        _Workload("rms_norm", (hidden, tokens), partial(ops.rms_norm, eps=_EPS), _liger_norm, (2 * rows, 3 * rows)),
        _Workload(
            "add_rms_norm", (hidden, hidden, tokens), partial(ops.add_rms_norm, eps=_EPS), _liger_add_norm,
            (4 * rows, 4 * rows),
        ),
        _Workload(
            "apply_rotary", (heads, heads), ops.apply_rotary, _liger_rotary, (4 * rows, 4 * rows), fixed=_tables
        ),
        _Workload(
            "qk_norm_rotary", (heads, heads, (HEAD_DIM,), (HEAD_DIM,)), partial(ops.qk_norm_rotary, eps=_EPS), None,
            (4 * rows, 6 * rows), fixed=_tables,
        ),
        _Workload("swiglu", ((_TOKENS, INTERMEDIATE),) * 2, ops.swiglu, _liger_swiglu, (3 * gated, 5 * gated)),
        _Workload(
            "attention", (heads,) * 3, ops.attention, None, (4 * rows, 8 * rows), (2 * scores, 5 * scores)
        ),
        # The forward pass makes the gradients too.
        _Workload(
            "linear_cross_entropy", (hidden, (VOCAB, HIDDEN)), ops.linear_cross_entropy, _liger_loss,
            (2 * rows + 3 * matrix, 2 * rows + 2 * matrix), (3 * head, 0.0), fixed=_labels,
            plain=_plain_loss,
        ),
        _Workload(
            "linear_kl", (hidden, (VOCAB, HIDDEN)), ops.linear_kl, None,
            (3 * rows + 4 * matrix, 2 * rows + 2 * matrix), (4 * head, 0.0), fixed=_teacher,
            plain=_plain_kl,
        ),
        _Workload(
            "grouped_matmul", ((2 * _TOKENS, HIDDEN), (EXPERTS, HIDDEN, HIDDEN)), ops.grouped_matmul, None,
            (2 * chosen + experts, 3 * chosen + 2 * experts), (routed, 2 * routed), fixed=_counts,
        ),
        _Workload("int8_matmul", ((1, 4096),), ops.int8_matmul, None, (4096 * 4096,), (0.0,), fixed=_int8_matrix),
    ]  # fmt: skip


def _tables(device: torch.device) -> tuple[Tensor, ...]:
    angles = torch.rand(SEQ, HEAD_DIM // 2, device=device).repeat(1, 2)
    return angles.cos(), angles.sin()


def _labels(device: torch.device) -> tuple[Tensor, ...]:
    return (torch.randint(0, VOCAB, (_TOKENS,), device=device),)


def _teacher(device: torch.device) -> tuple[Tensor, ...]:
    shapes = (_TOKENS, HIDDEN), (VOCAB, HIDDEN)
    hidden, weight = (torch.randn(shape, device=device, dtype=torch.bfloat16) / HIDDEN**0.25 for shape in shapes)
    return hidden, weight, *_labels(device)


def _counts(device: torch.device) -> tuple[Tensor, ...]:
    """Tokens by expert, from half as many as an even share to half as many more."""
    shares = torch.linspace(0.5, 1.5, EXPERTS) * 2 * _TOKENS / EXPERTS
    counts = shares.long()
    counts[-1] += 2 * _TOKENS - counts.sum()
    return (counts.to(device),)


def _int8_matrix(device: torch.device) -> tuple[Tensor, ...]:
    return workbench_kernels.quantize_int8(torch.randn(4096, 4096, device=device))


def _plain_loss(hidden: Tensor, weight: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy((hidden @ weight.T).float(), labels, reduction="none")


def _plain_kl(hidden: Tensor, weight: Tensor, teacher: Tensor, teacher_weight: Tensor, labels: Tensor) -> Tensor:
    student, true = (side.float().log_softmax(-1) for side in (hidden @ weight.T, teacher @ teacher_weight.T))
    return F.kl_div(student, true, reduction="none", log_target=True).sum(-1)


def _liger_norm(x: Tensor, weight: Tensor) -> Any:
    from liger_kernel.ops.rms_norm import LigerRMSNormFunction

    return LigerRMSNormFunction.apply(x, weight, _EPS, 0.0, "llama", False)


def _liger_add_norm(x: Tensor, residual: Tensor, weight: Tensor) -> Any:
    from liger_kernel.ops.fused_add_rms_norm import LigerFusedAddRMSNormFunction

    return LigerFusedAddRMSNormFunction.apply(x, residual, weight, _EPS)


def _liger_rotary(q: Tensor, k: Tensor, cos: Tensor, sin: Tensor) -> Any:
    from liger_kernel.ops.rope import LigerRopeFunction

    # It turns its inputs where they are.
    return LigerRopeFunction.apply(q.clone(), k.clone(), cos.unsqueeze(0), sin.unsqueeze(0))


def _liger_swiglu(gate: Tensor, up: Tensor) -> Any:
    from liger_kernel.ops.swiglu import LigerSiLUMulFunction

    return LigerSiLUMulFunction.apply(gate, up)


def _liger_loss(hidden: Tensor, weight: Tensor, labels: Tensor) -> Any:
    from liger_kernel.ops.fused_linear_cross_entropy import LigerFusedLinearCrossEntropyFunction

    return LigerFusedLinearCrossEntropyFunction.apply(hidden, weight, labels)[0]


def _times(
    operation: Callable[..., Any], inputs: Sequence[Tensor], fixed: Sequence[Tensor], passes: Sequence[str]
) -> dict[str, float]:
    """Microseconds of each pass on the GPU."""
    own = [each.detach().requires_grad_(len(passes) > 1) for each in inputs]
    runs: dict[str, Callable[[], Any]] = {"forward": lambda: operation(*own, *fixed)}
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    try:
        with torch.cuda.stream(stream):
            if len(passes) > 1:
                outputs, upstream = _outputs(operation, own, fixed)
                runs["backward"] = lambda: torch.autograd.grad(outputs, own, upstream, retain_graph=True)
            return {name: _microseconds(runs[name], stream) for name in passes}
    except Exception:  # noqa: BLE001  a contender that cannot run here is left out, not a reason to stop
        return {}


_REPEATS, _REPLAYS = 8, 15
_CACHE_BYTES = 1 << 28  # more than any L2 cache holds


def _microseconds(run: Callable[[], Any], stream: torch.cuda.Stream) -> float:
    """Of one run with a cold L2 cache: recorded as a graph, whose replay leaves out what Python takes to launch.

    What waits for the GPU in its midst cannot be recorded, and is timed launch by launch.
    """
    from triton.testing import do_bench

    cache = torch.empty(_CACHE_BYTES, dtype=torch.uint8, device="cuda")
    for _ in range(3):
        run()  # compiles, and fills caches of launches
    try:
        both = _replayed([cache.zero_, run], stream)
    except RuntimeError:
        torch.cuda.synchronize()
        return 1e3 * float(do_bench(run, return_mode="median"))
    return both - _replayed([cache.zero_], stream)


def _replayed(runs: Sequence[Callable[[], Any]], stream: torch.cuda.Stream) -> float:
    """Microseconds of `runs` one after another, the median over the replays of one recording."""
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=stream):
        for _ in range(_REPEATS):
            for run in runs:
                run()
    times = []
    for _ in range(_REPLAYS):
        before, after = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        before.record()
        graph.replay()
        after.record()
        after.synchronize()
        times.append(before.elapsed_time(after) / _REPEATS * 1e3)
    return statistics.median(times)


def _outputs(
    operation: Callable[..., Any], inputs: Sequence[Tensor], fixed: Sequence[Tensor]
) -> tuple[list[Tensor], list[Tensor]]:
    """Outputs, and an upstream gradient of ones for each."""
    outputs = operation(*inputs, *fixed)
    outputs = list(outputs) if isinstance(outputs, tuple) else [outputs]
    if outputs[0].dim() == 1:  # losses by token: training sums them, which is one number upstream
        outputs = [outputs[0].sum()]
    return outputs, [torch.ones_like(each) for each in outputs]


def _errors(
    operation: Callable[..., Any], inputs: Sequence[Tensor], fixed: Sequence[Tensor], passes: Sequence[str]
) -> dict[str, float]:
    """The worst deviation of each pass from the reference in float64; of heads, the first sequence is enough."""
    few = [each[:1] if each.dim() == 4 else each for each in inputs]
    sides = []
    for side, wide in (("triton", False), ("reference", True)):
        own = [(each.double() if wide else each).detach().requires_grad_(len(passes) > 1) for each in few]
        others = [each.double() if wide and each.is_floating_point() else each for each in fixed]
        with dispatch.forced(side):
            outputs, upstream = _outputs(operation, own, others)
        sides.append([outputs])
        if len(passes) > 1:
            sides[-1].append(list(torch.autograd.grad(outputs, own, upstream)))
    return {
        name: max(_deviation(*pair) for pair in zip(*both, strict=True))
        for name, both in zip(passes, zip(*sides, strict=True), strict=True)
    }


def _deviation(got: Tensor, true: Tensor) -> float:
    return ((got.double() - true).abs().max() / true.abs().max().clamp_min(0.1)).item()


def _measured_rates(device: torch.device) -> tuple[float, float]:
    """Bytes a second of a copy, and flops a second of a bfloat16 product."""
    from triton.testing import do_bench

    source = torch.empty(1 << 30, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    copy = do_bench(lambda: target.copy_(source), return_mode="median")
    side = 8192
    left, right = (torch.randn(side, side, dtype=torch.bfloat16, device=device) for _ in range(2))
    product = do_bench(lambda: left @ right, return_mode="median")
    return 2 * source.numel() / (copy * 1e-3), 2 * side**3 / (product * 1e-3)
