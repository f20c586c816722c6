"""The attention kernels rewritten to compute in float64: what is left of an error then is in the algebra."""

import importlib
import sys
from pathlib import Path
from types import ModuleType

from workbench_kernels import triton_ops

_REWRITTEN = {
    "tl.float32": "tl.float64",
    "torch.float32": "torch.float64",
    "workbench_kernels.triton_ops": "kernels_in_float64",
    "workbench_kernels::": "kernels_in_float64::",
}


def load(folder: Path) -> ModuleType:
    """The module `attention` and those it takes kernels from, written to `folder` and imported from there."""
    if "kernels_in_float64" not in sys.modules:
        package = folder / "kernels_in_float64"
        package.mkdir()
        (package / "__init__.py").touch()
        for name in ("attention_ranges", "attention_backward", "attention"):
            text = (Path(triton_ops.__path__[0]) / f"{name}.py").read_text(encoding="utf-8")
            for old, new in _REWRITTEN.items():
                text = text.replace(old, new)
            (package / f"{name}.py").write_text(text, encoding="utf-8")
        sys.path.insert(0, str(folder))
        try:
            importlib.import_module("kernels_in_float64.attention")
        finally:
            sys.path.remove(str(folder))
    return sys.modules["kernels_in_float64.attention"]
