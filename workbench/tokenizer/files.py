"""The files of a tokenizer on disk: tokenizer.json and what Hugging Face libraries want beside it."""

import json
import os
from pathlib import Path
from typing import Any

import tokenizers

from workbench.errors import TokenizerError
from workbench.tokenizer.special_tokens import NAMED_TOKENS


def read_parts(path: Path) -> tuple[tokenizers.Tokenizer, dict[str, Any], str | None, str]:
    """The library's tokenizer, its configuration, its chat template, and the file it all came from.

    Args:
        path: a directory, or a tokenizer.json under any name.

    Raises:
        TokenizerError: there is no such file, or it holds no tokenizer.
    """
    file = path / "tokenizer.json" if path.is_dir() else path
    if not file.is_file():
        raise TokenizerError(
            str(path),
            "there is no tokenizer.json" if path.is_dir() else "no such file or directory",
            "give a tokenizer.json, or a directory that holds one",
        )
    try:
        backend = tokenizers.Tokenizer.from_str(file.read_text(encoding="utf-8"))
    except Exception as error:  # the library raises bare Exception on a file it does not understand
        raise TokenizerError(
            str(file), f"this is not a tokenizer.json: {error}", "give the file of a tokenizer"
        ) from error
    config = _read_config(file.with_name(f"{file.stem}_config.json"))
    return backend, config, _take_template(config, file.parent), str(file)


def write_parts(directory: Path, backend: tokenizers.Tokenizer, config: dict[str, Any], template: str | None) -> None:
    """Write tokenizer.json, tokenizer_config.json, special_tokens_map.json and chat_template.jinja."""
    directory.mkdir(parents=True, exist_ok=True)
    added = {
        str(token_id): {
            "content": token.content,
            "lstrip": token.lstrip,
            "normalized": token.normalized,
            "rstrip": token.rstrip,
            "single_word": token.single_word,
            "special": token.special,
        }
        for token_id, token in sorted(backend.get_added_tokens_decoder().items())
    }
    full = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False, **config}
    full["added_tokens_decoder"] = added
    if template is not None:
        full["chat_template"] = template
        _write(directory / "chat_template.jinja", template)
    _write(directory / "tokenizer.json", backend.to_str(pretty=True))
    _write(directory / "tokenizer_config.json", _as_json(full))
    _write(directory / "special_tokens_map.json", _as_json({key: config[key] for key in NAMED_TOKENS if key in config}))


def _read_config(file: Path) -> dict[str, Any]:
    if not file.is_file():
        return {}
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise TokenizerError(str(file), f"this is not JSON: {error}", "correct or remove it") from error
    if not isinstance(config, dict):
        raise TokenizerError(str(file), "this is not a JSON object", "correct or remove it")
    return config


def _take_template(config: dict[str, Any], directory: Path) -> str | None:
    """The chat template, taken out of `config`; the file of its own wins, as in transformers."""
    inside = config.pop("chat_template", None)
    file = directory / "chat_template.jinja"
    if file.is_file():
        try:
            return file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise TokenizerError(str(file), f"cannot be read: {error}", "save it as UTF-8, or remove it") from error
    if isinstance(inside, list):  # several templates by name
        named = [entry for entry in inside if isinstance(entry, dict) and entry.get("name") == "default"]
        inside = named[0].get("template") if named else None
    return inside if isinstance(inside, str) else None


def _as_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2) + "\n"


def _write(target: Path, text: str) -> None:
    """Write beside the target, then rename: a reader sees the old file or the whole new one."""
    beside = target.with_name(f".{target.name}.{os.getpid()}")
    with beside.open("w", encoding="utf-8", newline="\n") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(target)
