"""A model as a directory on disk, as Hugging Face lays it out: config.json, generation_config.json, safetensors."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from workbench.atomic import write_atomically
from workbench.errors import ModelError
from workbench.model.configuration import CONFIG_FILE, ModelConfig, load_config, read_json
from workbench.model.expert_names import join_experts, split_experts
from workbench.model.lora import plain_state
from workbench.model.transformer import Transformer

GENERATION_FILE = "generation_config.json"
WEIGHTS_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"

_FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
_SHOWN = 5  # names listed in an error; a wrong directory would list hundreds


def save_model(model: Transformer, directory: Path, dtype: torch.dtype = torch.float32) -> None:
    """Write `model` into `directory`, each file whole or not at all; transformers loads the result.

    Adapters are merged into the weights that are written; `model` keeps them.

    Args:
        dtype: to store the weights in.
    """
    directory.mkdir(parents=True, exist_ok=True)
    save_tensors(file_tensors(model, dtype), directory / WEIGHTS_FILE)
    write_config(model.config, directory, dtype)


def file_tensors(model: Transformer, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    """The weights of `model` on the CPU, each under its name in a Hugging Face file and in memory of its own."""
    state = {name: value.detach().to("cpu", dtype).contiguous() for name, value in plain_state(model).items()}
    # What was split off a stack is cloned: files do not take views of the same memory.
    return {name: value if name in state else value.clone() for name, value in split_experts(state).items()}


def write_config(config: ModelConfig, directory: Path, dtype: torch.dtype = torch.float32) -> None:
    """Write config.json and generation_config.json for weights of `dtype`."""
    tokens = config.to_dict()
    generation = {key: tokens[key] for key in ("bos_token_id", "eos_token_id", "pad_token_id")}
    _write_json(directory / GENERATION_FILE, {**generation, "_from_model_config": True})
    _write_json(directory / CONFIG_FILE, config.to_dict(str(dtype).removeprefix("torch.")))


def save_tensors(tensors: dict[str, Tensor], path: Path) -> None:
    """Write one safetensors file, whole or not at all, readable by everyone."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        save_file(tensors, partial, metadata={"format": "pt"})
        partial.chmod(0o644)  # safetensors makes it 0600, which a shared folder does not want
        with partial.open("rb+") as file:
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def load_model(directory: Path, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32) -> Transformer:
    """The model in `directory`, its weights converted to `dtype`; one file or several shards.

    Raises:
        ModelError: not a model directory, or not one this model can load.
    """
    config = load_config(directory)
    with torch.device("meta"):
        model = Transformer(config)
    expected = {name: value.shape for name, value in split_experts(model.state_dict()).items()}
    state = _checked_state(directory, expected, config, torch.device(device), dtype)
    model.load_state_dict(join_experts(state), assign=True)
    return model


def _checked_state(
    directory: Path, expected: dict[str, torch.Size], config: ModelConfig, device: torch.device, dtype: torch.dtype
) -> dict[str, Tensor]:
    """The tensors of `directory`, exactly the expected ones; everything wrong with them in one error."""
    state: dict[str, Tensor] = {}
    problems, extra = [], []
    for file in _weight_files(directory):
        for name, tensor in _read_tensors(file):
            if _needless(name, config):
                continue
            if name not in expected:
                extra.append(name)
            elif tensor.shape != expected[name]:
                problems.append(f"{name} is {tuple(tensor.shape)}, not {tuple(expected[name])}")
            elif tensor.dtype not in _FLOATS:
                problems.append(f"{name} holds {str(tensor.dtype).removeprefix('torch.')}, not floats")
            else:
                # A copy in every case: what is read is the mapped file itself.
                state[name] = tensor.to(device, dtype, copy=True)
    missing = [name for name in expected if name not in state and not any(p.startswith(name) for p in problems)]
    problems += [f"lacks {_listed(missing)}"] if missing else []
    problems += [f"has the unknown {_listed(extra)}"] if extra else []
    if problems:
        raise ModelError(
            str(directory), "; ".join(problems[:_SHOWN]), f"{CONFIG_FILE} and the weights do not belong together"
        )
    return state


def _needless(name: str, config: ModelConfig) -> bool:
    """True for what files hold twice or what follows from the config."""
    return name.endswith("rotary_emb.inv_freq") or (config.tie_word_embeddings and name == "lm_head.weight")


def _weight_files(directory: Path) -> list[Path]:
    """The safetensors files of a model, one or as many as its index names."""
    if (directory / WEIGHTS_FILE).is_file():
        return [directory / WEIGHTS_FILE]
    if not (directory / INDEX_FILE).is_file():
        raise ModelError(
            str(directory), f"has no {WEIGHTS_FILE}", "weights must be in safetensors format; .bin files are not read"
        )
    names = read_json(directory / INDEX_FILE).get("weight_map")
    if not isinstance(names, dict) or not all(isinstance(name, str) for name in names.values()):
        raise ModelError(str(directory / INDEX_FILE), "has no weight_map of file names")
    files = [directory / Path(name).name for name in sorted(set(names.values()))]
    missing = [file.name for file in files if not file.is_file()]
    if missing:
        raise ModelError(str(directory), f"lacks {_listed(missing)}, which {INDEX_FILE} names", "fetch the model again")
    return files


def _read_tensors(file: Path) -> Iterator[tuple[str, Tensor]]:
    try:
        with safe_open(file, framework="pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118 - not a mapping
                yield name, tensors.get_tensor(name)
    except (SafetensorError, OSError) as error:
        raise ModelError(str(file), f"cannot be read as safetensors ({error})", "fetch or save it again") from error


def _write_json(path: Path, values: dict[str, Any]) -> None:
    write_atomically(path, json.dumps(values, indent=2, ensure_ascii=False) + "\n")


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
