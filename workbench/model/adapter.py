"""Adapters on disk in PEFT's layout, beside a note of the base they were trained on; and models that are stacked of
a base and adapters.

    adapter_config.json          PEFT's: rank, alpha, layers
    adapter_model.safetensors    the two narrow matrices of each layer, under PEFT's names
    config.json                  of the model
    base.json                    ours: where the base lies, the hash of its weights, whether it was kept in int8

The base of an adapter may itself be an adapter's directory: they are merged one upon the other.
"""

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from workbench.config import LoraSettings
from workbench.errors import ModelError
from workbench.model.configuration import CONFIG_FILE, ModelConfig, load_config, read_json
from workbench.model.lora import LoraLinear, lora_layers, lora_scaling, merge_lora
from workbench.model.quantized import quantize_linears
from workbench.model.transformer import Transformer
from workbench.model.weights import load_model, save_tensors, write_config

ADAPTER_FOLDER = "adapter"  # of a checkpoint
ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"
BASE_FILE = "base.json"
_PREFIX = "base_model.model."  # PEFT wraps a model twice
_LONGEST_STACK = 32


@dataclass(frozen=True)
class Base:
    """What an adapter was trained on.

    Args:
        directory: of a model, or of another adapter.
        sha256: of its weights.
    """

    directory: Path
    sha256: str


def base_of(directory: Path) -> Base:
    """`directory` as the base of an adapter."""
    return Base(directory, weights_hash(directory))


def weights_hash(directory: Path) -> str:
    """The SHA-256 of the weights in a directory, and of those that they are stacked upon."""
    adapter = adapter_folder(directory)
    files = sorted(directory.glob("*.safetensors")) if adapter is None else [adapter / ADAPTER_WEIGHTS]
    total = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            total.update(hashlib.file_digest(file, "sha256").digest())
    if adapter is not None and (adapter / BASE_FILE).is_file():
        total.update(str(read_json(adapter / BASE_FILE).get("sha256")).encode())
    return total.hexdigest()


def adapter_folder(directory: Path) -> Path | None:
    """Where the adapter lies that `directory` holds in place of a model's weights; None where it holds weights."""
    if any(directory.glob("model*.safetensors")):
        return None
    folders = (directory, directory / ADAPTER_FOLDER)
    return next((folder for folder in folders if (folder / ADAPTER_CONFIG).is_file()), None)


def save_adapter(model: Transformer, directory: Path, settings: LoraSettings, base: Base) -> None:
    """Write the adapter of `model` into `directory`, which PEFT can load upon the base."""
    directory.mkdir(parents=True, exist_ok=True)
    tensors = {
        f"{_PREFIX}{name}.{part}.weight": getattr(layer, part).detach().to("cpu", torch.float32).contiguous()
        for name, layer in lora_layers(model).items()
        for part in ("lora_A", "lora_B")
    }
    save_tensors(tensors, directory / ADAPTER_WEIGHTS)
    targets = sorted({name.rpartition(".")[2] for name in lora_layers(model)})
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": str(base.directory),
        "r": settings.rank,
        "lora_alpha": settings.alpha,
        "lora_dropout": settings.dropout,
        "use_rslora": settings.rank_stabilized,
        "target_modules": targets,
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
    }
    # relative as well: a folder of runs may be moved as a whole. The real path, as `directory` may be renamed in place.
    path = os.path.relpath(base.directory.resolve(), directory.resolve())
    note = {"path": path, "sha256": base.sha256, "quantize": settings.quantize}
    write_config(model.config, directory)
    for name, values in ((ADAPTER_CONFIG, config), (BASE_FILE, note)):
        (directory / name).write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def load_adapter(model: Transformer, directory: Path, base: Base) -> None:
    """Put the adapter in `directory` into the layers that `attach_lora` made.

    Raises:
        ModelError: it was trained on another base, or has other layers.
    """
    if (found := read_json(directory / BASE_FILE).get("sha256")) != base.sha256:
        raise ModelError(str(directory), *_other_base(base.directory, str(found), base.sha256))
    layers, tensors = lora_layers(model), read_adapter(directory).tensors
    if set(layers) != set(tensors):
        raise ModelError(str(directory), "adapts other layers than the stage does", "run the stage again")
    for name, layer in layers.items():
        _fill(layer, *tensors[name], name, directory)


