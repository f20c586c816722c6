"""The language of what people read. An English sentence is its own name; catalogues hold the other languages.

`tr("Runs in {folder}", folder=...)` gives the sentence in the language in use. The catalogues are the TOML files of
`translations/LANGUAGE/`, tables of `"English" = "translation"` with the same placeholders. What an engine said in
English, into a file perhaps, is translated when it is shown: `retell`.
"""

import locale
import re
from collections.abc import Mapping
from functools import cache, lru_cache
from pathlib import Path
from string import Formatter
from typing import Literal, get_args

import tomli

Language = Literal["en", "zh"]
LANGUAGES: tuple[Language, ...] = get_args(Language)
NAMES: dict[Language, str] = {"en": "English", "zh": "简体中文"}
VARIABLE = "LLM_WORKBENCH_LANG"
TRANSLATIONS = Path(__file__).parent / "translations"
RETOLD = "engine"
"""Files of a catalogue whose names begin so hold what engines say: `retell` recognises these sentences."""
HELPS = "settings.toml"
"""What the settings are for, which engines say too, without the full stop."""
SINGLE_WORDS = frozenset({"run", "stage", "key", "name", "number", "load", "fair"})
"""Placeholders of engines' sentences that stand for something without a space."""
ANYTHING = frozenset({"text", "error", "cause", "told", "choices"})
"""Placeholders that may stand for several sentences; all others stand for a part of one."""
_LOCALE_VARIABLES = ("LC_ALL", "LC_MESSAGES", "LANG")  # the first that is set decides, as in the C library
_BETWEEN_CLAUSES = "; "
_JOINTS = (("\n", "\n"), (_BETWEEN_CLAUSES, "；"), (": ", "："), (". ", "。"), (", ", "，"))
"""Where engines put sentences together, and what stands there in Chinese."""

_BULLET = "  - "
"""What engines list things with, a line each."""

_language: Language = "en"


def language() -> Language:
    """The language in use."""
    return _language


def use_language(chosen: Language) -> None:
    """Speak this language from now on."""
    global _language  # noqa: PLW0603  one program speaks to one person
    _language = chosen


def choose_language(given: str | None, environment: Mapping[str, str], preferred: str | None) -> Language:
    """The language to speak: the one given, else the environment's, the preferred one, the locale's, English.

    Args:
        given: as on the command line; `preferred`: as the person's configuration has it. What is none is passed over.
        environment: the process's variables.
    """
    for wish in (given, environment.get(VARIABLE), preferred):
        if wish in LANGUAGES:
            return wish
    named = next((environment[name] for name in _LOCALE_VARIABLES if environment.get(name)), None)
    if named is None:  # Windows, and programs started from a Mac's desktop
        named = locale.getlocale()[0] or ""
    if environment.get("TERM") == "linux":  # the kernel's console has no Chinese characters
        return "en"
    return "zh" if named.lower().startswith(("zh", "chinese")) else "en"


def tr(message: str, /, **values: object) -> str:
    """`message` in the language in use, its `{placeholders}` filled with `values`; English where nobody translated it.

    Call it when the text is shown, never at import: the language may change.
    """
    if _language != "en":
        message = catalogue(_language).get(message, message)
    return message.format(**values) if values else message


def tr_many(one: str, many: str, count: int, /, **values: object) -> str:
    """The sentence for that `count`, which is a placeholder too: `tr_many("{count} run", "{count:,} runs", 3)`.

    A catalogue has an entry for `many` alone: Chinese nouns are the same for one and for many.
    """
    chosen = one if count == 1 and _language == "en" else many
    return tr(chosen, count=count, **values)


def mark(message: str) -> str:
    """`message` itself, to be translated by `tr` where it is shown: for tables that are made at import."""
    return message


@cache
def catalogue(chosen: Language) -> dict[str, str]:
    """Every sentence of a language by its English."""
    return {english: told for path in catalogue_files(chosen) for english, told in _read(path).items()}


def catalogue_files(chosen: Language) -> list[Path]:
    """The files of a language's catalogue; English has none."""
    return sorted((TRANSLATIONS / chosen).glob("*.toml"))


def placeholders(message: str) -> list[str]:
    """The names of a sentence's placeholders, sorted; other braces are text, as in `{path, weight}`."""
    return sorted(name for _, name, _, _ in Formatter().parse(message) if name is not None and name.isidentifier())


def retell(text: str) -> str:
    """What an engine said in English, in the language in use: as far as its sentences are known, the rest as it is."""
    return text if _language == "en" or not text else _retold(_language, text)


@lru_cache(maxsize=2048)
def _retold(chosen: Language, text: str) -> str:
    if text.startswith(_BULLET):
        return _BULLET + _retold(chosen, text.removeprefix(_BULLET))
    whole, patterns = _engine_sentences(chosen)
    if text in whole:
        return whole[text]
    for pattern, told in patterns:
        if match := pattern.fullmatch(text):
            return told.format(**{name: _retold(chosen, value) for name, value in match.groupdict().items()})
    for joint, here in _JOINTS:
        head, found, rest = text.partition(joint)  # the rest may be known as a whole
        told, more = (_retold(chosen, head), _retold(chosen, rest)) if found else (head, rest)
        if (told, more) != (head, rest):
            # A place or a figure that stayed as it was keeps the sign behind it.
            translated = joint == _BETWEEN_CLAUSES or _is_chinese(told[-1:]) or _is_chinese(more[:1])
            return f"{told}{here if translated else joint}{more}"
    return text


def _is_chinese(character: str) -> bool:
    return character >= "\u2e80"


@cache
def _engine_sentences(chosen: Language) -> tuple[dict[str, str], list[tuple[re.Pattern[str], str]]]:
    """What engines say word for word, and as patterns; of these, those that say the most first."""
    files = [path for path in catalogue_files(chosen) if path.name.startswith(RETOLD)]
    told = {english: words for path in files for english, words in _read(path).items()}
    helps = _read(TRANSLATIONS / chosen / HELPS)
    told |= {english.removesuffix("."): words.removesuffix("。") for english, words in helps.items()}
    open_ones = sorted(filter(placeholders, told), key=_literal_length, reverse=True)
    return told, [(_pattern(english), told[english]) for english in open_ones]


def _literal_length(english: str) -> int:
    return sum(len(literal) for literal, *_ in Formatter().parse(english))


def _pattern(english: str) -> re.Pattern[str]:
    seen: set[str] = set()
    parts = []
    for literal, name, _, _ in Formatter().parse(english):
        parts.append(re.escape(literal))
        if name is not None:
            parts.append(f"(?P={name})" if name in seen else f"(?P<{name}>{_standing_for(name)})")
            seen.add(name)
    return re.compile("".join(parts), re.DOTALL)


def _standing_for(name: str) -> str:
    """What a placeholder may stand for, as a pattern."""
    if name in SINGLE_WORDS:
        return r"\S+?"
    return ".+?" if name in ANYTHING else r"(?:(?!; |: |\n).)+?"


@cache
def _read(path: Path) -> dict[str, str]:
    table: dict[str, str] = tomli.loads(path.read_text(encoding="utf-8"))
    return table
