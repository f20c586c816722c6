"""The catalogues: complete, in use, with the same placeholders; and how a language is chosen."""

import argparse
import ast
import errno
import inspect
import json.decoder
import json.scanner
import os
import re
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import pytest

from workbench import language
from workbench.language import LANGUAGES, catalogue, catalogue_files, choose_language, placeholders, retell, tr, tr_many
from workbench.profile import list_profiles
from workbench.tui.actions import ACTIONS, MODES
from workbench.tui.setting_fields import fields_of

ROOT = Path(__file__).resolve().parent.parent
SOURCES = sorted((ROOT / "workbench").glob("**/*.py"))
OTHERS = [each for each in LANGUAGES if each != "en"]
SCHEMAS = ("Profile", "RunSettings", "TokenizerSettings", "ModelSettings", "StageSettings", "EvaluateSettings")
"""The settings classes that the form of the Profile screen shows."""
PUT_TOGETHER = (
    *("input should", "string should"),  # pydantic's
    *("no such file in {text}", "{name} parameters", "{name} or {key}", "{name} and {key}", "did you mean {name} or"),
    *("{text} (at ", "Invalid ", "Unclosed array", "Cannot overwrite", "Expected ", "Unterminated string"),  # tomli's
    *("invalid int value", "invalid float value"),  # argparse's
    *("the text is not valid TOML", "was {old}", "found none", "known here are", "not UTF-8: byte", "install it with"),
    *("or it should be", "or go on for more steps", "or run again from there", "then go back to the last"),
    *("the preference loss is still", "validation rose from", "{module}, before its end", "{reason} at line"),
    *("{told}, for row", "lower micro_batch_size, sequence_length or the model's sizes, to about"),
)
"""How sentences begin that no single literal holds."""
KEPT = (
    "clip model.initializer_range tie_word_embeddings tokenizer.path patience weight_decay result best learning_rate "
    "router_aux_loss_coef logits float16 warmup softmax"
)
"""Words that stay as they are: settings and their values."""
FRAGMENTS = (
    " after {} passes over the data",
    "look at those rows: repeated or damaged text; then ",
    ", {} {}",
    "{} times",
    "its end",
    ", ...",
)
"""Parts of sentences that are put together, whose wholes stand in the catalogue."""
SPOKEN = {"tr": (0,), "mark": (0,), "tr_many": (1,)}
"""The functions that take sentences, and which arguments are their ids."""


@pytest.fixture
def chinese() -> Iterator[None]:
    """Speak Chinese for one test."""
    language.use_language("zh")
    yield
    language.use_language("en")


def called(node: ast.Call) -> str:
    return node.func.id if isinstance(node.func, ast.Name) else ""


