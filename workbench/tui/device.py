"""How busy this machine is: processor, memory, disk, and the GPUs of NVIDIA where there are some."""

import logging
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from workbench.language import mark, tr, tr_many
from workbench.narration import size

logger = logging.getLogger(__name__)
HISTORY = 32
NAMES = {"cpu": mark("cpu"), "memory": mark("memory"), "gpu": mark("gpu"), "vram": mark("vram"), "disk": mark("disk")}


@dataclass
class Gauge:
    """One thing that is measured, with its recent past.

    Args:
        capacity: what there is in all, for people.
        value: what is used now, for people.
        shares: used shares between 0 and 1, oldest first.
    """

    name: str
    capacity: str = ""
    value: str = ""
    shares: deque[float] = field(default_factory=lambda: deque(maxlen=HISTORY))

    @property
    def title(self) -> str:
        """The name for people; of several cards with the number."""
        kind, _, number = self.name.partition(" ")
        return f"{tr(NAMES[kind])} {number}".rstrip()

    def note(self, share: float, value: str, capacity: str) -> None:
        """Add a reading."""
        self.shares.append(share)
        self.value, self.capacity = value, capacity


class DeviceMeter:
    """Reads the machine's gauges; every reading takes about a millisecond.

    Args:
        folder: its disk is the one that matters.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.gauges: dict[str, Gauge] = {}
        self._library, self._handles = _find_gpus()
        psutil.cpu_percent()  # the first call only marks the beginning of the span that the next one measures

    def read(self) -> list[Gauge]:
        """All gauges, with a new reading each."""
        busy = psutil.cpu_percent()
        cores = tr_many("{count} core", "{count} cores", psutil.cpu_count() or 1)
        self._note("cpu", busy / 100, f"{busy:.0f} %", cores)
        memory = psutil.virtual_memory()
        used = memory.total - memory.available
        self._note("memory", used / memory.total, size(used), size(memory.total))
        for index, handle in enumerate(self._handles):
            self._read_gpu(index, handle)
        self._read_disk()
        return list(self.gauges.values())

    def _read_disk(self) -> None:
        folder = next(parent for parent in (self.folder, *self.folder.resolve().parents) if parent.exists())
        disk = psutil.disk_usage(str(folder))
        self._note("disk", disk.percent / 100, tr("{size} free", size=size(disk.free)), size(disk.total))

    def _read_gpu(self, index: int, handle: Any) -> None:
        try:
            busy = self._library.nvmlDeviceGetUtilizationRates(handle).gpu
            memory = self._library.nvmlDeviceGetMemoryInfo(handle)
            model = self._library.nvmlDeviceGetName(handle)
        except self._library.NVMLError:
            return  # a card may fall off the bus; what it last said stands
        self._note(f"gpu {index}", busy / 100, f"{busy:.0f} %", str(model).removeprefix("NVIDIA "))
        self._note(f"vram {index}", memory.used / memory.total, size(memory.used), size(memory.total))

    def _note(self, name: str, share: float, value: str, capacity: str) -> None:
        self.gauges.setdefault(name, Gauge(name)).note(share, value, capacity)


def _find_gpus() -> tuple[Any, list[Any]]:
    """The NVML library and its devices; none where there is no driver."""
    try:
        import pynvml

        pynvml.nvmlInit()
        return pynvml, [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
    except ImportError:
        return None, []
    except Exception as error:  # noqa: BLE001  the border of a driver: the library or the kernel module may be missing
        logger.info("no NVIDIA GPU: %s", error)
        return None, []
