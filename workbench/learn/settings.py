"""The settings of a profile one by one: key, default, where it is declared, what a profile says."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from types import UnionType
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from workbench.config import Profile, StageSettings


@dataclass(frozen=True)
class Setting:
    """One key of a profile.

    Args:
        key: dotted, such as `stage.lora.rank`; a stage's settings stand under `stage`.
        default: as TOML would write it; empty where it must be given or nothing holds.
        choices: what may be chosen, where that is a list of words.
        declared: MODULE:CLASS.FIELD.
    """

    key: str
    default: str
    choices: tuple[str, ...]
    declared: str


@cache
def all_settings() -> dict[str, Setting]:
    """Every setting of the schema by its key."""
    return {setting.key: setting for setting in _walk(Profile, "")}


def value_in(profile: Profile, key: str, stage: StageSettings | None) -> str:
    """What holds for `key` in a profile; empty where nothing does (a table that is absent)."""
    value: Any = profile
    for part in key.split("."):
        if part == "stage" and isinstance(value, Profile):
            value = stage
        elif isinstance(value, BaseModel):
            value = getattr(value, _attribute(value, part), None)
        else:
            return ""
    return shown(value)


def shown(value: Any) -> str:
    """A value as a profile writes it, or nearly so."""
    if value is None or isinstance(value, BaseModel):
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple):
        return f"[{', '.join(_quoted(each) for each in value)}]"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _quoted(value: Any) -> str:
    return f'"{value}"' if isinstance(value, str) else str(shown(value))


def _attribute(table: BaseModel, key: str) -> str:
    fields = type(table).model_fields
    return next((name for name, field in fields.items() if key in (name, field.alias)), key)


def _walk(table: type[BaseModel], prefix: str) -> Iterator[Setting]:
    for name, field in table.model_fields.items():
        key = f"{prefix}{field.alias or name}"
        inner = list(_tables(field.annotation))
        for each in inner:
            yield from _walk(each, f"{key}.")
        if not inner or _takes_plain(field):
            declared = f"{table.__module__}:{table.__qualname__}.{name}"
            default = "" if field.is_required() else shown(field.default)
            yield Setting(key, default, tuple(_words(field.annotation)), declared)


def _takes_plain(field: FieldInfo) -> bool:
    """Whether a table is only one of the forms a setting may have: `data` is a file or a table."""
    return any(isinstance(each, type) and issubclass(each, str) for each in _parts(field.annotation))


def _tables(annotation: Any) -> Iterator[type[BaseModel]]:
    for part in _parts(annotation):
        if isinstance(part, type) and issubclass(part, BaseModel):
            yield part


def _words(annotation: Any) -> Iterator[str]:
    for part in _parts(annotation):
        if isinstance(part, str):
            yield part


def _parts(annotation: Any) -> Iterator[Any]:
    """The types and literal words that an annotation is made of."""
    yield annotation
    if get_origin(annotation) in (Union, UnionType) or get_args(annotation):
        for inner in get_args(annotation):
            yield from _parts(inner)