def ids_in(path: Path) -> Iterator[tuple[str, int]]:
    """Every sentence that a module gives to `tr` and its kin, with its line."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call):
            continue
        name = called(node)
        given = [node.args[place] for place in SPOKEN.get(name, ()) if place < len(node.args)]
        if name == "say":
            given = [keyword.value for keyword in node.keywords]
        if name == "Binding" and len(node.args) > 2:
            given = [node.args[2]]
        for each in given:
            for part in (each.body, each.orelse) if isinstance(each, ast.IfExp) else (each,):
                if isinstance(part, ast.Constant) and isinstance(part.value, str) and part.value:
                    yield part.value, node.lineno


def all_ids() -> set[str]:
    found = {sentence for path in SOURCES for sentence, _ in ids_in(path)}
    found |= {words for action in ACTIONS for words in (action.label, action.tooltip)}
    found |= {sentence for schema in SCHEMAS for field in fields_of(schema) for sentence in field.help}
    return found | set(MODES.values())


def retold_ids(chosen: str) -> set[str]:
    """The sentences of engines, which `retell` recognises."""
    files = [path for path in catalogue_files(chosen) if path.name.startswith(language.RETOLD)]  # type: ignore[arg-type]
    return {english for path in files for english in language._read(path)}


@pytest.mark.parametrize("chosen", OTHERS)
def test_every_sentence_has_a_translation(chosen: language.Language) -> None:
    known = catalogue(chosen)
    missing = [
        f"{path.relative_to(ROOT)}:{line}: {sentence!r}"
        for path in SOURCES
        for sentence, line in ids_in(path)
        if sentence not in known
    ]
    missing += sorted(repr(sentence) for sentence in all_ids() if sentence not in known)
    assert missing == []


@pytest.mark.parametrize("chosen", OTHERS)
def test_no_translation_is_left_over(chosen: language.Language) -> None:
    assert sorted(set(catalogue(chosen)) - all_ids() - retold_ids(chosen)) == []


def holes(sentence: str) -> str:
    """The sentence with its placeholders emptied, so that an f-string and its entry in a catalogue are the same."""
    return re.sub(r"\{[a-z_]+\}", "{}", sentence)


def literals_in(path: Path) -> Iterator[str]:
    """Every text of a module but its docstrings, values taken out."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    statements = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    parts = {id(value) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for value in node.values}
    for node in ast.walk(tree):
        if id(node) in statements or id(node) in parts:
            continue
        if isinstance(node, ast.JoinedStr):
            yield "".join(part.value if isinstance(part, ast.Constant) else "{}" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def test_every_sentence_of_an_engine_is_still_said() -> None:
    said = "\n".join(text for path in SOURCES for text in literals_in(path))
    said += "\n".join(f"{entry.description}\n{entry.measured}" for entry in list_profiles())
    said += re.sub(r"%(\(\w+\))?[rs]", "{}", inspect.getsource(argparse))
    said += inspect.getsource(json.decoder) + inspect.getsource(json.scanner)
    said += "\n".join(map(os.strerror, errno.errorcode))
    measured = set(language._read(language.TRANSLATIONS / "zh" / "engine_profiles.toml"))  # other figures may come
    ours = retold_ids("zh") - measured
    assert sorted(each for each in ours if not each.startswith(PUT_TOGETHER) and holes(each) not in said) == []


@pytest.mark.parametrize("module", ["training/symptoms.py", "training/nonfinite.py", "data/lint.py"])
def test_all_that_the_diagnosis_and_the_linter_say_is_translated(module: str, chinese: None) -> None:
    for text in literals_in(ROOT / "workbench" / module):
        if len(text.split()) > 1 and text not in FRAGMENTS:  # names of rules and keys are single words
            assert any(map(is_chinese, filled(text.strip(" ;:,")))), f"{text!r} is told as {retell(text)!r}"


def filled(text: str) -> Iterator[str]:
    """The text with a number in its holes, or nothing in some of them: they may hold a clause of their own."""
    first, *rest = text.split("{}")
    for values in product(("7", ""), repeat=len(rest)):
        yield first + "".join(value + part for value, part in zip(values, rest, strict=True))


def is_chinese(text: str) -> bool:
    """Whether `retell` leaves no English words of it."""
    told = retell(text)
    left = set(re.findall(r"[a-z]{4,}", told)) - set(re.findall(r"[a-z]{4,}", KEPT))
    return bool(re.search(r"[\u4e00-\u9fff]", told)) and not left


@pytest.mark.parametrize("chosen", OTHERS)
def test_a_sentence_stands_in_one_file(chosen: language.Language) -> None:
    told: dict[str, str] = {}
    for path in catalogue_files(chosen):
        for english in language._read(path):
            assert english not in told, f"{english!r} stands in {told.get(english)} and in {path.name}"
            told[english] = path.name


@pytest.mark.parametrize("chosen", OTHERS)
def test_a_translation_has_the_placeholders_of_its_sentence(chosen: language.Language) -> None:
    for english, told in catalogue(chosen).items():
        assert set(placeholders(told)) == set(placeholders(english)), english
        assert told.strip(), english


def test_chinese_uses_the_punctuation_of_chinese() -> None:
    wrong = re.compile(r"[\u4e00-\u9fff][,;:?!]|[\u4e00-\u9fff]\.(\s|$)|[\u4e00-\u9fff] ?\([^)]*[\u4e00-\u9fff]")
    assert [told for told in catalogue("zh").values() if wrong.search(told)] == []


@pytest.mark.parametrize(
    ("given", "environment", "preferred", "spoken"),
    [
        ("zh", {"LANG": "en_US.UTF-8"}, None, "zh"),
        (None, {"LLM_WORKBENCH_LANG": "zh", "LANG": "en_US"}, "en", "zh"),
        (None, {"LANG": "en_US.UTF-8"}, "zh", "zh"),
        (None, {"LANG": "zh_CN.UTF-8"}, "en", "en"),
        (None, {"LANG": "zh_TW.UTF-8"}, None, "zh"),
        (None, {"LC_ALL": "C", "LANG": "zh_CN.UTF-8"}, None, "en"),
        (None, {"LC_MESSAGES": "zh_CN", "LANG": "de_DE"}, None, "zh"),
        (None, {"LANG": "fr_FR.UTF-8"}, "klingon", "en"),
        (None, {"LANG": "zh_CN.UTF-8", "TERM": "linux"}, None, "en"),
        ("zh", {"TERM": "linux"}, None, "zh"),
    ],
)
def test_the_language_is_the_one_asked_for_or_the_locales(
    given: str | None, environment: dict[str, str], preferred: str | None, spoken: str
) -> None:
    assert choose_language(given, environment, preferred) == spoken


def test_english_is_itself_and_knows_one_from_many() -> None:
    assert tr("{run} is done", run="tiny") == "tiny is done"
    assert tr_many("{count} run", "{count} runs", 1) == "1 run"
    assert tr_many("{count} run", "{count} runs", 2) == "2 runs"
    assert tr("a sentence that nobody translated") == "a sentence that nobody translated"


def test_chinese_keeps_the_values(chinese: None) -> None:
    assert tr("{run} is done", run="tiny") == "tiny 已完成"
    assert tr_many("{count} run", "{count} runs", 1) == "1 个运行"
    assert tr("a sentence that nobody translated") == "a sentence that nobody translated"


def test_braces_in_values_are_data(chinese: None) -> None:
    assert tr("{run} is done", run="{0} {x}") == "{0} {x} 已完成"


def test_what_comes_along_is_described_in_every_language(chinese: None) -> None:
    for entry in list_profiles():
        for text in (entry.description, entry.measured):
            assert re.search(r"[\u4e00-\u9fff]", retell(text)), f"engine_profiles.toml has no pattern for {text!r}"
