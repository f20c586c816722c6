"""Profiles: TOML to `Profile` and back, with overrides, and every problem of a file in one message."""

import contextlib
import copy
import difflib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import tomli
import tomlkit
from pydantic import BaseModel, ValidationError

from workbench.bundled import find_data, profiles_folder
from workbench.config import (
    PARTS_ONLY,
    STAGE_PREFIX,
    DataSource,
    ModelSettings,
    Profile,
    StageSettings,
    TokenizerSettings,
)
from workbench.errors import DataError, ProfileError, UsageError

EVALUATED_FILES = ("questions", "perplexity", "choices")  # keys of [evaluate] that name files
PLACEHOLDER = __file__  # a file that is there, in place of data that a broken profile does not name


_WANTED = {
    "model_type": "a table",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "string_type": "a text in quotes",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "list_type": "a list in [ ]",
    "tuple_type": "a list in [ ]",
    "too_short": "one entry at least",
    "string_pattern_mismatch": "of letters, digits, '-', '_' and '.', and begin with a letter or digit",
}


@dataclass(frozen=True)
class ProfileEntry:
    """A profile in a list: enough to choose by."""

    name: str
    path: Path
    description: str
    measured: str


def list_profiles() -> list[ProfileEntry]:
    """The bundled profiles that can be read, `quickstart` first."""
    entries = []
    for path in sorted(profiles_folder().glob("*.toml"), key=lambda path: (path.stem != "quickstart", path.stem)):
        values = _read_toml(path.read_text(encoding="utf-8"), str(path))
        entries.append(ProfileEntry(path.stem, path, values.get("description", ""), values.get("measured", "")))
    return entries


def find_profile(name_or_path: str) -> Path:
    """The file of a profile given by path or by a bundled name.

    Raises:
        UsageError: there is none; the nearest names are told.
    """
    path = Path(name_or_path).expanduser()
    if path.suffix == ".toml" or path.is_file() or (path.is_dir() and len(path.parts) > 1):
        if path.is_file():
            return path.resolve()
        if path.is_dir():
            raise UsageError(name_or_path, "is a folder, not a profile", "name the .toml file")
        raise UsageError(name_or_path, "no such profile file", "check the path, or see: llm-workbench profiles")
    names = [entry.stem for entry in sorted(profiles_folder().glob("*.toml"))]
    if name_or_path in names:
        return profiles_folder() / f"{name_or_path}.toml"
    near = difflib.get_close_matches(name_or_path, names, n=1)
    hint = f"did you mean {near[0]}?" if near else f"profiles are {', '.join(names)}"
    raise UsageError(name_or_path, "no such profile", hint)


def read_profile(name_or_path: str, overrides: Sequence[str] = ()) -> Profile:
    """The validated profile, its data paths made absolute, with every file found.

    Args:
        name_or_path: a TOML file, or the name of a bundled profile.
        overrides: `key=value` each, such as `stage.pretrain.steps=20`; values are TOML, or plain text.
    Raises:
        UsageError: there is no such profile.
        ProfileError: all problems of the file together.
    """
    path = find_profile(name_or_path)
    try:
        text = path.read_text(encoding="utf-8-sig")  # editors of Windows write a byte order mark
    except UnicodeDecodeError as error:
        raise ProfileError(str(path), ["is not UTF-8; save it as UTF-8"]) from error
    except OSError as error:
        raise ProfileError(str(path), [f"cannot be read: {error.strerror}; check its permissions"]) from error
    profile, problems = _validate(_overridden(text, str(path), overrides))
    if profile is None:
        raise ProfileError(str(path), problems)
    if profile.run.name is None:
        run = profile.run.model_copy(update={"name": path.stem})
        profile = profile.model_copy(update={"run": run})
    try:
        profile = with_files_found(profile, str(path), path.parent)
    except ProfileError as error:
        problems += error.problems
    if problems:
        raise ProfileError(str(path), problems)
    return profile


def parse_profile(text: str, where: str, overrides: Sequence[str] = ()) -> Profile:
    """The validated profile of TOML `text`; files that it names are not looked for.

    Raises:
        ProfileError: all problems together, each with its key, value and remedy; `where` names the file.
    """
    profile, problems = _validate(_overridden(text, where, overrides))
    if profile is None or problems:
        raise ProfileError(where, problems)
    return profile


