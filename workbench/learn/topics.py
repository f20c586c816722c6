"""What can be explained: topics by name, with their words in English and Chinese, read from the TOML files beside.

A topic is a metric by its name in metrics.jsonl (`val_loss`), a setting by its key in a profile
(`stage.learning_rate`), or an idea (`attention`).
"""

import difflib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import tomli

from workbench.errors import UsageError

FOLDER = Path(__file__).parent / "topics"
TITLE_JOINT = " | "
_PREFIXES = ("val_",)  # of a metric that is another one, measured on validation data
_TABLES = ("run", "tokenizer", "model", "stage", "evaluate", "sampling")
_NESTED = {"stage.model.": "model."}
"""Tables of a profile that are another one's twin: what is said of the one holds for the other."""


@dataclass(frozen=True)
class Words:
    """A text in both languages."""

    en: str
    zh: str

    def of(self, language: str) -> str:
        """The text in that language; English where there is no other."""
        return self.zh if language == "zh" and self.zh else self.en


@dataclass(frozen=True)
class Topic:
    """One thing that can be explained.

    Args:
        what: what it is, and what it is for.
        sane: a sane range, and what a value outside of it means; empty where every value is sane.
        source: where it is computed, as MODULE:NAME; of a setting without one, its declaration.
        paper: where to read more; empty where there is nothing to name.
        see: topics beside it.
    """

    name: str
    title: Words
    what: Words
    sane: Words
    source: str = ""
    paper: str = ""
    see: tuple[str, ...] = ()

    @property
    def is_setting(self) -> bool:
        """Whether it is a key of a profile."""
        return "." in self.name and not self.name.startswith("sampling.")


@cache
def all_topics() -> dict[str, Topic]:
    """Every topic by name, in the order of the files."""
    found: dict[str, Topic] = {}
    for path in sorted(FOLDER.glob("*.toml")):
        for name, entry in tomli.loads(path.read_text(encoding="utf-8")).items():
            assert name not in found, f"{path.name}: {name} is explained twice"
            found[name] = _topic(name, entry)
    return found


def topic(name: str) -> Topic | None:
    """The topic of that name; of a metric on validation data, its twin where it has none of its own."""
    topics = all_topics()
    if name in topics:
        return topics[name]
    for prefix in _PREFIXES:
        if name.startswith(prefix) and (known := topics.get(name.removeprefix(prefix))):
            return known
    for nested, plain in _NESTED.items():
        if name.startswith(nested) and (known := topics.get(plain + name.removeprefix(nested))):
            return known
    family, _, rest = name.partition(".")
    # a measure by language or by file, such as exact_match.en
    return topics.get(family) if rest and family not in _TABLES else None


def find_topic(wanted: str) -> Topic:
    """The topic that a person means: its name, the last part of it, or its title in either language.

    Raises:
        UsageError: nothing is called so; the nearest are told.
    """
    text = wanted.strip().lower().replace(" ", "_").replace("-", "_")
    known = topic(text)
    if known is not None:
        return known
    topics = all_topics()
    for name, each in topics.items():
        titles = {each.title.en.lower().replace(" ", "_").replace("-", "_"), each.title.zh}
        if text in titles or wanted.strip() in titles or name.rpartition(".")[2] == text:
            return each
    by_end = {name.rpartition(".")[2]: name for name in topics} | {name: name for name in topics}
    near = [by_end[end] for end in difflib.get_close_matches(text, by_end, n=3, cutoff=0.5)]
    near = list(dict.fromkeys([*near, *(each.name for each in search_topics(wanted)[:3])]))
    remedy = f"did you mean {' or '.join(near[:3])}?" if near else "list all of them with: llm-workbench learn"
    raise UsageError(f"learn {wanted}", "there is no such topic", remedy)


def search_topics(wanted: str) -> list[Topic]:
    """Topics whose name or title holds `wanted`, then those whose text does; all of them where it is empty."""
    text = wanted.strip().lower()
    spaced = text.replace(" ", "_")
    named, told = [], []
    for each in all_topics().values():
        if spaced in each.name or text in each.title.en.lower() or text in each.title.zh:
            named.append(each)
        elif text in each.what.en.lower() or text in each.what.zh:
            told.append(each)
    return [*named, *told]


def _topic(name: str, entry: dict[str, object]) -> Topic:
    english, _, chinese = str(entry.get("title", name)).partition(TITLE_JOINT)
    return Topic(
        name=name,
        title=Words(english, chinese or english),
        what=Words(str(entry["en"]), str(entry["zh"])),
        sane=Words(str(entry.get("sane_en", "")), str(entry.get("sane_zh", ""))),
        source=str(entry.get("source", "")),
        paper=str(entry.get("paper", "")),
        see=tuple(str(each) for each in entry.get("see", ())),  # type: ignore[attr-defined]
    )
