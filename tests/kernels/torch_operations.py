"""What PyTorch's own operations around the kernels move and multiply, counted while they are dispatched."""

from collections.abc import Callable
from typing import Any

import torch._library.custom_ops as custom_ops
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

_MAKE_NOTHING = ("aten::empty", "aten::new_empty", "aten::detach", "aten::_local_scalar_dense")
_PRODUCTS = ("aten::mm", "aten::addmm", "aten::bmm", "aten::baddbmm", "aten::matmul")


class CountTorch(TorchDispatchMode):
    """Adds up bytes and flops of the operations inside; views, empty tensors and questions of dtype cost nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.parts: list[tuple[str, int, int]] = []
        """Name, bytes and flops of each operation."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func.namespace == "workbench_kernels":
            with self:  # what the operator does inside counts, not the operator
                return _implementation(func)(*args, **kwargs)
        result = func(*args, **kwargs)
        name = func._schema.name
        tells_of_dtypes = not any(isinstance(each, Tensor) for each in tree_leaves(result))
        if not (func.is_view or tells_of_dtypes or name.startswith(_MAKE_NOTHING)):
            self.parts.append((name, _moved(func, args, kwargs, result), _flops(name, args)))
        return result


class SkipProducts(TorchDispatchMode):
    """Leaves matrix products out, zeros in their place: where only accesses are counted, their values do not matter."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func.namespace == "workbench_kernels":
            with self:
                return _implementation(func)(*args, **kwargs)
        if func._schema.name not in _PRODUCTS:
            return func(*args, **kwargs)
        if (out := kwargs.get("out")) is not None:
            return out.zero_()
        left, right = [each for each in args if isinstance(each, Tensor)][-2:]
        return left.new_zeros(*left.shape[:-1], right.shape[-1])


def _implementation(func: Any) -> Callable[..., Any]:
    function: Callable[..., Any] = custom_ops.OPDEFS[func._schema.name]._init_fn
    return function


def _moved(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> int:
    """Bytes read and written: outputs given as arguments are only written, what is changed in place is both."""
    outputs = [each.name for each in func._schema.arguments if each.is_out]
    read = [*args, *(value for name, value in kwargs.items() if name not in outputs)]
    return sum(_size(each) for each in tree_leaves((read, result)) if isinstance(each, Tensor))


def _size(tensor: Tensor) -> int:
    """Bytes that exist: of an expanded tensor, what it was expanded from."""
    distinct = 1
    for size, stride in zip(tensor.shape, tensor.stride(), strict=True):
        distinct *= size if stride else 1
    return distinct * tensor.element_size()


def _flops(name: str, args: tuple[Any, ...]) -> int:
    if name not in _PRODUCTS:
        return 0
    left, right = [each for each in args if isinstance(each, Tensor)][-2:]
    return 2 * left.numel() * right.shape[-1]
