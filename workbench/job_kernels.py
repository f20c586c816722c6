"""Kernels prove themselves on a GPU before they train a model on it: once a device, and again for another version."""

import json
import subprocess
import sys
import warnings
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from workbench.atomic import write_atomically
from workbench.locations import cache_folder
from workbench.model.precision import DTYPES
from workbench_kernels import dispatch, parity

CHECK_SECONDS = 600  # compiling every kernel for a new device takes a minute or two

_CHILD = """
import json, sys, torch
from workbench_kernels import parity
device, dtype = torch.device(sys.argv[1]), getattr(torch, sys.argv[2])
print(json.dumps(parity.check(device, dtype)))
"""


def distrust_kernels(device: torch.device, precision: str) -> dict[str, str]:
    """Let PyTorch do what a kernel computes wrongly on this device, or not at all; each such operation and why."""
    if device.type != "cuda":
        return {}
    dtype = DTYPES[precision]
    failed = parity.failures(checked_kernels(device, dtype, _identity(device)), dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the caller tells it where people see it
        for name, reason in failed.items():
            dispatch.disable(name, reason)
    return failed


def checked_kernels(device: torch.device, dtype: torch.dtype, identity: str) -> dict[str, float | str]:
    """What `parity.check` found on the device, from an earlier run where there was one.

    Args:
        identity: of all that the answer depends on, beside `dtype`.
    """
    memory, key = cache_folder() / "kernels.json", f"{identity}, {dtype}"
    known = _read(memory)
    if key not in known:
        known[key] = _check_apart(device, dtype)
        memory.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(memory, json.dumps(known, indent=1) + "\n")
    return dict(known[key])


def _check_apart(device: torch.device, dtype: torch.dtype) -> dict[str, float | str]:
    """In a process of its own: a kernel that reads where it may not would leave the device unusable to this one."""
    command = [sys.executable, "-P", "-c", _CHILD, str(device), str(dtype).removeprefix("torch.")]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=CHECK_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return dict.fromkeys(parity.operation_names(), f"no answer within {CHECK_SECONDS} s")
    try:
        return dict(json.loads(done.stdout.splitlines()[-1]))
    except (IndexError, ValueError):
        told = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        return dict.fromkeys(parity.operation_names(), told)


def _identity(device: torch.device) -> str:
    versions = [f"{name} {metadata.version(name)}" for name in ("torch", "triton", "llm-workbench")]
    return ", ".join([torch.cuda.get_device_name(device), *versions])


def _read(memory: Path) -> dict[str, Any]:
    try:
        known = json.loads(memory.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}