def with_files_found(profile: Profile, where: str, folder: Path) -> Profile:
    """`profile` with relative paths made absolute, looked up beside the file first and in the current folder next.

    Raises:
        ProfileError: files that are missing, all together.
    """
    folders = list(dict.fromkeys([folder.resolve(), Path.cwd()]))
    problems: list[str] = []

    def found(key: str, references: list[str]) -> list[str]:
        kept = []
        for reference in references:
            if reference.startswith(STAGE_PREFIX):  # it is written when that stage runs
                kept.append(reference)
                continue
            try:
                files = find_data(reference, folders)
                prefixed = reference.startswith(("bundled:", "fetched:"))
                kept += [reference] if prefixed else [str(file) for file in files]
            except DataError as error:
                problems.append(f"{key}: {error}")
        return kept

    def found_data(key: str, given: list[str | DataSource]) -> list[str | DataSource]:
        kept: list[str | DataSource] = []
        for source in given:
            if isinstance(source, DataSource):
                kept.append(source.model_copy(update={"path": found(key, source.path)}))
            else:
                kept += found(key, [source])
        return kept

    def model_directory(key: str, given: str | None) -> str | None:
        if given is None:
            return None
        for base in folders:
            if (candidate := base / Path(given).expanduser()).exists():
                return str(candidate.resolve())
        problems.append(f"{key}: {given}: no such file or directory; check the path")
        return given

    stages, earlier = [], set[str]()
    for stage in profile.stage:
        changes: dict[str, Any] = {
            "data": found_data(f"stage.{stage.name}.data", stage.data),
            "validation": found(f"stage.{stage.name}.validation", stage.validation),
        }
        for key, field in (("from", "from_"), ("teacher", "teacher")):
            if (named := getattr(stage, field)) is not None and named not in earlier:
                changes[field] = model_directory(f"stage.{stage.name}.{key}", named)
        if stage.model is not None and stage.model.path is not None:
            own = model_directory(f"stage.{stage.name}.model.path", stage.model.path)
            changes["model"] = stage.model.model_copy(update={"path": own})
        stages.append(stage.model_copy(update=changes))
        earlier.add(stage.name)
    tokenizer = profile.tokenizer.model_copy(
        update={
            "path": model_directory("tokenizer.path", profile.tokenizer.path),
            "data": found("tokenizer.data", profile.tokenizer.data),
        }
    )
    model = profile.model.model_copy(update={"path": model_directory("model.path", profile.model.path)})
    measured = {key: found(f"evaluate.{key}", getattr(profile.evaluate, key)) for key in EVALUATED_FILES}
    evaluate = profile.evaluate.model_copy(update=measured)
    if problems:
        raise ProfileError(where, problems)
    return profile.model_copy(update={"stage": stages, "tokenizer": tokenizer, "model": model, "evaluate": evaluate})


def profile_text(profile: Profile) -> str:
    """`profile` as TOML with every default written out; absent values are left out, as TOML has no null."""
    values = profile.model_dump(mode="json", by_alias=True, exclude_none=True)
    if profile.tokenizer.path is not None:
        values["tokenizer"] = {"path": profile.tokenizer.path}
    owners = [(values, profile.model), *zip(values["stage"], (stage.model for stage in profile.stage), strict=True)]
    for table, model in owners:
        if model is not None and model.path is not None:
            table["model"] = {"path": model.path}
    return tomlkit.dumps(values)