def load_stacked(
    directory: Path,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    base: Path | None = None,
) -> Transformer:
    """The model of a directory, whether it holds whole weights, or an adapter to be merged into those of its base.

    Args:
        base: in place of the base that the adapter names.
    Raises:
        ModelError: something is missing, or the base is not the one that the adapter was trained on.
    """
    adapters: list[Path] = []
    for adapter, below in _stack(directory, base):
        adapters.append(adapter)
        directory = below
    model = load_model(directory, device)
    for adapter in reversed(adapters):
        apply_adapter(model, adapter)
    return model.to(dtype) if dtype != torch.float32 else model


def load_stacked_config(directory: Path) -> ModelConfig:
    """The config of the model that a directory holds, or that its adapter is stacked upon.

    Raises:
        ModelError: there is none.
    """
    for _, below in _stack(directory, None):
        directory = below
    return load_config(directory)


def tokenizer_folder(directory: Path, base: Path | None = None) -> Path:
    """The directory itself, or the first one below its adapters that holds a tokenizer."""
    if not (directory / "tokenizer.json").is_file():
        for _, below in _stack(directory, base):
            if (below / "tokenizer.json").is_file():
                return below
    return directory


def apply_adapter(model: Transformer, directory: Path) -> None:
    """Merge the adapter in `directory` into the weights of `model`.

    Raises:
        ModelError: it is none that can be merged, or not one for this model.
    """
    adapter = read_adapter(directory)
    linear = {name: layer for name, layer in model.named_modules() if isinstance(layer, nn.Linear)}
    unknown = [name for name in adapter.tensors if name not in linear or not name.startswith("model.")]
    if unknown:
        raise ModelError(
            str(directory),
            f"adapts {unknown[0]}, which is no linear layer of this model's blocks",
            "it belongs to another model",
        )
    if adapter.quantize == "int8":
        quantize_linears(model.model)
    for name, (down, up) in adapter.tensors.items():
        layer = LoraLinear(model.get_submodule(name), len(down), adapter.scaling)  # type: ignore[arg-type]
        _fill(layer, down, up, name, directory)
        model.set_submodule(name, layer)
    merge_lora(model)


@dataclass(frozen=True)
class AdapterFile:
    """An adapter as its files hold it.

    Args:
        tensors: by layer, (rank, in_features) and (out_features, rank).
        quantize: how the base was kept while it was trained.
    """

    scaling: float
    tensors: dict[str, tuple[Tensor, Tensor]]
    quantize: str


def read_adapter(directory: Path) -> AdapterFile:
    """The adapter in a directory, ours or PEFT's.

    Raises:
        ModelError: it is missing, damaged, or of a kind that cannot be merged.
    """
    config = read_json(directory / ADAPTER_CONFIG)
    if problems := _unsupported(config):
        raise ModelError(str(directory / ADAPTER_CONFIG), "; ".join(problems), "only plain LoRA adapters can be loaded")
    try:
        settings = LoraSettings(
            rank=config.get("r", 8),
            alpha=float(config.get("lora_alpha", 8)),
            rank_stabilized=bool(config.get("use_rslora", False)),
        )
        stored = load_file(directory / ADAPTER_WEIGHTS)
    except (OSError, ValueError, TypeError, SafetensorError) as error:
        raise ModelError(str(directory), f"cannot be read as an adapter ({error})", "save or copy it again") from error
    note = read_json(directory / BASE_FILE) if (directory / BASE_FILE).is_file() else {}
    return AdapterFile(lora_scaling(settings), _paired(stored, directory), str(note.get("quantize", "none")))


