"""How busy the device that trains is: what a slow run waits for shows here first."""

import logging
import os
import time

import psutil
import torch

logger = logging.getLogger(__name__)

SPAN_SECONDS = 0.5  # processors' times are counted in hundredths of a second: shorter spans tell nothing


class Utilisation:
    """The share of its time that a device works, between 0 and 1, over the time since the last reading.

    Of an NVIDIA GPU it is the driver's figure, over its own last moments; of a CPU, the time this process computes over
    all processors that it may use. Others tell nothing.

    Args:
        sharing: how many processes of the run share the processors.
    """

    def __init__(self, device: torch.device, sharing: int = 1) -> None:
        self._device, self._sharing = device, sharing
        self._process = psutil.Process()
        self._known = device.type in ("cpu", "cuda")
        self._at, self._worked = time.perf_counter(), self._cpu_seconds()
        self._share: float | None = None

    def share(self) -> float | None:
        """The share, read anew when the last reading is some time ago; None where nobody tells."""
        passed = time.perf_counter() - self._at
        if self._known and passed >= SPAN_SECONDS:
            self._share = self._of_gpu() if self._device.type == "cuda" else self._of_cpu(passed)
            self._at = time.perf_counter()
        return self._share

    def _of_cpu(self, passed: float) -> float:
        before, self._worked = self._worked, self._cpu_seconds()
        return min(1.0, (self._worked - before) / passed / (_processors() / self._sharing))

    def _of_gpu(self) -> float | None:
        try:
            return torch.cuda.utilization(self._device) / 100
        except Exception as error:  # noqa: BLE001  the border of a driver: its library may be missing or refuse
            logger.info("the GPU tells nothing of its utilisation: %s", error)
            self._known = False
            return None

    def _cpu_seconds(self) -> float:
        times = self._process.cpu_times()
        return float(times.user + times.system)


def _processors() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
