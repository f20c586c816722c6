"""Bytes, products and exponentials of kernels, counted while they run in the interpreter.

    python -m tests.kernels.traffic [own] [peers] [--architecture sm_90] [--filter REGEX]

Counted with the blocks and the grid that are launched on the architecture. `unique` bytes are what an endless cache
would move; `asked` bytes are what the instructions ask for, masked lanes left out.
"""

import argparse
import contextlib
import hashlib
import importlib.metadata
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from tests.kernels.static_report import ROOT, child_environment

_AT_ONCE = 2


@dataclass
class Traffic:
    """Of all launches of one kernel in one pass."""

    kernel: str
    launches: float = 0
    asked_bytes: float = 0
    unique_read_bytes: float = 0
    unique_written_bytes: float = 0
    atomic_bytes: float = 0
    matrix_flops: float = 0
    exponentials: float = 0

    @property
    def unique_bytes(self) -> float:
        """Read and written."""
        return self.unique_read_bytes + self.unique_written_bytes


class _Counter:
    """Of the launch that runs at present."""

    def __init__(self, kernel: str, tensors: list[Any]) -> None:
        self.traffic = Traffic(kernel, launches=1)
        storages = {each.untyped_storage().data_ptr(): each.untyped_storage().nbytes() for each in tensors}
        self._spans = sorted((start, size) for start, size in storages.items() if size)
        self._touched: dict[tuple[str, int, int], Any] = {}

    def touch(self, pointers: Any, mask: Any, kind: str) -> None:
        """Note an access by the lanes that `mask` lets through."""
        import numpy as np

        shape = np.broadcast_shapes(pointers.data.shape, mask.data.shape)
        addresses = np.broadcast_to(pointers.data, shape)
        if not mask.data.all():
            addresses = addresses[np.broadcast_to(mask.data, shape).astype(bool)]
        if not addresses.size:
            return
        width = max(1, pointers.get_element_ty().primitive_bitwidth // 8)
        self.traffic.asked_bytes += addresses.size * width
        lowest = int(addresses.min())
        start, size = max(span for span in self._spans if span[0] <= lowest)
        key = (kind, start, width)
        if key not in self._touched:
            self._touched[key] = np.zeros(-(-size // width), dtype=bool)
        self._touched[key][(addresses - np.uint64(start)) // np.uint64(width)] = True

    def finish(self) -> Traffic:
        """The counts."""
        for (kind, _, width), touched in self._touched.items():
            size = int(touched.sum()) * width
            if kind == "read":
                self.traffic.unique_read_bytes += size
            else:
                self.traffic.unique_written_bytes += size
        return self.traffic


class Known:
    """Counts of launches by all that decides them: a launch that was counted once need not run again.

    Architectures share what they launch alike, and a loss the chunks that are of one size.

    Args:
        folder: where they are kept; None to keep them nowhere.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._counts: dict[str, Traffic] = {}

    def count(self, key: str, run: Callable[[], Traffic]) -> Traffic:
        """What `run` counts, from memory where the same launch was counted before."""
        if key not in self._counts:
            path = self._folder and self._folder / f"{key}.json"
            if path and path.is_file():
                self._counts[key] = Traffic(**json.loads(path.read_text()))
            else:
                self._counts[key] = run()
                if path:
                    path.parent.mkdir(parents=True, exist_ok=True)
                    partial = path.with_suffix(f".{os.getpid()}")
                    partial.write_text(json.dumps(asdict(self._counts[key])))
                    partial.replace(path)
        return replace(self._counts[key])


def launch_key(kernel: str, grid: Any, arguments: dict[str, Any]) -> str:
    """A launch's kernel, grid and arguments: of tensors the layout, which share memory, and the integers' values."""
    if callable(grid):
        grid = grid(arguments)
    storages: dict[int, int] = {}
    parts: list[Any] = [kernel, tuple(grid)]
    for name, value in arguments.items():
        if not hasattr(value, "untyped_storage"):
            parts.append((name, str(value)))
            continue
        storage = value.untyped_storage()
        place = storages.setdefault(storage.data_ptr(), len(storages))
        layout = (tuple(value.shape), value.stride(), str(value.dtype), value.storage_offset(), place, storage.nbytes())
        whole = not (value.is_floating_point() or value.dtype.itemsize == 1)
        parts.append((name, layout, hashlib.sha256(value.numpy().tobytes()).hexdigest() if whole else ""))
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:24]


@contextlib.contextmanager
def counting(known: Known | None = None, only: str = "") -> Iterator[list[Traffic]]:
    """Count the launches inside, one entry each, of kernels that match `only`.

    All others, and what is in `known`, do not run: they leave their outputs as they are.
    """
    import numpy as np
    from triton.runtime import interpreter
    from triton.runtime.autotuner import Autotuner

    from tests.kernels.capture import run_first_configuration
    from tests.kernels.pretence import honest, replaced

    builder = interpreter.InterpreterBuilder
    load, store, modify = builder.create_masked_load, builder.create_masked_store, builder.create_atomic_rmw
    dot, unary, call = builder.create_dot, builder.unary_op, interpreter.GridExecutor.__call__
    counted: list[Traffic] = []
    running: list[_Counter] = []

    def counted_load(self: Any, pointers: Any, mask: Any, *rest: Any, **named: Any) -> Any:
        running[-1].touch(pointers, mask, "read")
        return load(self, pointers, mask, *rest, **named)

    def counted_store(self: Any, pointers: Any, value: Any, mask: Any, *rest: Any, **named: Any) -> Any:
        running[-1].touch(pointers, mask, "written")
        return store(self, pointers, value, mask, *rest, **named)

    def counted_modify(self: Any, kind: Any, pointers: Any, value: Any, mask: Any, *rest: Any) -> Any:
        running[-1].touch(pointers, mask, "read")
        running[-1].touch(pointers, mask, "written")
        running[-1].traffic.atomic_bytes += int(mask.data.sum()) * value.data.dtype.itemsize
        return modify(self, kind, pointers, value, mask, *rest)

    def counted_dot(self: Any, a: Any, b: Any, total: Any, *rest: Any) -> Any:
        running[-1].traffic.matrix_flops += 2 * total.data.size * a.data.shape[-1]
        return dot(self, a, b, total, *rest)

    def counted_unary(self: Any, value: Any, operation: Any) -> Any:
        if operation in (np.exp, np.exp2, np.log, np.log2):
            running[-1].traffic.exponentials += value.data.size
        return unary(self, value, operation)

    def counted_call(self: Any, *arguments: Any, **named: Any) -> None:
        given = {**dict(zip(self.arg_names, arguments, strict=False)), **named}
        kernel = self.fn.__name__
        if not re.search(only, kernel):
            return

        def run() -> Traffic:
            running.append(_Counter(kernel, [each for each in given.values() if hasattr(each, "untyped_storage")]))
            call(self, *arguments, **named)
            return running.pop().finish()

        with honest():
            counted.append(run() if known is None else known.count(launch_key(kernel, self.grid, given), run))

    with contextlib.ExitStack() as stack:
        for owner, name, value in (
            (builder, "create_masked_load", counted_load),
            (builder, "create_masked_store", counted_store),
            (builder, "create_atomic_rmw", counted_modify),
            (builder, "create_dot", counted_dot),
            (builder, "unary_op", counted_unary),
            (interpreter.GridExecutor, "__call__", counted_call),
            (Autotuner, "run", run_first_configuration),
        ):
            stack.enter_context(replaced(owner, name, value))
        yield counted


def by_kernel(counted: Sequence[Traffic]) -> dict[str, Traffic]:
    """The sums over the launches of each kernel."""
    sums: dict[str, Traffic] = {}
    for each in counted:
        total = sums.setdefault(each.kernel, Traffic(each.kernel))
        for field in fields(Traffic)[1:]:
            setattr(total, field.name, getattr(total, field.name) + getattr(each, field.name))
    return sums


def at_batch(batch: int, sizes: Sequence[int], counts: Sequence[dict[str, Traffic]]) -> dict[str, Traffic]:
    """Counts at `batch` from counts at other sizes: proportional from one, on the straight line through two.

    What every sequence of a batch adds is the same; what does not grow with it, such as weights, is the rest.
    """
    if len(sizes) == 1:
        scale = batch / sizes[0]
        return {name: _combined(each, scale, each, 0) for name, each in counts[0].items()}
    step = (batch - sizes[0]) / (sizes[1] - sizes[0])
    return {name: _combined(counts[0][name], 1 - step, counts[1][name], step) for name in counts[0]}


def _combined(first: Traffic, weight: float, second: Traffic, other: float) -> Traffic:
    sums = {
        field.name: round(getattr(first, field.name) * weight + getattr(second, field.name) * other)
        for field in fields(Traffic)[1:]
    }
    return Traffic(first.kernel, **sums)


def count(sources: Sequence[str], architectures: Sequence[str], only: str = "") -> list[dict]:
    """The counts of the kernels of every compared pass, at its full batch; remembered beside Triton's cache."""

    def in_child(task: tuple[str, str]) -> list[dict]:
        source, architecture = task
        folder = _folder()
        path = folder / f"traffic-{source}-{architecture}-{_state_of(source, only)}.json"
        if not path.is_file():
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory() as temporary:
                result = Path(temporary) / "rows.json"
                _run_child(source, architecture, only, result)
                partial = path.with_suffix(f".{os.getpid()}")
                partial.write_bytes(result.read_bytes())
                partial.replace(path)
        rows: list[dict] = json.loads(path.read_text())
        return rows

    tasks = [(source, architecture) for source in sources for architecture in architectures]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return [row for rows in pool.map(in_child, tasks) for row in rows]


def _folder() -> Path:
    """Where counts are kept."""
    return Path(os.environ.get("TRITON_CACHE_DIR") or Path.home() / ".triton" / "cache") / "static-figures"


def _run_child(source: str, architecture: str, only: str, result: Path) -> None:
    command = [sys.executable, "-W", "ignore", "-m", "tests.kernels.traffic", source]
    command += ["--architecture", architecture, "--filter", only, "--child", str(result)]
    environment = child_environment(TRITON_INTERPRET="1")
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=ROOT, env=environment)
    if not result.is_file():
        raise RuntimeError(f"{source} on {architecture}: {(done.stdout + done.stderr)[-3000:]}")


def _state_of(source: str, only: str) -> str:
    """What the counts depend on: the kernels, this tool, the versions of the libraries."""
    files = [*sorted((ROOT / "kernels").rglob("*.py"))] if source == "own" else []
    files += [
        Path(__file__).with_name(f"{name}.py")
        for name in ("traffic", "comparison", "pretence", "torch_operations", "cards")
    ]
    files += [Path(__file__).with_name("static_specs.py" if source == "own" else "peer_specs.py")]
    state = hashlib.sha256(only.encode())
    for file in files:
        state.update(file.read_bytes())
    names = ("torch", "triton", *(("liger_kernel", "fla-core") if source == "peers" else ()))
    state.update(" ".join(importlib.metadata.version(name) for name in names).encode())
    return state.hexdigest()[:16]


def count_here(source: str, architecture: str, only: str) -> list[dict]:
    """The rows of one architecture, counted in this process, which must be interpreting."""
    from tests.kernels import interpreter
    from tests.kernels.capture import stub_for
    from tests.kernels.comparison import BATCH
    from tests.kernels.pretence import pretending
    from tests.kernels.torch_operations import SkipProducts

    interpreter.install()
    rows, known = [], Known(_folder() / f"launches-{source}-{_state_of(source, '')}")
    with stub_for(architecture), pretending(architecture, "cpu"):
        for case in _cases(source):
            if not re.search(only, f"{case.op} {case.peer}"):
                continue
            counts, start = [], time.process_time()
            for size in case.counted:
                with counting(known, case.only) as counted:
                    case.run(size, around=SkipProducts())
                counts.append(by_kernel(counted))
            took = time.process_time() - start
            print(f"{case.op} of {case.peer} counted in {took:.1f} s", file=sys.stderr, flush=True)
            for traffic in at_batch(BATCH, case.counted, counts).values():
                rows.append(
                    {"operation": case.op, "library": case.peer, "architecture": architecture} | asdict(traffic)
                )
    return rows


def _cases(source: str) -> list[Any]:
    if source == "own":
        from tests.kernels import static_specs

        return static_specs.cases()
    from tests.kernels import peer_specs
    from tests.kernels.peer_repairs import repair_for_interpreter

    cases = peer_specs.cases()
    repair_for_interpreter()
    return cases


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sources", nargs="*", default=["own"], help="own, peers")
    parser.add_argument("--architecture", default="sm_90")
    parser.add_argument("--filter", default="")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    architectures = arguments.architecture.split(",")
    if arguments.child:
        rows = count_here(arguments.sources[0], architectures[0], arguments.filter)
        arguments.child.write_text(json.dumps(rows))
        return 0
    for row in count(arguments.sources, architectures, arguments.filter):
        unique = row["unique_read_bytes"] + row["unique_written_bytes"]
        print(
            f"{row['operation']:28} {row['library']:6} {row['architecture']:7} {row['kernel']:40}"
            f" unique {unique / 1e6:9.2f} MB  asked {row['asked_bytes'] / 1e6:9.2f} MB"
            f"  {row['matrix_flops'] / 1e9:8.2f} GFLOP  {row['exponentials'] / 1e6:8.2f} M exponentials"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
