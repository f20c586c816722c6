"""What computer this is, in words."""

import contextlib
import os
import platform
from pathlib import Path


def cpu_name() -> str:
    """The processor's name, as it gives it."""
    return _cpu_entry("model name") or platform.processor() or platform.machine()


def fast_at_bf16() -> bool:
    """Whether the processor says that its bf16 products are fast: a guess for estimates, a run measures.

    AVX-512's bf16 instructions are four times as fast as float32 on AMD's cores, but half as fast on Intel's, which
    have AMX for that (a virtual machine may hide it).
    """
    flags = processor_flags()
    return "amx_bf16" in flags or ("avx512_bf16" in flags and _cpu_entry("vendor_id") == "AuthenticAMD")


def processor_flags() -> list[str]:
    """What the processor can do, as Linux names it; nothing where nobody tells."""
    return (_cpu_entry("flags") or _cpu_entry("Features")).split()


def machine_name() -> str:
    """Processor and number of cores, to stand beside a measured figure."""
    return f"{cpu_name()}, {os.cpu_count()} cores"


def _cpu_entry(name: str) -> str:
    """A line of Linux's list of processors, of the first one; empty elsewhere."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == name:
                return value.strip()
    return ""
