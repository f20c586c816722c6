"""Triton's interpreter made trustworthy: what it computes wrongly is repaired, what it overlooks is reported.

`install` repairs, for good:
- `tl.dot` on bfloat16 multiplies the bit patterns as integers, without an error;
- float32 to bfloat16 truncates; a GPU rounds to the nearest, ties to even;
- arithmetic on bfloat16 is integer arithmetic on the bit patterns;
- a comparison of scalars is no mask for a block (Triton 3.9);
- float arguments arrive as Python floats, on which `.to(tl.float32)` fails;
- a loop whose end is known at run time fails under NumPy 2.4 (Triton 3.6).

`sanitize` watches every launch inside it, and fails on
- loads and stores outside the tensor whose pointer they were computed from, even inside another argument;
- two programs of one launch that write one address, or one that reads what another writes (atomics excepted);
- one store that writes two values to one address;
- results that depend on masked-off lanes of a load without `other`: those are NaN instead of the interpreter's zero.
It also runs the programs of a launch in a shuffled order.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import triton
import triton.language as tl
from triton.runtime import interpreter

_Handle = interpreter.TensorHandle
_Builder = interpreter.InterpreterBuilder
_TAG_SHIFT = np.uint64(48)  # addresses of user space need 47 bits: the number of the argument fits above
_ADDRESS = np.uint64((1 << 48) - 1)


class _State:
    """Of this process."""

    installed = False
    scalar_dtype: Any = tl.float32
    watch: "_Watch | None" = None


class SanitizerError(AssertionError):
    """A launch did what a GPU would not forgive."""


def interpreted() -> bool:
    """True where kernels run in the interpreter."""
    return bool(triton.knobs.runtime.interpret)


def install() -> None:
    """Repair the interpreter of this process; nothing where kernels are compiled."""
    if _State.installed or not interpreted():
        return
    _State.installed = True
    _repair_casts()
    _repair_arithmetic()
    _repair_arguments()
    _repair_loop_ends()
    _watch_memory()
    _watch_launches()


@contextlib.contextmanager
def sanitize(seed: int | None = 1) -> Iterator[None]:
    """Watch the launches inside.

    Args:
        seed: of the order in which the programs of a launch run; None for ascending.
    """
    before, _State.watch = _State.watch, _Watch(seed)
    try:
        yield
    finally:
        _State.watch = before


@contextlib.contextmanager
def float64_scalars() -> Iterator[None]:
    """Pass float arguments as float64: for kernels whose source was rewritten to compute in it."""
    _State.scalar_dtype = tl.float64
    try:
        yield
    finally:
        _State.scalar_dtype = tl.float32


def bfloat16_to_float32(bits: np.ndarray) -> np.ndarray:
    return (np.ascontiguousarray(bits).astype(np.uint32) << 16).view(np.float32)


def float32_to_bfloat16(values: np.ndarray) -> np.ndarray:
    """To the nearest, ties to even."""
    bits = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32)
    rounded = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)
    is_nan = (bits & 0x7FFFFFFF) > 0x7F800000
    return np.where(is_nan, np.uint16(0x7FC0), rounded).astype(np.uint16)


def _is_bfloat16(value: Any) -> bool:
    return value.dtype.scalar == tl.bfloat16


def _widened(value: Any) -> Any:
    return _Handle(bfloat16_to_float32(value.data), tl.float32) if _is_bfloat16(value) else value


def _narrowed(values: np.ndarray) -> Any:
    """The result of an operation on bfloat16: comparisons stay what they are."""
    return _Handle(values, tl.int1) if values.dtype == np.bool_ else _Handle(float32_to_bfloat16(values), tl.bfloat16)


def _repair_casts() -> None:
    cast, float_to_float = _Builder.cast_impl, _Builder.create_fp_to_fp

    def repaired_cast(self: Any, source: Any, target: Any) -> Any:
        if _is_bfloat16(source) and target.scalar != tl.bfloat16:
            wide = _widened(source)
            return wide if target.scalar == tl.float32 else cast(self, wide, target)
        if target.scalar == tl.bfloat16 and not _is_bfloat16(source):
            return _Handle(float32_to_bfloat16(source.data.astype(np.float32)), tl.bfloat16)
        return cast(self, source, target)

    def repaired_float_to_float(self: Any, source: Any, target: Any, mode: Any) -> Any:
        pair = {source.dtype.scalar, target.scalar}
        truncates = mode == interpreter._ir.ROUNDING_MODE.RTZ
        if pair == {tl.float32, tl.bfloat16} and not truncates:
            return repaired_cast(self, source, target)
        return float_to_float(self, source, target, mode)

    _Builder.cast_impl, _Builder.create_fp_to_fp = repaired_cast, repaired_float_to_float


def _repair_arithmetic() -> None:
    dot, binary, ternary, unary = _Builder.create_dot, _Builder.binary_op, _Builder.ternary_op, _Builder.unary_op
    fma, reduce = _Builder.create_fma, interpreter.ReduceOps.apply_impl

    def repaired_dot(self: Any, a: Any, b: Any, accumulator: Any, *rest: Any) -> Any:
        if not (_is_bfloat16(a) or _is_bfloat16(b)):
            return dot(self, a, b, accumulator, *rest)
        product = np.matmul(_widened(a).data, _widened(b).data, dtype=accumulator.data.dtype)
        return _Handle(product + accumulator.data, accumulator.dtype.scalar)

    def repaired_binary(self: Any, left: Any, right: Any, operation: Any) -> Any:
        if _is_bfloat16(left) and _is_bfloat16(right):
            return _narrowed(operation(_widened(left).data, _widened(right).data))
        result = binary(self, left, right, operation)
        # A comparison is labelled with the type of what it compared, and broadcasting a scalar casts it to the label.
        return _Handle(result.data, tl.int1) if result.data.dtype == np.bool_ else result

    def repaired_ternary(self: Any, first: Any, second: Any, third: Any, operation: Any) -> Any:
        if all(map(_is_bfloat16, (first, second, third))):
            return _narrowed(operation(*(_widened(value).data for value in (first, second, third))))
        return ternary(self, first, second, third, operation)

    def repaired_unary(self: Any, value: Any, operation: Any) -> Any:
        if _is_bfloat16(value):
            return _narrowed(operation(_widened(value).data))
        return unary(self, value, operation)

    def repaired_fma(self: Any, x: Any, y: Any, z: Any) -> Any:
        if _is_bfloat16(z):
            return _narrowed(_widened(x).data * _widened(y).data + _widened(z).data)
        return fma(self, x, y, z)

    def guarded_reduce(self: Any, inputs: Any) -> Any:
        if any(map(_is_bfloat16, inputs)):
            raise NotImplementedError("a reduction of bfloat16 is garbage in the interpreter: cast to float32 first")
        return reduce(self, inputs)

    _Builder.create_dot, _Builder.binary_op, _Builder.ternary_op = repaired_dot, repaired_binary, repaired_ternary
    _Builder.unary_op, _Builder.create_fma = repaired_unary, repaired_fma
    interpreter.ReduceOps.apply_impl = guarded_reduce


def _repair_arguments() -> None:
    convert = interpreter._implicit_cvt

    def repaired(argument: Any) -> Any:
        if isinstance(argument, float):
            value = np.array([argument], dtype=np.float64 if _State.scalar_dtype == tl.float64 else np.float32)
            return tl.tensor(_Handle(value, _State.scalar_dtype), _State.scalar_dtype)
        converted = convert(argument)
        if _State.watch is not None and hasattr(argument, "data_ptr"):
            converted.handle.data = converted.handle.data | _State.watch.tag_of(argument)
        return converted

    interpreter._implicit_cvt = repaired


def _repair_loop_ends() -> None:
    patch = interpreter._patch_lang_tensor

    def repaired(tensor: Any, scope: Any) -> None:
        patch(tensor, scope)
        scope.set_attr(tensor, "__index__", lambda self: int(self.handle.data.item()))

    interpreter._patch_lang_tensor = repaired


class _Watch:
    """What the programs of the present launch have touched."""

    def __init__(self, seed: int | None) -> None:
        self._seed = seed
        self.begin()

    def begin(self) -> None:
        # Pointers that were themselves loaded from memory carry no tag: number 0 stands for any argument.
        self._spans = [(2**63, 0)]
        self._program = 0
        self._written: list[tuple[np.ndarray, int]] = []
        self._read: list[tuple[np.ndarray, int]] = []

    def tag_of(self, tensor: Any) -> np.uint64:
        """Note which addresses belong to `tensor`; the mark by which its pointers are known."""
        tensor = getattr(tensor, "base", tensor)  # a TensorWrapper
        steps = sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
        first = tensor.data_ptr()
        last = first + (steps + 1) * tensor.element_size() if tensor.numel() else first
        self._spans.append((first, last))
        low, high = self._spans[0]
        self._spans[0] = (min(low, first), max(high, last))
        return np.uint64(len(self._spans) - 1) << _TAG_SHIFT

    def set_grid(self, *sizes: int) -> None:
        self._sizes = sizes
        count = int(np.prod(sizes))
        order = np.arange(count) if self._seed is None else np.random.default_rng(self._seed).permutation(count)
        self._order = order

    def place(self, *indices: int) -> tuple[int, ...]:
        """Which program runs when its turn says `indices`."""
        self._program = int(self._order[np.ravel_multi_index(indices, self._sizes)])
        return tuple(int(index) for index in np.unravel_index(self._program, self._sizes))

    def load(self, pointers: Any, mask: Any) -> None:
        addresses, _ = self._checked(pointers, mask, "load")
        self._read.append((np.unique(addresses), self._program))

    def store(self, pointers: Any, value: Any, mask: Any) -> None:
        addresses, active = self._checked(pointers, mask, "store")
        order = np.argsort(addresses, kind="stable")
        addresses, values = addresses[order], np.broadcast_to(value.data, active.shape)[active][order]
        twice = addresses[1:] == addresses[:-1]
        if np.any(twice & (values[1:] != values[:-1])):
            raise SanitizerError(f"program {self._program} writes several values to one address in one store")
        self._written.append((np.unique(addresses), self._program))

    def atomic(self, pointers: Any, mask: Any) -> None:
        self._checked(pointers, mask, "atomic")

    def _checked(self, pointers: Any, mask: Any, what: str) -> tuple[np.ndarray, np.ndarray]:
        """The addresses of the active lanes, and which lanes are active."""
        shape = np.broadcast_shapes(pointers.data.shape, mask.data.shape)
        active = np.broadcast_to(mask.data, shape).astype(bool)
        tagged = np.broadcast_to(pointers.data, shape)[active]
        addresses, tags = tagged & _ADDRESS, (tagged >> _TAG_SHIFT).astype(np.int64)
        if np.any((tags < 0) | (tags >= len(self._spans))):
            raise SanitizerError(f"{what} of program {self._program}: a pointer left its tensor by far, out of bounds")
        spans = np.array(self._spans, dtype=np.uint64)[tags].reshape(-1, 2)
        width = np.uint64(max(1, pointers.get_element_ty().primitive_bitwidth // 8))
        outside = (addresses < spans[:, 0]) | (addresses + width > spans[:, 1])
        if outside.any():
            count = f"{int(outside.sum())} of {addresses.size} addresses"
            raise SanitizerError(f"{what} of program {self._program}: {count} out of bounds")
        return addresses, active

    def finish(self) -> None:
        """Fail where programs of the finished launch raced."""
        written, writer = _joined(self._written)
        if not written.size:
            return
        clash = (written[1:] == written[:-1]) & (writer[1:] != writer[:-1])
        if clash.any():
            raise SanitizerError(f"write-write race on {int(clash.sum())} addresses")
        read, reader = _joined(self._read)
        place = np.minimum(np.searchsorted(written, read), written.size - 1)
        clash = (written[place] == read) & (writer[place] != reader)
        if clash.any():
            raise SanitizerError(f"read-write race on {int(clash.sum())} addresses")


def _joined(touched: list[tuple[np.ndarray, int]]) -> tuple[np.ndarray, np.ndarray]:
    """All addresses in ascending order, and the program that touched each."""
    if not touched:
        return np.empty(0, np.uint64), np.empty(0, np.int64)
    addresses = np.concatenate([some for some, _ in touched])
    programs = np.concatenate([np.full(some.size, program) for some, program in touched])
    order = np.lexsort((programs, addresses))
    return addresses[order], programs[order]


def _untagged(pointers: Any) -> Any:
    return _Handle(pointers.data & _ADDRESS, pointers.dtype)


def _poisoned(loaded: Any, mask: Any) -> Any:
    """Lanes that a GPU leaves undefined, made so that no result can depend on them unseen."""
    inactive = ~np.broadcast_to(mask.data, loaded.data.shape).astype(bool)
    data = loaded.data.copy()
    if _is_bfloat16(loaded):
        data[inactive] = 0x7FC0
    elif data.dtype.kind == "f":
        data[inactive] = np.nan
    else:
        data[inactive] = True if data.dtype.kind == "b" else np.iinfo(data.dtype).max
    return _Handle(data, loaded.dtype)


def _watch_memory() -> None:
    load, store = _Builder.create_masked_load, _Builder.create_masked_store
    swap, modify = _Builder.create_atomic_cas, _Builder.create_atomic_rmw

    def watched_load(self: Any, pointers: Any, mask: Any, other: Any, *rest: Any, **named: Any) -> Any:
        if _State.watch is None:
            return load(self, pointers, mask, other, *rest, **named)
        _State.watch.load(pointers, mask)
        loaded = load(self, _untagged(pointers), mask, other, *rest, **named)
        return _poisoned(loaded, mask) if other is None and not np.all(mask.data) else loaded

    def watched_store(self: Any, pointers: Any, value: Any, mask: Any, *rest: Any, **named: Any) -> Any:
        if _State.watch is None:
            return store(self, pointers, value, mask, *rest, **named)
        _State.watch.store(pointers, value, mask)
        return store(self, _untagged(pointers), value, mask, *rest, **named)

    def watched_swap(self: Any, pointers: Any, *rest: Any) -> Any:
        if _State.watch is None:
            return swap(self, pointers, *rest)
        _State.watch.atomic(pointers, _Handle(np.ones_like(pointers.data, dtype=bool), tl.int1))
        return swap(self, _untagged(pointers), *rest)

    def watched_modify(self: Any, kind: Any, pointers: Any, value: Any, mask: Any, *rest: Any) -> Any:
        if _State.watch is None:
            return modify(self, kind, pointers, value, mask, *rest)
        _State.watch.atomic(pointers, mask)
        return modify(self, kind, _untagged(pointers), value, mask, *rest)

    _Builder.create_masked_load, _Builder.create_masked_store = watched_load, watched_store
    _Builder.create_atomic_cas, _Builder.create_atomic_rmw = watched_swap, watched_modify


def _watch_launches() -> None:
    call, set_sizes, set_index = interpreter.GridExecutor.__call__, _Builder.set_grid_dim, _Builder.set_grid_idx

    def watched_call(self: Any, *arguments: Any, **named: Any) -> None:
        if _State.watch is None:
            return call(self, *arguments, **named)
        _State.watch.begin()
        try:
            call(self, *arguments, **named)
        except interpreter.InterpreterError as error:
            raise _cause_of(error) from None
        return _State.watch.finish()

    def watched_sizes(self: Any, *sizes: int) -> Any:
        if _State.watch is not None:
            _State.watch.set_grid(*sizes)
        return set_sizes(self, *sizes)

    def watched_index(self: Any, *indices: int) -> Any:
        return set_index(self, *(indices if _State.watch is None else _State.watch.place(*indices)))

    interpreter.GridExecutor.__call__ = watched_call
    _Builder.set_grid_dim, _Builder.set_grid_idx = watched_sizes, watched_index


def _cause_of(error: BaseException) -> BaseException:
    """The sanitizer's own error where it caused `error`, through however many device functions."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, SanitizerError):
        cause = cause.__cause__
    return cause or error