def profile_schema() -> dict[str, Any]:
    """JSON Schema of a profile, for editors."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **Profile.model_json_schema(by_alias=True),
        "title": "llm-workbench profile",
    }


def _read_toml(text: str, where: str) -> dict[str, Any]:
    try:
        return tomli.loads(text)
    except (ValueError, RecursionError) as error:  # numbers of thousands of digits are refused by Python itself
        raise ProfileError(where, [f"is not valid TOML: {error}"]) from error


def _overridden(text: str, where: str, overrides: Sequence[str]) -> dict[str, Any]:
    values = _read_toml(text, where)
    problems = [problem for override in overrides if (problem := _apply(values, override))]
    problems += [
        f"{_key(location, values)}: {_shown(value)} is not allowed: a number must fit into 64 bits"
        for location, value in _beyond_64_bits(values)
    ]
    if problems:
        raise ProfileError(where, problems)
    return values


def _beyond_64_bits(value: Any, location: tuple[int | str, ...] = ()) -> Iterator[tuple[list[int | str], Any]]:
    """Numbers that nothing here could compute with, nor TOML hold, and where they stand."""
    for key, each in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from _beyond_64_bits(each, (*location, key))
    if isinstance(value, int | float) and value not in (math.inf, -math.inf) and abs(value) >= 2**63:
        yield list(location), value


def _validate(values: dict[str, Any]) -> tuple[Profile | None, list[str]]:
    """The profile and all that is wrong with it.

    What is wrong is taken out and the rest checked again, so that one unknown key does not hide sizes that do not
    divide or a file that is missing. The profile is None where nothing usable is left.
    """
    problems: list[str] = []
    remaining = copy.deepcopy(values)
    for _ in range(4):  # keys, then tables, then what tables say of each other
        try:
            return Profile.model_validate(remaining), problems
        except ValidationError as error:
            problems += [problem for problem in _explain(error, values) if problem not in problems]
            for detail in error.errors():
                _take_out([part for part in detail["loc"] if not _is_union_branch(part)], remaining)
    with contextlib.suppress(ValidationError):
        return Profile.model_validate(remaining, context=PARTS_ONLY), problems
    return None, problems


def _take_out(location: list[int | str], values: dict[str, Any]) -> None:
    """Remove the value at `location`, or put a harmless one where one is needed; an entry goes with its list."""
    entry = 2 if location[:1] == ["stage"] else 1
    location = next(
        (location[:place] for place in range(entry, len(location)) if isinstance(location[place], int)), location
    )
    needed = {"kind": "pretrain", "data": [], "steps": 1}
    table: Any = values
    for part in location[:-1]:
        if not isinstance(table, dict | list) or (isinstance(table, dict) and part not in table):
            return
        table = table[part]  # type: ignore[index]
    last = location[-1] if location else None
    if isinstance(table, list) and isinstance(last, int):
        kept = table[last] if isinstance(table[last], dict) else {}
        table[last] = {**needed, **{key: kept[key] for key in ("name", "kind", "data") if key in kept}}
        table[last] |= {"steps": 1, "sequence_length": 2}
    elif isinstance(table, dict) and last == "data":
        table["data"] = [PLACEHOLDER]
    elif isinstance(table, dict) and last is not None:
        table.pop(last, None)
        if last in ("kind", "stage"):
            if last == "kind":
                table.setdefault("name", f"stage-{location[1]}")  # of its own, so that it is no second of a kind
            table[last] = "pretrain" if last == "kind" else [{"kind": "pretrain", "data": [PLACEHOLDER], "steps": 1}]
        if last in ("steps", "epochs", "tokens"):
            table["steps"] = 1


def _apply(values: dict[str, Any], override: str) -> str | None:
    """Write one `key=value` into `values`; what is wrong with it, or None."""
    key, equals, text = override.partition("=")
    parts = key.strip().split(".")
    if not equals or not all(parts):
        return f"--set {override}: is not KEY=VALUE; write, for example, --set stage.pretrain.steps=20"
    try:
        value = tomli.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):
        value = text  # a path or a name needs no quotes on a command line
    table: Any = values
    if parts[0] == "stage":
        stages = [stage for stage in values.get("stage", []) if isinstance(stage, dict)]
        names = [str(stage.get("name", stage.get("kind", ""))) for stage in stages]
        if len(parts) < 3 or parts[1] not in names:
            return f"--set {override}: there is no such stage; write stage.NAME.KEY with one of {', '.join(names)}"
        table, parts = stages[names.index(parts[1])], parts[2:]
    for part in parts[:-1]:
        table = table.setdefault(part, {})
        if not isinstance(table, dict):
            return f"--set {override}: {part} is a value, not a table"
    table[parts[-1]] = value
    if parts[-1] in ("steps", "epochs", "tokens"):  # a new length takes the place of the old one
        for other in {"steps", "epochs", "tokens"} - {parts[-1]}:
            table.pop(other, None)
    return None


def _explain(error: ValidationError, values: dict[str, Any]) -> Iterator[str]:
    """One line a problem, in the words of the profile."""
    told = set()
    for detail in error.errors():
        location = [part for part in detail["loc"] if not _is_union_branch(part)]
        key = _key(location, values)
        if key in told and detail["type"] != "value_error":
            continue  # a union reports each of its branches
        told.add(key)
        if detail["type"] == "value_error":
            for line in str(detail["ctx"]["error"]).split("\n"):
                own, colon, rest = line.partition(": ")
                inner = f"{key}.{own}" if key and not own.startswith(("stage.", "evaluate.")) else own
                yield f"{inner}{colon}{rest}"
        elif detail["type"] == "extra_forbidden":
            yield f"unknown key {key}{_nearest(location)}"
        elif detail["type"] == "missing":
            yield f"{key}: is missing; {_purpose(location)}"
        else:
            yield f"{key}: {_shown(detail['input'])} is not allowed: {_choices(error, detail['loc'])}"


def _is_union_branch(part: int | str) -> bool:
    """Whether pydantic put the name of a type, not of a key, into a location."""
    if part in ("file", "table"):  # the two forms of an entry of `data`
        return True
    branches = ("int", "float", "bool", "literal[", "function-", "constrained-", "nullable[")
    return isinstance(part, str) and part.startswith(branches)


def _key(location: Sequence[int | str], values: dict[str, Any]) -> str:
    parts = [str(part) for part in location]
    stages = values.get("stage")
    if len(location) > 1 and location[0] == "stage" and isinstance(location[1], int) and isinstance(stages, list):
        stage = stages[location[1]]
        if isinstance(stage, dict):
            parts[1] = str(stage.get("name") or stage.get("kind") or location[1] + 1)
    return ".".join(parts)


def _table_of(location: Sequence[int | str]) -> type[BaseModel] | None:
    """The settings class that holds the last key of `location`."""
    table: type[BaseModel] = Profile
    for part in location[:-1]:
        if isinstance(part, int):
            continue
        field = next((field for name, field in table.model_fields.items() if part in (name, field.alias)), None)
        if part == "stage":
            table = StageSettings
        elif part == "data" and table is StageSettings:
            table = DataSource
        elif field is not None and (inner := _settings_class(field.annotation)) is not None:
            table = inner
        else:
            return None
    return table


def _settings_class(annotation: Any) -> type[BaseModel] | None:
    """The settings class that a field is of, or may be of where it can be absent."""
    kinds = get_args(annotation) or (annotation,)
    return next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)), None)


def _nearest(location: Sequence[int | str]) -> str:
    table = _table_of(location)
    if table is None:
        return ""
    names = [str(field.alias or name) for name, field in table.model_fields.items()]
    near = difflib.get_close_matches(str(location[-1]), names, n=1)
    if near:
        return f"; did you mean {near[0]}?"
    elsewhere = [
        f"{section}.{location[-1]}"
        for section, other in (("model", ModelSettings), ("tokenizer", TokenizerSettings), ("stage", StageSettings))
        if location[-1] in other.model_fields
    ]
    return f"; it belongs to {elsewhere[0]}" if elsewhere else "; known here are " + ", ".join(names)


def _purpose(location: Sequence[int | str]) -> str:
    table = _table_of(location)
    field = table.model_fields.get(str(location[-1])) if table else None
    return " ".join((field.description if field and field.description else "add it").split()).rstrip(".")


def _choices(error: ValidationError, location: tuple[int | str, ...]) -> str:
    """What a value may be; of one with several allowed forms, all branches of its union."""
    stem = tuple(part for part in location if not _is_union_branch(part))
    messages = [
        _wanted(other["type"], other["msg"], stem)
        for other in error.errors()
        if tuple(part for part in other["loc"] if not _is_union_branch(part)) == stem
    ]
    return ", or ".join(dict.fromkeys(messages))


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _wanted(kind: str, message: str, location: tuple[int | str, ...]) -> str:
    """What pydantic wanted of a value, in the words of TOML."""
    if kind == "list_type" and location == ("stage",):
        return "each stage is a table of its own, begun with [[stage]]"
    if kind in _WANTED:
        return f"it should be {_WANTED[kind]}"
    return message[:1].lower() + message[1:]
