"""What a person prefers, kept in the `config.toml` of their configuration folder beside what they wrote there."""

from typing import Any

import tomli

from workbench.atomic import write_atomically
from workbench.locations import config_folder


def read_preferences() -> dict[str, Any]:
    """The whole file as values; empty where there is none, or where it cannot be read: the screens say why."""
    try:
        return tomli.loads((config_folder() / "config.toml").read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomli.TOMLDecodeError):
        return {}


def preference(key: str) -> str | None:
    """A preference that is a text; None where there is none."""
    value = read_preferences().get(key)
    return value if isinstance(value, str) else None


def switched_on(key: str) -> bool:
    """Whether a preference is `true`."""
    return read_preferences().get(key) is True


def remember(key: str, value: str) -> None:
    """Write a preference down; comments and all other lines stay as they are.

    Raises:
        OSError: the file cannot be written.
        ValueError: it is no TOML, so nothing was written.
    """
    import tomlkit
    from tomlkit.exceptions import TOMLKitError

    path = config_folder() / "config.toml"
    try:
        document = tomlkit.parse(path.read_text(encoding="utf-8") if path.is_file() else "")
    except TOMLKitError as error:
        raise ValueError(f"{path} is no TOML: {error}") from error
    document[key] = value
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, tomlkit.dumps(document))
