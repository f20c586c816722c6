"""What every `auto` of a profile means on this machine: decided once a run, as a resumed run must compute as it did."""

import os
import platform
import sys
from collections.abc import Mapping
from importlib import metadata
from typing import Any

import psutil
import torch

from workbench.config import Profile
from workbench.errors import DeviceError
from workbench.estimate import StageModels, count_parameters, stage_models, training_bytes
from workbench.job_sizes import expected_config, named_models
from workbench.machine import cpu_name
from workbench.model.precision import resolve_device, resolve_precision, suggest_threads
from workbench.training.ranks import Ranks


def resolve(profile: Profile, earlier: dict[str, Any], ranks: Ranks) -> dict[str, Any]:
    """The contents of resolved.json.

    Args:
        earlier: those of an earlier start of the run; empty for a new one.
    Raises:
        DeviceError: the device is not there or not the earlier one, or memory could never suffice.
    """
    settings, device = profile.run, own_device(profile.run.device, ranks)
    if earlier.get("device") not in (None, device.type):
        raise DeviceError(
            f"run {settings.name}",
            f"was computed on {earlier['device']}, which is not what {settings.device!r} means here",
            "go on where it was started, or start anew with --name NEW",
        )
    config, stage = expected_config(profile), profile.stage[0]
    tokens = -(-stage.batch_size // ranks.count) * stage.sequence_length
    models = stage_models(profile, config, named_models(profile))
    parts = ranks.count if settings.parallel == "fsdp" else 1
    check_memory(models, config.vocab_size, device, profile, parts)
    precision = earlier.get("precision") or resolve_precision(settings.precision, device, config, tokens)
    known = earlier.get("threads") if earlier.get("ranks", 1) == ranks.count else None
    threads = known if settings.threads == "auto" else settings.threads
    return {
        "device": device.type,
        "precision": precision,
        "compile": settings.compile is True,
        "threads": threads or suggest_threads(config, tokens, precision),
        "ranks": ranks.count,
        "micro_batch_size": earlier.get("micro_batch_size", {}),
        "machine": {"cpu": cpu_name(), "cores": os.cpu_count(), "system": platform.platform()},
        "versions": _versions(),
        "command": sys.argv,
    }


def own_device(wanted: str, ranks: Ranks) -> torch.device:
    """The device of this rank: of several GPUs the one with its number among the ranks of its machine.

    Raises:
        DeviceError: it is not there.
    """
    device = resolve_device(wanted)
    if ranks.alone or device.type == "cpu":
        return device
    if device.type != "cuda":
        raise DeviceError("run.device", f"{device.type!r} is a single device", "start one process, or set it to 'cpu'")
    if ranks.local_rank >= torch.cuda.device_count():
        problem = f"{ranks.local_count} processes share {torch.cuda.device_count()} GPUs"
        raise DeviceError(f"rank {ranks.rank}", problem, "start one a GPU with --nproc-per-node, or set it to 'cpu'")
    return torch.device("cuda", ranks.local_rank)


def free_memory(device: torch.device) -> int:
    """Bytes that a stage may use."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return int(psutil.virtual_memory().available)


def check_memory(
    models: Mapping[str, StageModels], vocab_size: int, device: torch.device, profile: Profile, parts: int = 1
) -> None:
    """Refuse models that this machine could never train, before hours go into trying.

    Args:
        models: of every stage, by its name.
        vocab_size: of all of them.
        parts: into how many a model in training is cut, each on a device of its own.
    Raises:
        DeviceError: weights, gradients and the optimizer's memories, and a teacher's weights, are more than there is.
    """
    total = psutil.virtual_memory().total
    if device.type == "cuda":
        total = torch.cuda.get_device_properties(device).total_memory
    for stage in profile.stage:
        own, teacher = models[stage.name].own, models[stage.name].teacher
        parameters = count_parameters(own, vocab_size).total
        needed_bytes, purpose = 4 * parameters, "to write"
        if stage.kind != "generate":
            needed_bytes, purpose = training_bytes(own, vocab_size, stage, copied=False) // parts, "to be trained"
        told = f"{parameters:,} parameters"
        if teacher is not None:
            taught = count_parameters(teacher, vocab_size).total
            needed_bytes, told = needed_bytes + 4 * taught, f"{told} and a teacher of {taught:,}"
        if needed_bytes > total:
            problem = f"{told} need {needed_bytes / 1e9:,.0f} GB {purpose}, this machine has {total / 1e9:,.0f} GB"
            raise DeviceError("model", problem, "make the model smaller")


def _versions() -> dict[str, str]:
    names = ("llm-workbench", "torch", "tokenizers", "safetensors", "numpy")
    return {"python": platform.python_version(), **{name: metadata.version(name) for name in names}}
