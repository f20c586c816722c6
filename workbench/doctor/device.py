"""What computes: processor, memory, GPUs with driver and Triton, and how fast matrix products are in each precision."""

import importlib.util
import os
import time
from collections.abc import Iterator
from typing import Any

import psutil

from workbench.doctor.check import Check
from workbench.language import tr
from workbench.machine import cpu_name, processor_flags
from workbench.narration import size

MEASURED_SECONDS = 1.0
WIDTH = 1024  # of the matrices: large enough for full speed, small enough for a slow core
FEATURES = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "asimd", "bf16")
LITTLE_MEMORY, SCARCE_MEMORY = 4 * 2**30, 2**30


def processor_checks() -> Iterator[Check]:
    """The processor with what speeds its arithmetic up, and memory."""
    flags = processor_flags()
    known = [name for name in FEATURES if name in flags]
    cores = tr("{count} cores", count=os.cpu_count() or 1)
    told = "  ".join(filter(None, [f"{cpu_name()}, {cores}", " ".join(known)]))
    if flags and not {"avx512_bf16", "amx_bf16", "bf16"} & set(flags):
        told += "  " + tr("no bf16 arithmetic: fp32 will be taken")
    yield Check("device", "CPU", "ok", told)
    memory = psutil.virtual_memory()
    told = tr("{free} of {total} are free", free=size(memory.available), total=size(memory.total))
    if memory.available < SCARCE_MEMORY:
        yield Check("device", tr("memory"), "problem", told, tr("close other programs: small models need 1 GiB too"))
    elif memory.available < LITTLE_MEMORY:
        yield Check("device", tr("memory"), "warning", told, tr("keep to small models, or close other programs"))
    else:
        yield Check("device", tr("memory"), "ok", told)


def gpu_checks() -> Iterator[Check]:
    """The GPUs that the driver knows, and whether PyTorch and Triton can use them."""
    cards, driver = _cards()
    torch = _torch()
    usable = torch is not None and bool(torch.cuda.is_available())
    for name in cards:
        yield Check("device", "GPU", "ok", f"{name}  {tr('driver {version}', version=driver)}".rstrip())
    if torch is not None and not cards and torch.backends.mps.is_available():
        yield Check("device", "GPU", "ok", "Apple (MPS)")
    elif not cards and not usable:
        yield Check("device", "GPU", "ok", tr("none: training runs on the CPU"))
    if cards and torch is not None and not usable:
        built = torch.version.cuda or tr("no CUDA")
        told = tr("PyTorch {version}, built for {cuda}, cannot use it", version=torch.__version__, cuda=built)
        yield Check(
            "device", "PyTorch", "problem", told, tr("install the build for your CUDA: pytorch.org/get-started")
        )
    if cards and not importlib.util.find_spec("triton"):
        told = tr("is not installed: kernels run in PyTorch, slower")
        yield Check("device", "Triton", "warning", told, "pip install triton")


def speed_checks(seconds: float = MEASURED_SECONDS) -> Iterator[Check]:
    """Matrix products a second in each precision, measured."""
    if importlib.util.find_spec("torch") is None:
        return  # the packages say so
    try:
        import torch
    except Exception as error:  # noqa: BLE001  a broken installation fails in its own way
        told = tr("cannot be loaded: {error}", error=error)
        yield Check("speed", "PyTorch", "problem", told, tr("install it again: pip install --force-reinstall torch"))
        return
    for device in (["cuda"] if torch.cuda.is_available() else []) + ["cpu"]:
        share = seconds if device == "cpu" else seconds / 2
        speeds = {name: products(torch, device, name, share) for name in ("float32", "bfloat16")}
        told = "  ".join(f"{_SHORT[name]} {speed / 1e9:,.0f} GFLOP/s" for name, speed in speeds.items())
        ratio = speeds["bfloat16"] / speeds["float32"]
        note = tr("bf16 is {ratio:.1f} times as fast as fp32", ratio=ratio)
        yield Check("speed", "GPU" if device == "cuda" else "CPU", "ok", f"{told}  {note}")


_SHORT = {"float32": "fp32", "bfloat16": "bf16"}


def products(torch: Any, device: str, dtype: str, seconds: float) -> float:
    """Floating point operations a second of square products, over about so many seconds."""
    left = torch.randn(WIDTH, WIDTH, device=device).to(getattr(torch, dtype))
    right = torch.randn(WIDTH, WIDTH, device=device).to(getattr(torch, dtype))
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    with torch.no_grad():
        left @ right  # what is made ready once is not measured
        wait()
        begin, count = time.perf_counter(), 0
        while time.perf_counter() - begin < seconds:
            for _ in range(50 if device == "cuda" else 1):
                left @ right
                count += 1
            wait()
    return 2 * WIDTH**3 * count / (time.perf_counter() - begin)


def _torch() -> Any:
    """PyTorch; None where it is missing or broken, which other checks tell."""
    try:
        import torch
    except Exception:  # noqa: BLE001  a broken installation fails in its own way
        return None
    return torch


def _cards() -> tuple[list[str], str]:
    """Names and memory of NVIDIA's cards, and the driver's version; none where there is no driver."""
    try:
        import pynvml

        pynvml.nvmlInit()
        handles = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
        names = [
            f"{pynvml.nvmlDeviceGetName(handle)}, {size(pynvml.nvmlDeviceGetMemoryInfo(handle).total)}"
            for handle in handles
        ]
        return names, str(pynvml.nvmlSystemGetDriverVersion())
    except Exception:  # noqa: BLE001  the library or the kernel module may be missing
        return [], ""
