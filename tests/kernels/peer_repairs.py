"""What keeps other libraries' kernels from running in the interpreter, replaced by what computes the same."""

import sys
from typing import Any

import triton.language as tl


def repair_for_interpreter() -> None:
    """Replace functions of CUDA's device library, which the interpreter lacks, in the loaded modules."""
    for name, module in list(sys.modules.items()):
        if name.startswith(("liger_kernel.ops", "fla.modules", "fla.ops")):
            for function, replacement in (("rsqrt", _rsqrt), ("tanh", _tanh)):
                if hasattr(module, function) and not isinstance(vars(module)[function], type(_rsqrt)):
                    setattr(module, function, replacement)


# Looked up when they are called: the interpreter exchanges what `tl.math` holds for each launch.


def _rsqrt(value: Any) -> Any:
    return tl.math.rsqrt(value)


def _tanh(value: Any) -> Any:
    return 2 * tl.sigmoid(2 * value) - 1
