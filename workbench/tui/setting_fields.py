"""The fields of a form, made from the settings classes: kind, choices, default, range and help of each key."""

from dataclasses import dataclass, replace
from functools import cache, reduce
from typing import Any, Literal

import tomlkit
from tomlkit.exceptions import TOMLKitError
from tomlkit.items import Float, Integer, Item

from workbench.config import Profile
from workbench.language import mark, tr

Kind = Literal["choice", "switch", "number", "text", "list"]
Limit = tuple[str, str]
"""A sentence of the catalogue, and the value in it."""
LIMITS = {
    "exclusiveMinimum": mark("above {value}"),
    "minimum": mark("from {value}"),
    "exclusiveMaximum": mark("below {value}"),
    "maximum": mark("to {value}"),
}
ABOUT_KEYS = ("description", "measured")
# Fields of a stage that only some kinds have, and those of one that trains nothing.
_KINDS_OF_FIELDS = {
    "dpo": ("dpo",),
    "distill": ("distill",),
    "teacher": ("distill",),
    "generate": ("generate",),
    "model": ("pretrain", "sft", "distill"),
}
_GENERATE_FIELDS = ("name", "kind", "from", "data", "format", "batch_size", "generate")


@dataclass(frozen=True)
class SettingField:
    """One setting as a field.

    Args:
        key: its place in its table; two parts where the table has one of its own.
        choices: what may be chosen; default: what holds where it is absent, as text; None where it must be given.
        help: what it is for, sentences of the catalogue; range: which values are allowed.
        own_default: what holds without it once its table is there, where without it the table is not.
    """

    key: tuple[str, ...]
    kind: Kind
    help: tuple[str, ...]
    default: str | None
    range: tuple[Limit, ...] = ()
    choices: tuple[str, ...] = ()
    own_default: str = ""

    @property
    def label(self) -> str:
        """The key as profiles write it."""
        return ".".join(self.key)

    @property
    def explanation(self) -> str:
        """What it is for, what it takes and what holds without it."""
        told = [tr(each) for each in self.help]
        if self.own_default:
            told.append(tr("By itself {value}.", value=self.own_default))
        if self.range and self.kind == "number":
            told.append(_sentence(self.range))
        if self.kind == "list":
            told.append(tr("A text, or a TOML list."))
        if self.default:
            told.append(tr("Default {value}.", value=self.default))
        return reduce(lambda text, more: tr("{text} {more}", text=text, more=more), told, "").strip()

    def show(self, value: Any) -> str:
        """A value of the profile as the field shows it."""
        if value is None:
            return ""
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, list | tuple):
            return _listed(value)
        if isinstance(value, dict):
            return _inline(value)
        if isinstance(value, Integer | Float):
            return value.as_string()
        text = str(value)
        plain = text.isprintable() and not (self.kind == "list" and text.startswith(("[", "{")))
        return text if plain else tomlkit.string(text).as_string()

    def read(self, text: str) -> Any:
        """What a person wrote, as a value for the profile; nonsense stays text, and validation says what it thinks."""
        if self.kind == "switch" or (self.kind == "choice" and text in ("true", "false")):
            return text == "true"
        as_list = self.kind == "list" and text.startswith(("[", "{"))
        toml_like = self.kind == "number" or text.startswith('"') or as_list
        if toml_like and (item := _toml_value(text.strip())) is not None:
            return item
        return text


def _inline(value: Any) -> str:
    """A value as TOML in one line; a table in { }."""
    if not isinstance(value, dict):
        return str(tomlkit.item(value).as_string())
    pairs = (f"{tomlkit.key(key).as_string()} = {_listed(inner)}" for key, inner in value.items())
    return "{" + ", ".join(pairs) + "}"


def _listed(value: Any) -> str:
    return "[" + ", ".join(map(_inline, value)) + "]" if isinstance(value, list | tuple) else _inline(value)


def _toml_value(text: str) -> Item | None:
    try:
        item = tomlkit.value(text)
    except (TOMLKitError, ValueError):
        return None
    return item if item.as_string() == text else None


@cache
def fields_of(schema: str) -> tuple[SettingField, ...]:
    """The fields of a settings class, in the order they are declared."""
    whole = Profile.model_json_schema(by_alias=True)
    table = whole if schema == "Profile" else whole["$defs"][schema]
    found: list[SettingField] = []
    for name, described in table["properties"].items():
        if schema == "Profile" and name not in ABOUT_KEYS:
            continue
        parts = (*described.get("allOf", ()), *described.get("anyOf", ()), described)
        nested = next((part["$ref"] for part in parts if "$ref" in part), None)
        # a table, or none; what may also be a text or a list is one field
        if nested is None or any(part.get("type", "null") != "null" for part in described.get("anyOf", ())):
            found.append(_field((name,), described, name in table.get("required", ())))
            continue
        inner = whole["$defs"][nested.rpartition("/")[2]]
        plain = ((key, each) for key, each in inner["properties"].items() if "$ref" not in each)
        fields = [_field((name, key), each, False) for key, each in plain]
        found += [_of_a_choice(field, described) for field in fields] if "anyOf" in described else fields
    return tuple(found)


def fields_shown(schema: str, kind: object) -> tuple[SettingField, ...]:
    """The fields of a class that have an effect: of a stage, those of its kind."""
    if schema != "StageSettings":
        return fields_of(schema)
    if kind == "generate":
        return tuple(field for field in fields_of(schema) if field.key[0] in _GENERATE_FIELDS)
    others = {key for key, kinds in _KINDS_OF_FIELDS.items() if kind not in kinds}
    return tuple(field for field in fields_of(schema) if field.key[0] not in others)


def _of_a_choice(field: SettingField, table: dict[str, Any]) -> SettingField:
    """A field of a table that may be absent as a whole: nothing holds before one of its fields is given."""
    return replace(field, default="", own_default=field.default or "", help=(*field.help, *_about(table)))


def _field(key: tuple[str, ...], described: dict[str, Any], required: bool) -> SettingField:
    variants = [each for each in described.get("anyOf", [described]) if each.get("type") != "null"]
    types = {each.get("type") for each in variants}
    words = [word for each in variants for word in each.get("enum", [each["const"]] if "const" in each else [])]
    kind: Kind = "text"
    if "array" in types:
        kind = "list"
    elif types & {"integer", "number"}:
        kind = "number"
    elif types == {"boolean"}:
        kind = "switch"
    elif words:
        kind = "choice"
        words += ["true", "false"] if "boolean" in types else []
    choices = tuple(words) if kind == "choice" else ()
    field = SettingField(key, kind, _about(described), None, _range(variants, words), choices)
    return field if required else replace(field, default=field.show(described.get("default")))


def _about(described: dict[str, Any]) -> tuple[str, ...]:
    """What the settings class says of a field, in one line."""
    text = " ".join(str(described.get("description", "")).split())
    return (text,) if text else ()


def _range(variants: list[dict[str, Any]], words: list[str]) -> tuple[Limit, ...]:
    """The limits as sentences of the catalogue: `above 0`, `below 1`, `or auto`."""
    whole = [(mark("whole number"), "")] if any(each.get("type") == "integer" for each in variants) else []
    limits = [(word, f"{each[limit]:g}") for each in variants for limit, word in LIMITS.items() if limit in each]
    return (*whole, *limits, *((mark("or {value}"), word) for word in words))


def _sentence(limits: tuple[Limit, ...]) -> str:
    told = tr(", ").join(tr(words, value=value) for words, value in limits)
    return tr("{limits}.", limits=f"{told[:1].upper()}{told[1:]}")
