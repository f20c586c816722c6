"""What computer this is, in words."""

import contextlib
import os
import platform
from pathlib import Path


def cpu_name() -> str:
    """The processor's name, as it gives it."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def machine_name() -> str:
    """Processor and number of cores, to stand beside a measured figure."""
    return f"{cpu_name()}, {os.cpu_count()} cores"
