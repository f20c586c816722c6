"""What keeps other libraries' kernels from running in the interpreter, replaced by what computes the same."""

import sys
from typing import Any

import triton.language as tl
from triton.runtime import interpreter


def repair_for_interpreter() -> None:
    """Replace functions of CUDA's device library, which the interpreter lacks, in the loaded modules."""
    for name, module in list(sys.modules.items()):
        if name.startswith(("liger_kernel.ops", "fla.modules", "fla.ops")):
            for function, replacement in (("rsqrt", _rsqrt), ("tanh", _tanh)):
                if getattr(vars(module).get(function), "__module__", "").startswith("triton"):
                    setattr(module, function, replacement)
    _let_none_be_assigned()


def _let_none_be_assigned() -> None:
    """A compiled kernel may say `b = None` for what it does not use; the interpreter makes a tensor of every value."""
    semantic = interpreter.interpreter_semantic
    convert = semantic.to_tensor

    def to_tensor(value: Any, *rest: Any) -> Any:
        return None if value is None else convert(value, *rest)

    semantic.to_tensor = to_tensor


# Looked up when they are called: the interpreter exchanges what `tl.math` holds for each launch.


def _rsqrt(value: Any) -> Any:
    return tl.math.rsqrt(value)


def _tanh(value: Any) -> Any:
    return 2 * tl.sigmoid(2 * value) - 1
