"""A profile being edited: one TOML text that a form and an editor change in turn, comments kept."""

import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

import tomlkit
from tomlkit.exceptions import ParseError, TOMLKitError
from tomlkit.items import AoT, Item, Table

from workbench.bundled import profiles_folder
from workbench.language import mark, tr
from workbench.profile import find_profile
from workbench.tui.stage_templates import BEFORE, StageTemplate, usual_template

Location = tuple[str | int, ...]
"""Where a value stands: ("model", "hidden_size") or ("stage", 0, "optimizer", "eps")."""

TOGETHER_SECONDS = 1.5  # keystrokes in one place that follow each other faster are undone together
UNDO_STEPS = 500
TABLES = ("run", "tokenizer", "model")
_LINE = re.compile(r"at line (\d+)")
_HEADER = re.compile(r"\s*(\[\[?)\s*([^\[\]]+?)\s*\]\]?\s*(#.*)?$")


@dataclass(frozen=True)
class Section:
    """A part of the profile that the form shows at once.

    Args:
        title: for people; location: of its table.
        schema: the name of its settings class.
    """

    title: str
    location: Location
    schema: str

    @property
    def shown(self) -> str:
        """The title as people read it: tables and stages under their own names."""
        return self.title if self.location else tr(self.title)

    def holds(self, location: Location) -> bool:
        """Whether the value at `location` belongs to this part."""
        inside = location[: len(self.location)] == self.location
        return inside if self.location else len(location) == 1


def found_again(before: Section, after: Sequence[Section], place: int, returns: dict[str, str]) -> int:
    """Where the part that was shown stands once stages came or went.

    Args:
        place: where it stood.
        returns: by a stage that was added, the part to return to when it goes again; such an entry is used up.
    """
    same = [n for n, each in enumerate(after) if (each.title, each.schema) == (before.title, before.schema)]
    nearest = returns.pop(before.title, None) if not same else None
    kept = [n for n, each in enumerate(after) if each.title == nearest]
    return next(iter([*same, *kept]), min(place, len(after) - 1))