def _paired(stored: dict[str, Tensor], directory: Path) -> dict[str, tuple[Tensor, Tensor]]:
    """The matrices by layer; every one must have its partner."""
    tensors: dict[str, tuple[Tensor, Tensor]] = {}
    for key, down in stored.items():
        name, found, _ = key.removeprefix(_PREFIX).partition(".lora_A.")
        up = stored.get(key.replace(".lora_A.", ".lora_B."))
        if found and up is not None:
            tensors[name] = (down.float(), up.float())
    if 2 * len(tensors) != len(stored) or not tensors:
        odd = next((key for key in stored if ".lora_" not in key), "a matrix without its partner")
        where, remedy = str(directory / ADAPTER_WEIGHTS), "only pairs of lora_A and lora_B can be loaded"
        raise ModelError(where, f"holds {odd}", remedy)
    return tensors


def _unsupported(config: dict[str, Any]) -> list[str]:
    """What an adapter_config.json asks for beyond two narrow matrices a layer."""
    problems = []
    if config.get("peft_type") != "LORA":
        problems.append(f"peft_type is {config.get('peft_type')!r}, not 'LORA'")
    if config.get("bias", "none") != "none":
        problems.append(f"bias {config['bias']!r} is not supported")
    for key in (
        "use_dora",
        "modules_to_save",
        "rank_pattern",
        "alpha_pattern",
        "fan_in_fan_out",
        "lora_bias",
        "use_bdlora",
        "arrow_config",
        "corda_config",
        "layer_replication",
        "target_parameters",
    ):
        if config.get(key):
            problems.append(f"{key} is not supported")
    return problems


def _stack(directory: Path, base: Path | None) -> Iterator[tuple[Path, Path]]:
    """The adapters from the uppermost down, each with the directory that it lies upon."""
    for _ in range(_LONGEST_STACK):
        adapter = adapter_folder(directory)
        if adapter is None:
            return
        directory, base = _checked_base(adapter, base), None
        yield adapter, directory
    raise ModelError(str(directory), f"lies below {_LONGEST_STACK} adapters", "is one of them its own base?")


def _checked_base(adapter: Path, given: Path | None) -> Path:
    """The directory of the adapter's base, its weights hashed where the adapter has a note of that."""
    note = read_json(adapter / BASE_FILE) if (adapter / BASE_FILE).is_file() else {}
    named = read_json(adapter / ADAPTER_CONFIG).get("base_model_name_or_path")
    noted = [adapter / str(note["path"])] if note else []
    stated = [adapter / str(named), Path(str(named))] if named else []
    choices: list[Path] = [given] if given is not None else [*noted, *stated]
    directory = next((path for path in choices if (path / CONFIG_FILE).is_file() or adapter_folder(path)), None)
    if directory is None:
        where = given or named or "no base that it names"
        raise ModelError(
            str(adapter),
            f"needs its base, which is not here: {where}",
            "bring that model here, then: llm-workbench import ADAPTER --base DIR",
        )
    directory = directory.resolve()
    if note and (found := weights_hash(directory)) != note.get("sha256"):
        raise ModelError(str(adapter), *_other_base(directory, str(note.get("sha256")), found))
    return directory


def _other_base(directory: Path, wanted: str, found: str) -> tuple[str, str]:
    problem = f"was trained on a base with the hash {wanted[:12]}, but {directory} has {found[:12]}"
    return problem, "give it the base it was trained on, or train it again"


def _fill(layer: LoraLinear, down: Tensor, up: Tensor, name: str, directory: Path) -> None:
    if down.shape != layer.lora_A.shape or up.shape != layer.lora_B.shape:
        problem = f"{name} is {tuple(up.shape)} x {tuple(down.shape)}, not {tuple(layer.lora_B.shape)} x "
        raise ModelError(str(directory), f"{problem}{tuple(layer.lora_A.shape)}", "it belongs to another model")
    with torch.no_grad():
        layer.lora_A.copy_(down)
        layer.lora_B.copy_(up)
