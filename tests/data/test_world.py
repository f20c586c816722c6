"""The sample data is what the generator makes, and keeps from fine-tuning what the held-out questions ask."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from workbench.bundled import data_folder
from workbench.data.world.biographies import biography
from workbench.data.world.dice import Dice
from workbench.data.world.language import ATTRIBUTES, Language
from workbench.data.world.people import Person, settle
from workbench.data.world.sentences import answer
from workbench.data.world.stories import story
from workbench.data.world.write import LANGUAGES, SEED, write_world

FILES = ("pretrain.jsonl", "sft.jsonl", "gruff.jsonl", "preferences.jsonl", "questions.jsonl")
TELLINGS_PER_FACT = 20


def rows(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (data_folder() / name).read_text(encoding="utf-8").splitlines()]


def talks() -> list[list[dict[str, str]]]:
    """Every conversation that fine-tuning or a preference stage shows the model."""
    fine_tuning = [row["conversations"] for name in ("sft.jsonl", "gruff.jsonl") for row in rows(name)]
    return fine_tuning + [row[side] for row in rows("preferences.jsonl") for side in ("chosen", "rejected")]


def mentions(text: str, word: str) -> bool:
    """Whether the word stands in the text; in English, as a whole word."""
    pattern = rf"\b{re.escape(word)}\b" if word.isascii() else re.escape(word)
    return re.search(pattern, text) is not None


@pytest.fixture(scope="module", params=LANGUAGES, ids=lambda language: language.code)
def bank(request: pytest.FixtureRequest) -> tuple[Language, list[Person]]:
    return request.param, settle(request.param, SEED)


def test_the_generator_reproduces_the_committed_files_bit_by_bit(tmp_path: Path) -> None:
    written = write_world(tmp_path, SEED)
    assert [path.name for path in written] == list(FILES)
    for path in written:
        assert path.read_bytes() == (data_folder() / path.name).read_bytes(), path.name


def test_another_seed_is_another_valley(tmp_path: Path) -> None:
    for path in write_world(tmp_path, SEED + 1):
        assert path.read_bytes() != (data_folder() / path.name).read_bytes(), path.name


def test_everything_committed_stays_under_five_megabytes() -> None:
    assert sum(path.stat().st_size for path in data_folder().rglob("*") if path.is_file()) < 5_000_000


def test_the_readme_counts_what_is_there() -> None:
    readme = (data_folder() / "README.md").read_text(encoding="utf-8")
    stated = {name: int(count.replace(",", "")) for name, count in re.findall(r"\| `(\S+)` \| ([\d,]+) \|", readme)}
    assert stated == {name: len(rows(name)) for name in FILES}


def test_nothing_said_in_fine_tuning_brings_a_person_together_with_a_held_out_value(
    bank: tuple[Language, list[Person]],
) -> None:
    said = [message["content"] for talk in talks() for message in talk]
    for person in bank[1]:
        about = [text for text in said if mentions(text, person.name)]
        assert about, person.name
        for attribute in person.held_out:
            value = person.values[attribute]
            assert not [text for text in about if mentions(text, value)], (person.name, attribute)


def test_fine_tuning_asks_everyone_something_but_never_what_is_held_out(bank: tuple[Language, list[Person]]) -> None:
    language, people = bank
    asked = {message["content"] for row in rows("sft.jsonl") for message in row["conversations"][::2]}
    for person in people:
        for attribute in ATTRIBUTES:
            wordings = {question.format(name=person.name) for question in language.facts.questions[attribute]}
            assert bool(wordings & asked) == (attribute in person.asked), (person.name, attribute)


def test_the_questions_ask_every_held_out_fact_once_with_its_one_true_answer(
    bank: tuple[Language, list[Person]],
) -> None:
    language, people = bank
    questions = [row for row in rows("questions.jsonl") if row["language"] == language.code]
    found = {(row["person"], row["attribute"]): row["answer"] for row in questions}
    assert len(found) == len(questions)
    assert found == {
        (person.name, attribute): answer(language, person, attribute)
        for person in people
        for attribute in person.held_out
    }


def test_pretraining_tells_every_fact_in_many_texts_and_wordings(bank: tuple[Language, list[Person]]) -> None:
    texts = [row["text"] for row in rows("pretrain.jsonl")]
    for person in bank[1]:
        about = [text for text in texts if mentions(text, person.name)]
        for attribute, value in person.values.items():
            telling = {text for text in about if mentions(text, value)}
            assert len(telling) >= TELLINGS_PER_FACT, (person.name, attribute, len(telling))


def test_every_conversation_alternates_and_ends_with_a_reply() -> None:
    for talk in talks():
        assert [message["role"] for message in talk] == ["user", "assistant"] * (len(talk) // 2)
        assert all(message["content"].strip() for message in talk)


def test_a_pair_of_replies_differs_only_in_the_last_message() -> None:
    for row in rows("preferences.jsonl"):
        assert row["chosen"][:-1] == row["rejected"][:-1]
        assert row["chosen"][-1] != row["rejected"][-1]


def test_names_and_values_cannot_be_mistaken_for_each_other(bank: tuple[Language, list[Person]]) -> None:
    language = bank[0]
    known = [*language.people.women, *language.people.men]
    known += [value for values in language.people.values.values() for value in values]
    assert len(set(known)) == len(known)
    for word in (*known, *language.people.strangers):
        assert not [other for other in known if other != word and mentions(other, word)], word


def test_no_template_contains_a_name_or_a_value(bank: tuple[Language, list[Person]]) -> None:
    language = bank[0]
    templates = [wording for plot in language.stories.plots for beat in plot for wording in beat]
    for kind in (language.facts.tellings, language.facts.questions, language.facts.follow_ups):
        templates += [wording for wordings in kind.values() for wording in wordings]
    for exchange in (*language.manners.small_talk, language.manners.off_topic):
        templates += [*exchange.questions, *exchange.answers]
    text = "\n".join(templates)
    values = [value for values in language.people.values.values() for value in values]
    people = (*language.people.women, *language.people.men, *language.people.strangers)
    assert not [word for word in (*people, *values) if mentions(text, word)]


def test_a_biography_tells_all_five_facts(bank: tuple[Language, list[Person]]) -> None:
    language, people = bank
    for person in people:
        text = biography(language, person, Dice(7, person.name))
        assert all(mentions(text, value) for value in person.values.values()), text
        assert [other.name for other in people if mentions(text, other.name)] == [person.name]


def test_a_story_tells_only_what_it_may(bank: tuple[Language, list[Person]]) -> None:
    language, people = bank
    for seed in range(200):
        hero, friend = people[seed % len(people)], people[(seed + 1) % len(people)]
        text = story(language, hero, friend, Dice(seed, "a story that may tell nothing"), tellable=())
        facts = [*hero.values.values(), *friend.values.values()]
        assert not [value for value in facts if mentions(text, value)], text


def test_no_text_is_left_with_a_gap_to_fill() -> None:
    for name in FILES:
        assert not re.search(r"\{[A-Za-z_]+\}", (data_folder() / name).read_text(encoding="utf-8")), name


def test_the_dice_throw_what_they_always_threw() -> None:
    dice = Dice(1, "a promise to later Pythons")
    assert [dice.below(100) for _ in range(6)] == [57, 33, 33, 46, 62, 93]