class ProfileDraft:
    """The text of a profile, and what was done to it.

    Args:
        name: for people; path: the file it came from.
        text: as it was read.

    Attributes:
        original: what the file holds; the draft has unsaved edits where `text` differs from it.
        broken: why the text is no TOML; empty where it is.
    """

    def __init__(self, name: str, path: Path, text: str) -> None:
        self.name, self.path, self.original, self.text = name, path, text, text
        self.broken = ""
        self.version = 0
        self._document = tomlkit.document()
        self._undo: list[str] = []
        self._redo: list[str] = []
        self._last_edit: tuple[object, float] = (None, 0.0)
        self._cleared: tuple[Location, str] = ((), "")
        self._parse()

    @classmethod
    def read(cls, name_or_path: str) -> "ProfileDraft":
        """The draft of a bundled profile or of a file.

        Raises:
            UsageError: there is no such profile.
            OSError, UnicodeDecodeError: it cannot be read.
        """
        path = find_profile(name_or_path)
        return cls(path.stem, path, path.read_text(encoding="utf-8"))

    @property
    def bundled(self) -> bool:
        """Whether it came with the program, and must not be written over."""
        return self.path.resolve().parent == profiles_folder().resolve()

    @property
    def edited(self) -> bool:
        """Whether something would be lost."""
        return self.text != self.original

    def saved_as(self, path: Path) -> None:
        """The text now stands in `path`."""
        self.name, self.path, self.original = path.stem, path, self.text

    # --- reading ----------------------------------------------------------------------------------------------------

    def sections(self) -> list[Section]:
        """The parts, in the order of a run."""
        named = [Section(name, (name,), f"{name.capitalize()}Settings") for name in TABLES]
        stages = [
            Section(_stage_title(stage, number), ("stage", number), "StageSettings")
            for number, stage in enumerate(self._stages())
        ]
        about = Section(mark("about"), (), "Profile")
        return [about, *named, *stages, Section("evaluate", ("evaluate",), "EvaluateSettings")]

    def get(self, location: Location) -> Any:
        """What stands at `location`; None where nothing does."""
        value: Any = self._document
        for part in location:
            try:
                value = value[part]
            except (KeyError, IndexError, TypeError, TOMLKitError):
                return None
        return value

    def section_of_break(self, sections: Sequence[Section]) -> Section | None:
        """The part in which the text stops being TOML; None where it is whole, or nobody can tell."""
        place = _LINE.search(self.broken)
        if place is None:
            return None
        table, line = "", int(place[1]) - 1
        for number, location in self._places(headers=True):
            if number <= line:
                table = location
        return next((each for each in sections if ".".join(map(str, each.location)) == table), None)

    def line_of(self, location: Location) -> int | None:
        """The line, counted from 0, that sets a value or opens a table; None where there is none."""
        wanted = ".".join(str(part) for part in location)
        return next((number for number, place in self._places() if place == wanted), None)

    def location_of(self, key: str) -> Location | None:
        """The location of a key as problems name it, such as `stage.sft.steps`; None for what is no key."""
        parts = key.split(".")
        if parts[0] == "stage" and len(parts) > 1:
            names = [_stage_title(stage, number) for number, stage in enumerate(self._stages())]
            if parts[1] not in names:
                return None
            # a problem of one entry of a list is shown at the list
            return ("stage", names.index(parts[1]), *takewhile(lambda part: not part.isdigit(), parts[2:]))
        known = (*TABLES, "evaluate", "stage", "description", "measured")
        return tuple(parts) if parts[0] in known else None

    # --- changing ---------------------------------------------------------------------------------------------------

    def put(self, location: Location, value: Item | Any) -> None:
        """Set a value, behind the last one of its table where it is new; missing tables are made."""
        if self._cleared[0] == location == self._last_edit[0]:
            self._document = tomlkit.parse(self._cleared[1])  # a field emptied and filled: the comment stays
        table: Any = self._document
        made = False
        for part in location[:-1]:
            if isinstance(part, str) and part not in table:
                made = True
                _append(table, part, tomlkit.table())
            table = table[part]
        key = location[-1]
        if key in table:
            table[key] = value
        else:
            _append(table, str(key), value)
        text = tomlkit.dumps(self._document)
        self._take(_spaced(text) if made else text, location)

    def clear(self, location: Location) -> None:
        """Take a value out, so that the default holds."""
        table = self.get(location[:-1])
        if table is not None and location[-1] in table:
            self._cleared = (location, self.text)
            table.remove(location[-1])
            if not table and location[0] == "stage" and len(location) > 3:
                self.get(location[:-2]).remove(location[-2])  # an empty [stage.lora] would still mean LoRA
            self._take(tomlkit.dumps(self._document), location)

    def edit(self, text: str) -> None:
        """The text as somebody typed it."""
        self._take(text, "text")

    def stage_kinds(self) -> list[str]:
        """The kind of each stage, in order."""
        return [str(stage.get("kind")) for stage in self._stages()]

    def add_stage(self, after: int | None, template: StageTemplate | None = None) -> int:
        """A new stage behind number `after` or at the end; returns its number.

        Args:
            template: what it is; what most people add next where None.
        """
        stages = self._stages()
        template = template or usual_template(self.stage_kinds())
        names = [_stage_title(stage, number) for number, stage in enumerate(stages)]
        wanted = template.name
        name = next(name for name in (wanted, *(f"{wanted}-{n}" for n in range(2, 999))) if name not in names)
        neighbour = stages[min(after if after is not None else len(stages), len(stages) - 1)] if stages else {}
        trains = template.settings.get("kind") != "generate"
        fitting = {key: neighbour[key] for key in ("sequence_length",) if key in neighbour and trains}  # as there
        before = names[min(after if after is not None else len(names), len(names) - 1)] if names else ""
        settings = {
            key: value.replace(BEFORE, before) if isinstance(value, str) else value
            for key, value in template.settings.items()
        }
        given = {"name": name, **settings, **fitting}
        table = tomlkit.table()
        table.update(dict(sorted(given.items(), key=lambda item: isinstance(item[1], dict))))  # tables stand last
        if not isinstance(stages, AoT):
            self._document["stage"] = stages = tomlkit.aot()
        place = len(stages) if after is None else after + 1
        stages.insert(place, table)
        self._take(_spaced(tomlkit.dumps(self._document)), "stages")
        return place

    def remove_stage(self, number: int) -> None:
        """Take a stage out."""
        del self._stages()[number]
        self._take(_spaced(tomlkit.dumps(self._document)), "stages")

    def move_stage(self, number: int, step: int) -> int:
        """Exchange a stage with its neighbour; returns its number from now on."""
        stages, place = self._stages(), number + step
        if not 0 <= place < len(stages):
            return number
        stage = stages[number]
        del stages[number]
        stages.insert(place, stage)
        self._take(_spaced(tomlkit.dumps(self._document)), "stages")
        return place

    def undo(self) -> bool:
        """Take the last change back; False where there is none."""
        return self._go_to(self._undo, self._redo)

    def redo(self) -> bool:
        """Do what was taken back again; False where nothing was."""
        return self._go_to(self._redo, self._undo)

    def _go_to(self, source: list[str], other: list[str]) -> bool:
        if not source:
            return False
        other.append(self.text)
        self.text = source.pop()
        self._last_edit = (None, 0.0)
        self._parse()
        return True

    def _take(self, text: str, place: object) -> None:
        """The new text; a change in the same place soon after the last one is one with it."""
        if text == self.text:
            return
        now = time.monotonic()
        if (place, True) != (self._last_edit[0], now - self._last_edit[1] < TOGETHER_SECONDS):
            self._undo = [*self._undo[-UNDO_STEPS:], self.text]
        self._redo.clear()
        self._last_edit = (place, now)
        self.text = text
        self._parse()

    def _parse(self) -> None:
        """Read the text anew; while it is no TOML the last document that was one stands."""
        self.version += 1
        try:
            self._document = tomlkit.parse(self.text)
            self.broken = ""
        except (ParseError, TOMLKitError) as error:
            self.broken = str(error)

    def _stages(self) -> Any:
        stages = self._document.get("stage")
        return stages if isinstance(stages, AoT) else []

    def _places(self, *, headers: bool = False) -> Iterator[tuple[int, str]]:
        """Every line that opens a table or (but for `headers`) sets a key, with the location it has."""
        table, stages = "", -1
        for number, line in enumerate(self.text.splitlines()):
            header = _HEADER.match(line)
            if header is not None and not line.lstrip().startswith("#"):
                name = header[2].replace('"', "")
                stages += header[1] == "[[" and name == "stage"
                table = re.sub(r"^stage\b", f"stage.{stages}", name)
                yield number, table
            elif not headers and (key := re.match(r"\s*([\w.\-]+)\s*=", line)) is not None:
                yield number, f"{table}.{key[1]}" if table else key[1]


def _append(table: Any, key: str, value: Any) -> None:
    """Put a new key behind the last one: comments and blank lines at the end belong to what follows."""
    body = table.value.body if isinstance(table, Table) else table.body
    tail: list[Any] = []
    while not isinstance(value, Table) and body and body[-1][0] is None:
        tail.insert(0, body.pop())
    table.add(key, value)
    body.extend(tail)


def _spaced(text: str) -> str:
    """`text` with an empty line above each table that stands close to a value."""
    lines: list[str] = []
    for line in text.splitlines():
        above = lines[-1].strip() if lines else ""
        if _HEADER.match(line) and above and not above.startswith("#"):
            lines.append("")
        lines.append(line)
    return "\n".join(lines).rstrip("\n") + "\n"


def _stage_title(stage: Any, number: int) -> str:
    return str(stage.get("name") or stage.get("kind") or number + 1)
